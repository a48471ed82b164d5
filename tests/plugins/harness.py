"""The server as a child process and a counter of checks, for the suites written in Python.

SERVER holds the command that starts the server, without --port and --dir.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback


class Server:
    """One data folder, started and ended as often as a test likes."""

    def __init__(self, flags=""):
        self.flags = flags
        self.folder = tempfile.mkdtemp(prefix="data-", dir=os.environ.get("WORK"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self):
        line = f"exec {os.environ['SERVER']} {self.flags} --port {self.port} --dir '{self.folder}'"
        with open(f"{self.folder}.log", "ab") as log:
            self.child = subprocess.Popen(["sh", "-c", line], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(3000):
            if self.child.poll() is not None:
                raise RuntimeError(f"the server ended, see {self.folder}.log")
            if self._answers():
                return self
            time.sleep(0.01)
        raise RuntimeError(f"no answer to PING, see {self.folder}.log")

    def _answers(self):
        # PONG, not a mere open port: a server may listen while it is still recovering and answer -LOADING.
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.sendall(b"PING\r\n")
                reply = probe.recv(64)
                return bool(reply) and not reply.startswith(b"-LOADING")
        except OSError:
            return False

    def kill(self):
        self.child.kill()
        self.child.wait()

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(60)


_passed = 0
_failed = 0


def check(body):
    """Runs a function at once, as a decorator, and counts how it ends."""
    global _passed, _failed
    name = body.__name__.replace("_", " ")
    try:
        body()
        _passed += 1
        print(f"ok      {name}", flush=True)
    except Exception:
        _failed += 1
        print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
    return body


def finish():
    print(f"{_passed} passed, {_failed} failed")
    sys.exit(0 if _failed == 0 else 1)

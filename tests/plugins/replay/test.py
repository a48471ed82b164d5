"""Replays what session plugins send, and compares every reply with the one that Redis gives.

Each program is a table of commands and expected replies (as resp.py shows them; a leading ~ makes the rest a regular
expression). Where redis-server is installed the same table runs against it first, which proves that the
expectations are those of Redis and not ours.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import lua
import programs
from harness import Server, check, finish
from resp import Client


class Redis:
    """redis-server with nothing on disk."""

    def start(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        folder = tempfile.mkdtemp(dir=os.environ.get("WORK"))
        self.child = subprocess.Popen(command + ["--dir", folder], stdout=subprocess.DEVNULL)
        for _ in range(1000):
            try:
                Client(self.port).close()
                return self
            except OSError:
                time.sleep(0.01)
        raise RuntimeError("redis-server does not answer")

    def stop(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()


def matches(expected, reply):
    if expected.startswith("~"):
        return re.fullmatch(expected[1:], reply, re.S) is not None
    return expected == reply


def filled(arg):
    """Moments: {+N} is N seconds from now in seconds, {+Nms} the same in milliseconds."""
    if not isinstance(arg, str):
        return arg
    now = time.time()
    arg = re.sub(r"\{\+(\d+)ms\}", lambda m: str(int((now + int(m[1])) * 1000)), arg)
    return re.sub(r"\{\+(\d+)\}", lambda m: str(int(now) + int(m[1])), arg)


def replay(port, program):
    """Runs a program. A step is (client, command or None, expected); None only reads."""
    clients = {}
    Client(port).ask("FLUSHALL")
    try:
        for name, command, expected in program:
            if name not in clients:
                clients[name] = Client(port)
            client = clients[name]
            if callable(command):
                command()
                continue
            if command is not None:
                client.send(*[filled(arg) for arg in command])
            reply = client.read()
            assert matches(expected, reply), f"{name} {command}\n  expected {expected}\n  got      {reply}"
    finally:
        for client in clients.values():
            client.close()


servers = [("emberlog", Server("--notify-keyspace-events ''").start())]
if shutil.which("redis-server"):
    servers.insert(0, ("redis", Redis().start()))

for title, program in programs.ALL:
    for name, server in servers:

        def body(server=server, program=program):
            replay(server.port, program)

        body.__name__ = f"{title} on {name}"
        check(body)

def same_answers(version):
    clients = [Client(server.port) for _, server in servers]
    differences = []
    for script in lua.scripts():
        for client in clients:
            client.ask("FLUSHALL")
            # In Redis, what a script sets in cjson stays set until then.
            client.ask("SCRIPT", "FLUSH")
            client.ask("HELLO", version)
            client.send("EVAL", script, "0")
        redis, emberlog = (client.read() for client in clients)
        if redis != emberlog:
            differences.append(f"{script}\n  redis     {redis}\n  emberlog  {emberlog}")
    for client in clients:
        client.close()
    assert not differences, "\n".join(["", *differences])


if len(servers) == 2:
    for version in "2", "3":

        @check
        def scripts_answer_as_in_redis(version=version):
            same_answers(version)


for _, server in servers:
    server.stop()
finish()

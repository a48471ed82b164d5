"""Starts a server, runs Django's runner against it, and turns its result into one line."""

import os
import re
import subprocess
import sys

from harness import Server

SUITES = [
    "cache.tests.RedisCacheTests",
    "sessions_tests.tests.CacheSessionTests",
    "sessions_tests.tests.CacheDBSessionTests",
]
EXPECTED = 202

server = Server().start()
here = os.path.dirname(os.path.abspath(__file__))
paths = [here, os.environ["PYTHONPATH"]]
environment = dict(os.environ, PYTHONPATH=os.pathsep.join(paths), REDIS_PORT=str(server.port))
command = [sys.executable, "runtests.py", "--settings=redis_settings", "--parallel=1", *SUITES]
run = subprocess.run(command, cwd=sys.argv[1], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
server.kill()
print(run.stdout)

ran = int((re.search(r"^Ran (\d+) tests", run.stdout, re.M) or [0, 0])[1])
bad = sum(int(n) for n in re.findall(r"(?:failures|errors|unexpected successes)=(\d+)", run.stdout))
if ran < EXPECTED:
    print(f"only {ran} of {EXPECTED} tests ran")
    bad += EXPECTED - ran
failed = max(bad, 1 if run.returncode else 0)
print(f"{max(ran - bad, 0)} passed, {failed} failed")
sys.exit(1 if failed else 0)

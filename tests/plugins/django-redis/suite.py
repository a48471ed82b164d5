"""Starts a server, runs django-redis' own tests against it, and turns their result into one line."""

import os
import re
import subprocess
import sys

from harness import Server

EXPECTED = 165

server = Server().start()
here = os.path.dirname(os.path.abspath(__file__))
environment = dict(os.environ, PYTHONPATH=here, REDIS_PORT=str(server.port))
command = [sys.executable, "-m", "pytest", "-p", "redirect_port", "-p", "no:cacheprovider", "-k", "sqlite]"]
command += ["-o", "addopts=", "-q", "--color=no", "-x" if os.environ.get("FAIL_FAST") else "-rfE"]
run = subprocess.run(command, cwd=sys.argv[1], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
server.kill()
print(run.stdout)


def count(word):
    return int((re.search(rf"(\d+) {word}", run.stdout.strip().splitlines()[-1]) or [0, 0])[1])


passed, bad = count("passed"), count("failed") + count("errors?")
if passed + bad < EXPECTED:
    print(f"only {passed + bad} of {EXPECTED} tests ran")
    bad += EXPECTED - passed - bad
failed = max(bad, 1 if run.returncode else 0)
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)

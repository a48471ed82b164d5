"""redis-cli as operators use it: one-liners, pipes, scans, mass insertion, CSV, and redis-benchmark's first steps."""

import shutil
import subprocess

from harness import Server, check, finish

server = Server("--maxmemory 256mb").start()


def cli(*words, stdin=None, tool="redis-cli"):
    command = [tool, "-p", str(server.port), *words]
    run = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    return (run.stdout + run.stderr).decode().rstrip("\n")


@check
def one_liners():
    assert cli("PING") == "PONG"
    assert cli("SET", "k", "hello world") == "OK"
    assert cli("GET", "k") == "hello world"
    assert cli("GET", "none") == ""
    assert cli("--no-raw", "GET", "none") == "(nil)"
    assert cli("--no-raw", "TTL", "k") == "(integer) -1"
    assert cli("NOSUCH", "x").startswith("ERR unknown command")


@check
def both_protocols():
    cli("HSET", "h", "f", "v", "g", "w")
    assert cli("-2", "HGETALL", "h").split() == ["f", "v", "g", "w"]
    assert cli("-3", "--no-raw", "HGETALL", "h").count("=>") == 2


@check
def a_script_on_standard_input():
    out = cli(stdin=b"SET a 1\nINCR a\nMULTI\nINCR a\nINCR a\nEXEC\nGET a\n")
    assert out.splitlines() == ["OK", "2", "OK", "QUEUED", "QUEUED", "3", "4", "4"], out


@check
def a_value_from_a_pipe():
    value = bytes(range(1, 255)) * 1000
    assert cli("-x", "SET", "piped", stdin=value) == "OK"
    assert cli("STRLEN", "piped") == str(len(value))


@check
def mass_insertion():
    commands = b"".join(b"SET mass:%d value%d EX 1000\r\n" % (n, n) for n in range(20_000))
    out = cli("--pipe", stdin=commands)
    assert "errors: 0, replies: 20000" in out, out


@check
def scan_and_count():
    found = cli("--scan", "--pattern", "mass:*").split()
    assert len(found) == len(set(found)) == 20_000
    assert int(cli("DBSIZE")) >= 20_000


@check
def info_and_configuration():
    assert "redis_version:" in cli("INFO", "server")
    assert "db0:keys=" in cli("INFO", "keyspace")
    assert cli("CONFIG", "GET", "maxmemory").split() == ["maxmemory", str(256 << 20)]
    assert cli("-n", "5", "DBSIZE") == "0"


@check
def inline_commands_of_a_health_check():
    import socket

    with socket.create_connection(("127.0.0.1", server.port), 5) as probe:
        probe.sendall(b"PING\r\nGET k\r\n")
        got = b""
        while not got.endswith(b"hello world\r\n"):
            got += probe.recv(100)
        assert got == b"+PONG\r\n$11\r\nhello world\r\n", got


@check
def a_benchmark_runs():
    if shutil.which("redis-benchmark"):
        out = cli("-t", "set,get", "-n", "5000", "-q", "-d", "1000", "-P", "4", tool="redis-benchmark")
        assert "SET:" in out and "GET:" in out and "rror" not in out.replace("CONFIG", ""), out


@check
def everything_is_there_after_kill():
    server.kill()
    server.start()
    assert cli("GET", "k") == "hello world"
    assert cli("GET", "mass:19999") == "value19999"
    assert len(cli("--scan", "--pattern", "mass:*").split()) == 20_000


@check
def sigterm_ends_with_code_zero():
    assert server.stop() == 0


finish()

"""Celery with a real worker, and rate limits over `limits`. RQ is not here: its results are streams, which Emberlog has not."""

import os
import subprocess
import sys

from harness import Server, check, finish

server = Server().start()
os.environ["REDIS_PORT"] = str(server.port)
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import limits
import tasks
from celery import chain, chord, group
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter


@check
def celery_runs_tasks_chains_and_chords():
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool=threads", "--concurrency=4"]
    command += ["--loglevel=warning", "--without-gossip"]
    log = open(os.path.join(os.environ.get("WORK", "/tmp"), "celery.log"), "ab")
    here = os.path.dirname(os.path.abspath(__file__))
    worker = subprocess.Popen(command, cwd=here, stdout=log, stderr=log)
    try:
        assert tasks.add.delay(2, 3).get(timeout=60) == 5
        assert tasks.flaky.delay(7).get(timeout=60) == 14
        assert chain(tasks.add.s(1, 1), tasks.add.s(10))().get(timeout=60) == 12
        many = group(tasks.add.s(n, n) for n in range(50))()
        assert many.get(timeout=60) == [2 * n for n in range(50)]
        assert chord((tasks.add.s(n, 1) for n in range(3)), tasks.add.si(20, 2))().get(timeout=60) == 22
        assert tasks.app.control.ping(timeout=5), "remote control goes through publish and subscribe"
    finally:
        worker.terminate()
        worker.wait(30)


@check
def limits_counts_in_fixed_and_moving_windows():
    storage = RedisStorage(f"redis://127.0.0.1:{server.port}/3")
    limit = limits.parse("3 per minute")
    for strategy in (FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter):
        limiter = strategy(storage)
        name = strategy.__name__
        assert [limiter.hit(limit, name) for _ in range(5)] == [True, True, True, False, False]
        assert limiter.get_window_stats(limit, name).remaining == 0
        limiter.clear(limit, name)
        assert limiter.test(limit, name)


server.kill()
finish()

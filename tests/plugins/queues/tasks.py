"""Tasks for the queues of test.py; workers import it."""

import os

from celery import Celery

port = os.environ["REDIS_PORT"]
app = Celery("tasks", broker=f"redis://127.0.0.1:{port}/1", backend=f"redis://127.0.0.1:{port}/2")
app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)


@app.task(bind=True, max_retries=3)
def flaky(self, n):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return n * self.request.retries


@app.task
def add(a, b):
    return a + b

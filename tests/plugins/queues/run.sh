# Libraries that live on scripts, lists and sorted sets: locks, rate limits, task queues.
. "$HERE/lib.sh"
npm_packages queues ioredis@6.0.0 redis@6.3.1 redlock@4.2.0 rate-limiter-flexible@11.4.0
pip_packages queues-python celery==5.7.0 redis==8.1.0 limits==5.8.0
cp "$HERE/queues/test.mjs" "$HERE/harness.mjs" "$CACHE/queues/"
(node "$CACHE/queues/test.mjs" || true) | tee "$WORK/node.out"
(PYTHONPATH=$HERE "$CACHE/queues-python/bin/python" "$HERE/queues/test.py" || true) | tee "$WORK/python.out"
tail -qn 1 "$WORK/node.out" "$WORK/python.out" |
    awk '{ passed += $1; failed += $3 } END { printf "%d passed, %d failed\n", passed, failed + (NR != 2) }'

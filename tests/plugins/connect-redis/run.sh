# connect-redis' own tests, taken from its npm package, unmodified. They spawn "redis-server" from PATH.
. "$HERE/lib.sh"
npm_packages connect-redis connect-redis@10.0.0 express-session@1.19.0 redis@6.3.1 vitest@4.1.10

suite=$WORK/suite
mkdir -p "$suite/testdata" "$WORK/bin" "$WORK/data"
cp "$CACHE/connect-redis/node_modules/connect-redis/"{index.ts,index_test.ts} "$suite/"
cp "$HERE/connect-redis/server.ts" "$suite/testdata/"
echo '{"private": true, "type": "module"}' >"$suite/package.json"
echo 'export default { test: { include: ["index_test.ts"] } }' >"$suite/vitest.config.mjs"
ln -s "$CACHE/connect-redis/node_modules" "$suite/node_modules"

# The shim carries the upstream name and flags through and adds only a folder of its own.
cat >"$WORK/bin/redis-server" <<SHIM
#!/bin/sh
exec $SERVER --dir '$WORK/data' "\$@"
SHIM
chmod +x "$WORK/bin/redis-server"

# Its longest test makes a thousand durable writes one after the other: on a busy disk they outlast the default 5 s.
cd "$suite"
PATH=$WORK/bin:$PATH npx vitest run --no-color --test-timeout 60000 2>&1 | tee "$WORK/vitest.out" || true
awk '$1 == "Tests" {
        for (i = 2; i <= NF; i++) { if ($i == "passed") passed = $(i - 1); if ($i == "failed") failed = $(i - 1) }
     }
     END { printf "%d passed, %d failed\n", passed, failed + (passed + failed != 4) }' "$WORK/vitest.out"

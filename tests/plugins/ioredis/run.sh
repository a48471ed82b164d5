# ioredis 6, alone and under connect-redis 8, which is how many applications still use it.
. "$HERE/lib.sh"
npm_packages ioredis ioredis@6.0.0 connect-redis@8.1.0 express-session@1.19.0 redis@6.3.1
cp "$HERE"/ioredis/*.mjs "$HERE/harness.mjs" "$CACHE/ioredis/"
node "$CACHE/ioredis/test.mjs"

# An Express application with express-session, connect-redis and node-redis, used over HTTP.
. "$HERE/lib.sh"
npm_packages express express@5.2.1 express-session@1.19.0 connect-redis@10.0.0 redis@6.3.1
cp "$HERE"/express/*.mjs "$HERE/harness.mjs" "$CACHE/express/"
node "$CACHE/express/test.mjs"

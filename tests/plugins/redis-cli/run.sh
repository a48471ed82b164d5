# Scripts that operators run with redis-cli. The tool comes from the system; without it the suite is skipped.
. "$HERE/lib.sh"
if ! command -v redis-cli >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && apt-get install -y -qq redis-tools; } >/dev/null 2>&1 || true
fi
if ! command -v redis-cli >/dev/null; then
    echo "skipped: no redis-cli on this machine and it could not be installed"
    exit 0
fi
PYTHONPATH=$HERE python3 "$HERE/redis-cli/test.py"

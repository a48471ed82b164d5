#!/usr/bin/env bash
# Drives the demo application in headless Chromium against a server:  run.sh SERVER_BIN [FLAG...]
#
# Takes Chromium from $CHROMIUM or the PATH, or installs Debian's package if it may. Where neither works it says so in capitals
# and ends well: there is nothing to judge.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { echo "usage: $0 SERVER_BIN [FLAG...]" >&2; exit 2; }
server=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
shift
export SERVER="'$server' $*"
export CACHE=${PLUGINS_CACHE:-${CARGO_TARGET_DIR:-$here/../../target}/plugins}
mkdir -p "$CACHE"
CACHE=$(cd "$CACHE" && pwd)
WORK=$(mktemp -d)
export WORK
trap 'rm -rf "$WORK"' EXIT

browser() {
    local name
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome; do
        [ -n "$name" ] && command -v "$name" && return
    done
    return 1
}

if ! CHROMIUM=$(browser); then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium) >"$WORK/apt.log" 2>&1 || tail -n 3 "$WORK/apt.log"
    fi
    if ! CHROMIUM=$(browser); then
        echo "SKIPPED: THERE IS NO CHROMIUM HERE AND NONE COULD BE INSTALLED; THE DEMO APPLICATION WAS NOT DRIVEN"
        exit 0
    fi
fi
export CHROMIUM
. "$here/../plugins/lib.sh"
npm_packages demo express@5.2.1 redis@6.3.1 playwright-core@1.65.1
cp "$here"/*.mjs "$here/../plugins/harness.mjs" "$CACHE/demo/"
timeout 300 node "$CACHE/demo/drive.mjs"

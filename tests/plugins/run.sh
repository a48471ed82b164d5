#!/usr/bin/env bash
# Runs unmodified session plugins and clients against a server:  run.sh SERVER_BIN [FLAG...]
#
# Each folder beside this file is a suite: its run.sh starts the server itself from $SERVER, installs pinned packages
# by name with npm or pip into $CACHE, and ends with a line "N passed, M failed". Here they are only run and counted.
# Environment: SUITES="express ioredis" runs a choice. PLUGINS_CACHE names another folder for installed packages.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { echo "usage: $0 SERVER_BIN [FLAG...]" >&2; exit 2; }

server=$1
case $server in */*) server=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") ;; esac
shift
export SERVER="'$server' $*"
export HERE=$here
export CACHE=${PLUGINS_CACHE:-${CARGO_TARGET_DIR:-$here/../../target}/plugins}
mkdir -p "$CACHE"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

failures=0
lines=()
for suite in ${SUITES:-express connect-redis ioredis redis-py django-suites django-app flask redis-cli replay django-redis queues}; do
    export WORK=$work/$suite
    mkdir -p "$WORK"
    begin=$SECONDS
    # The limit ends a suite that hangs, together with the servers that it has started.
    timeout --kill-after=10 900 bash "$here/$suite/run.sh" >"$work/$suite.out" 2>&1
    status=$?
    result=$(tail -n 1 "$work/$suite.out")
    case $result in
        skipped:*) ;;
        *' passed, 0 failed') [ $status -eq 0 ] || result="$result, but exit code $status" ;;
        *) status=1 ;;
    esac
    if [ $status -ne 0 ]; then
        failures=$((failures + 1))
        echo "--- $suite failed, its output follows"
        tail -n 200 "$work/$suite.out"
        for log in "$WORK"/*.log; do
            [ -e "$log" ] && echo "--- end of $(basename "$log")" && tail -n 30 "$log"
        done
        result="FAILED: $result"
    fi
    line=$(printf '%-14s %4d s  %s' "$suite" $((SECONDS - begin)) "$result")
    echo "$line"
    lines+=("$line")
done

echo
echo "plugin suites against $server"
printf '%s\n' "${lines[@]}"
[ $failures -eq 0 ]

#!/usr/bin/env bash
# Searches with libFuzzer and the address sanitizer, one target after the other:
#   fuzz/run-long.sh SECONDS [TARGET...]
# Needs a nightly compiler and cargo-fuzz (`cargo install cargo-fuzz`). Starts from fuzz/seeds and keeps what it finds in
# fuzz/corpus and fuzz/artifacts. The canary goes first and must fail, else findings would go unnoticed.
set -euo pipefail
cd "$(dirname "$0")"
seconds=$1
shift
[ $# -gt 0 ] || set -- formats recovery crafted resp commands settings worlds
fuzz() {
    local target=$1
    shift
    mkdir -p "corpus/$target"
    cargo +nightly fuzz run --fuzz-dir . --features libfuzzer "$target" "corpus/$target" "seeds/$target" -- "$@"
}
if fuzz canary -max_total_time=60 -artifact_prefix=/tmp/ >/tmp/canary.log 2>&1; then
    echo "the canary was not found: findings would go unnoticed"
    exit 1
fi
grep -q 'the canary sings' /tmp/canary.log || { cat /tmp/canary.log; exit 1; }
echo "canary: found, as it must be"
for target; do
    fuzz "$target" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=60 -print_final_stats=1 2>"/tmp/fuzz-$target.log" ||
        { tail -50 "/tmp/fuzz-$target.log"; echo "$target: FINDING, see fuzz/artifacts/$target"; exit 1; }
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "/tmp/fuzz-$target.log")
    echo "$target: $executions executions in $seconds s, no finding"
done

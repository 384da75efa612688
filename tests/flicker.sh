#!/bin/bash
# tests/flicker.sh [TIMES] [TESTS...]   Runs the tests (all, or those) so many times (20), each time in another random order.
#
# Prints a line for each run with its seed, and the tests that failed; exits with 1 if any did. The order of a run comes back with
#     .venv/bin/python -m pytest -n 2 --random-order --random-order-seed=SEED
# JOBS=2 is how many tests run at once, 0: one by one.
set -uo pipefail
cd "$(dirname "$0")/.."
times="${1:-20}"; shift
jobs="${JOBS:-2}"
log="$(mktemp)"
failed=0
for ((run = 1; run <= times; run++)); do
    seed=$RANDOM began=$SECONDS
    words=(-q --random-order "--random-order-seed=$seed")
    [ "$jobs" = 0 ] || words+=(-n "$jobs" --dist worksteal)
    if .venv/bin/python -m pytest "${words[@]}" "$@" > "$log" 2>&1; then word=ok; else word=FAILED failed=$((failed + 1)); fi
    echo "$run of $times, seed $seed: $word, $(grep -E '^([0-9]+ (passed|failed|skipped)|no tests)' "$log" | tail -1) ($((SECONDS - began)) s)"
    grep -E '^(FAILED|ERROR) ' "$log" | cut -c1-300
done
rm -f "$log"
echo "$failed of $times runs failed"
[ "$failed" = 0 ]

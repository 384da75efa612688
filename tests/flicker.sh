#!/bin/bash
# tests/flicker.sh [TIMES] [TESTS...]   Runs the tests (all, or those) until so many runs (20) are recorded, each in another random order and
# with other examples of the property tests.
#
# Each run that ended is a line of FLICKER/runs.tsv (FLICKER=.flicker): when, commit, seed, tests, result, counts, seconds. So an
# interrupted series goes on where it stopped, also on another day or commit, and the sum is of all recorded runs of these tests. What
# failed is in FLICKER/SEED.log. A new series needs another folder. Exits with 1 if any run of the series failed. A run comes back with
#     CENERGYD_TEST_EXAMPLES=exploring .venv/bin/python -m pytest -n 3 --hypothesis-seed=SEED --random-order --random-order-seed=SEED
# JOBS=3 is how many tests run at once, 0: one by one; `make flicker` gives as many as `make test` takes.
set -uo pipefail
cd "$(dirname "$0")/.."
times="${1:-20}"; shift
jobs="${JOBS:-3}"
folder="${FLICKER:-.flicker}"
tests="${*:-all}"
record="$folder/runs.tsv"
mkdir -p "$folder"
[ -s "$record" ] || printf 'when\tcommit\tseed\ttests\tresult\tcounts\tseconds\n' > "$record"

# How many recorded runs of these tests ended with a result ("" for any).
recorded() { awk -F'\t' -v tests="$tests" -v result="$1" 'NR > 1 && $4 == tests && (result == "" || $5 == result)' "$record" | wc -l; }

commit="$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
git diff --quiet HEAD 2>/dev/null || commit+="+changes"
while (($(recorded "") < times)); do
    seed=$RANDOM began=$SECONDS log="$folder/running.log"
    words=(-q "--hypothesis-seed=$seed" --random-order "--random-order-seed=$seed")
    [ "$jobs" = 0 ] || words+=(-n "$jobs" --dist worksteal)
    if CENERGYD_TEST_EXAMPLES=exploring .venv/bin/python -m pytest "${words[@]}" "$@" > "$log" 2>&1; then
        result=ok
    else
        result=FAILED
        cp "$log" "$folder/$seed.log"
    fi
    counts="$(grep -E '^([0-9]+ (passed|failed|skipped|error)|no tests)' "$log" | tail -1)"
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -u +%FT%TZ)" "$commit" "$seed" "$tests" "$result" "$counts" $((SECONDS - began)) >> "$record"
    echo "$(recorded "") of $times, seed $seed: $result, $counts ($((SECONDS - began)) s)"
    [ "$result" = ok ] || grep -E '^(FAILED|ERROR) ' "$folder/$seed.log" | cut -c1-300
done
failed=$(recorded FAILED)
echo "$failed of $(recorded "") recorded runs failed ($record)"
[ "$failed" = 0 ]

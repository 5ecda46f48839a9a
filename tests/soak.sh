#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The full counts, for hours rather than minutes: fuzzing 60 s a target, the property tests with more cases and fresh seeds, the
# timing suites again and again. Results go to docs/evidence/soak-*.log. usage: tests/soak.sh [ROUNDS]
set -u
cd "$(dirname "$0")/.." || exit 1
rounds=${1:-10}
evidence=docs/evidence
mkdir -p "$evidence"
log="$evidence/soak-$(date -u +%Y%m%dT%H%M%SZ).log"
failed=0

run() { # name, command...
    local name=$1 start=$SECONDS
    shift
    if "$@" >/tmp/skerry-soak.$$ 2>&1; then
        echo "ok    $name, $((SECONDS - start)) s: $(tail -n 1 /tmp/skerry-soak.$$)"
    else
        failed=$((failed + 1))
        echo "FAIL  $name, $((SECONDS - start)) s"
        tail -n 60 /tmp/skerry-soak.$$
    fi
    rm -f /tmp/skerry-soak.$$
}

{
    echo "soak of $(git rev-parse --short=12 HEAD), $rounds rounds, $(date -u +%Y-%m-%dT%H:%M:%SZ)"
    run "test run, 60 s a fuzz target" env SKERRY_FUZZ_SECONDS=60 tests/run.sh
    for round in $(seq "$rounds"); do
        run "planner against its oracle, round $round" build-test/tests/property/oracle/test-property-oracle --cases 100000 \
            --seed $((round * 1000003))
    done
    run "mutations past the verifier" build-test/tests/property/oracle/test-property-mutations --mutations 1000000
    for test in "shim kill_parent" "exec kill_agent"; do
        run "kill -9 of the ${test#* kill_}, 1,000 rounds, raw in $evidence" env "ONLY=${test#* }" SKERRY_ROUNDS=1000 \
            "SKERRY_EVIDENCE=$evidence" python3 "tests/unit/agent/test_${test% *}.py" build-test/tests/unit/agent/agentd build-test/skerry-shim
    done
    run "suites that start, kill and lose things, $rounds times each" meson test -C build-test --no-rebuild --repeat "$rounds" \
        --timeout-multiplier 3 --suite agent --suite e2e --suite fault
    run "suites that measure time, $rounds times each" meson test -C build-test --no-rebuild --repeat "$rounds" \
        --timeout-multiplier 3 "net refuse" "net ingress" "lab net" "lab load"
    echo "$failed failed"
} 2>&1 | tee "$log"
grep -q '^0 failed$' "$log"

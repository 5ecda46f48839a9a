#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The full counts, for hours rather than minutes. usage: tests/soak.sh [ROUNDS [PART...]]
#   tests     the whole test run, 60 s a fuzz target        property  more cases and fresh seeds for planner and verifier
#   kills     kill -9 at random moments: 1,000 of a shim's parent, 1,000 of the agent, 100 rounds during applies
#   cut       a node cut off for 20 s, ROUNDS times         repeat    suites that kill, lose and measure, ROUNDS times each
#   exclusive the model of leases with larger bounds, 50 trials of exclusive work
#   replace   control nodes replaced, killed, switched off and on, ROUNDS times
#   failover  a site dies under load: 10 runs at 40 ms between sites, 10 at 100 ms
#   growload  from one control node to three and back under 300 requests a second, ROUNDS times
#   cut600    a site cut off from the other two control nodes for ten minutes
#   drill     30 drills in a row under 300 requests a second
#   agents    10,000 nodes on one control node: its processor time, cold reconnect, memory
#   sim       2,000 simulated seeds of 10 minutes with the trials of exclusive work in them, 24 hours of each bad weather with three control nodes
# Without a PART all of them. A summary goes to docs/evidence/soak-*.log, raw results beside it.
set -u
cd "$(dirname "$0")/.." || exit 1
rounds=${1:-10}
parts=" ${*:2} "
evidence=docs/evidence
stamp=$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$evidence"
log="$evidence/soak-$stamp.log"
failed=0

asked() { # part
    [ "$parts" = "  " ] || [[ "$parts" == *" $1 "* ]]
}

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

# An end-to-end suite with all that it prints kept beside the summary.
raw() { # name, file, VARIABLE=value...
    local name=$1 file=$evidence/soak-$2-$stamp.txt
    run "$name, raw in $file" env "${@:3}" SKERRY_SOURCE_ROOT="$PWD" SKERRY_BIN="$PWD/build-test/skerry" SKERRY_LAB="$PWD/build-test/skerry-lab" \
        bash -o pipefail -c "/usr/bin/python3 tests/e2e/$2.py 2>&1 | tee -a '$file'"
}

{
    echo "soak of $(git rev-parse --short=12 HEAD), $rounds rounds, $stamp"
    if asked tests; then
        run "test run, 60 s a fuzz target" tests/run.sh
    elif [ ! -x build-test/skerry ]; then
        run "build" tests/run.sh quick
    fi
    if asked property; then
        for round in $(seq "$rounds"); do
            run "planner against its oracle, round $round" build-test/tests/property/oracle/test-property-oracle --cases 100000 \
                --seed $((round * 1000003))
        done
        run "mutations past the verifier" build-test/tests/property/oracle/test-property-mutations --mutations 1000000
    fi
    if asked agents; then
        run "10,000 nodes on one control node, raw in $evidence/agents.jsonl" env SKERRY_BUILD="$PWD/build-test" bench/agents.py 10000 60
    fi
    if asked kills; then
        for test in "shim kill_parent" "exec kill_agent"; do
            run "kill -9 of the ${test#* kill_}, 1,000 rounds, raw in $evidence" env "ONLY=${test#* }" SKERRY_ROUNDS=1000 \
                "SKERRY_EVIDENCE=$evidence" python3 "tests/unit/agent/test_${test% *}.py" build-test/tests/unit/agent/agentd build-test/skerry-shim
        done
        raw "kill -9 of agent, skerryd and supervisor during applies, 100 rounds" kill SKERRY_ROUNDS=100
    fi
    if asked cut; then
        for round in $(seq "$rounds"); do
            raw "a node cut off for 20 s, round $round" cut SKERRY_CUT_S=20
        done
    fi
    if asked exclusive; then
        run "model of leases, larger bounds" tests/spin/run.py --full
        raw "exclusive work, 50 trials" exclusive SKERRY_ROUNDS=50
    fi
    if asked drill; then
        raw "30 drills in a row under load" drill SKERRY_ROUNDS=30 "SKERRY_RAW=$evidence/soak-drill-$stamp.jsonl" SKERRY_PARTS=row
    fi
    if asked repeat; then
        run "suites that start, kill and lose things, $rounds times each" meson test -C build-test --no-rebuild --repeat "$rounds" \
            --timeout-multiplier 3 --suite agent --suite e2e --suite fault
        run "suites that measure time, $rounds times each" meson test -C build-test --no-rebuild --repeat "$rounds" \
            --timeout-multiplier 3 "net refuse" "net ingress_spill" "net ingress_load" "net ingress_life" "lab net" "lab load"
    fi
    if asked replace; then
        run "control nodes replaced, killed, switched off and on, $rounds times" meson test -C build-test --no-rebuild --repeat "$rounds" --suite soak
    fi
    if asked failover; then
        for rtt in 40 100; do
            run "a site dies, $rtt ms, raw in $evidence/soak-failover-$rtt-$stamp.jsonl" env SKERRY_BUILD="$PWD/build-test" \
                bench/failover.py --runs 10 --rtt "$rtt" --out "$evidence/soak-failover-$rtt-$stamp.jsonl"
        done
    fi
    if asked growload; then
        run "grow and shrink under load, raw in $evidence/soak-grow-load-$stamp.jsonl" env SKERRY_BUILD="$PWD/build-test" \
            bench/grow_load.py --runs "$rounds" --out "$evidence/soak-grow-load-$stamp.jsonl"
    fi
    if asked cut600; then
        run "a site cut off for ten minutes, raw in $evidence/soak-cut-600-$stamp.jsonl" env SKERRY_BUILD="$PWD/build-test" \
            bench/cut_long.py --leader --out "$evidence/soak-cut-600-$stamp.jsonl"
    fi
    if asked sim; then
        run "2,000 simulated seeds of 10 minutes, raw in $evidence/soak-sim-$stamp.jsonl.gz" bash -o pipefail -c \
            "build-test/skerry-sim --seeds 1..2000 --minutes 10 --all --json | tee '$evidence/soak-sim-$stamp.jsonl'"
        gzip -9 "$evidence/soak-sim-$stamp.jsonl"
        run "1,000 trials of exclusive work in them" python3 tests/sim_trials.py "$evidence/soak-sim-$stamp.jsonl.gz" 1000
        for weather in links sites; do
            run "24 simulated hours of weather on $weather, three control nodes, raw in $evidence/soak-weather-$weather-$stamp.jsonl" bash -o pipefail -c \
                "build-test/skerry-sim --seeds 1..24 --minutes 60 --weather $weather --controls 3 --all --json | tee '$evidence/soak-weather-$weather-$stamp.jsonl'"
        done
    fi
    echo "$failed failed"
} 2>&1 | tee "$log"
grep -q '^0 failed$' "$log"

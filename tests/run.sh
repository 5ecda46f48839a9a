#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The whole test run: gcc suites, the same under ASan+UBSan, clang build, fuzzing, format. Ends with "N passed, N failed".
# usage: tests/run.sh [quick|fuzz]  quick: only the gcc suites; fuzz: only the fuzz targets
# SKERRY_FUZZ_SECONDS=N           how long each fuzz target runs (default 60)
# SKERRY_FUZZ_SEED=N              the seed of the fuzzer (default 1: a red run can be had again; 0: another one each time)
set -u
cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0

note() { # name, status
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
        echo "ok    $1"
    else
        failed=$((failed + 1))
        echo "FAIL  $1"
    fi
}

# Runs the suites of one build folder and adds up what meson's log says of each test.
suites() { # folder, label, meson test arguments...
    local dir=$1 label=$2 counts
    shift 2
    rm -f "$dir/meson-logs/testlog.json"
    meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes "$(nproc)" "$@" >"$dir/test.out" 2>&1
    local status=$?
    counts=$(python3 - "$dir/meson-logs/testlog.json" <<'PY'
import json, sys
ok = bad = skip = 0
try:
    lines = open(sys.argv[1]).read().splitlines()
except OSError:
    lines = []
for line in lines:
    result = json.loads(line)['result']
    if result in ('OK', 'EXPECTEDFAIL'):
        ok += 1
    elif result == 'SKIP':
        skip += 1
    else:
        bad += 1
print(ok, bad, skip)
PY
)
    read -r ok bad skip <<<"$counts"
    if [ "$status" != 0 ]; then
        tail -n 200 "$dir/test.out"
        [ "$bad" != 0 ] || bad=1
    fi
    passed=$((passed + ok))
    failed=$((failed + bad))
    echo "$label: $ok passed, $bad failed, $skip skipped"
    grep -E 'SKIP' "$dir/test.out" | sed 's/^/    /' | head -20
}

build() { # folder, label, environment and meson flags
    local dir=$1 label=$2
    shift 2
    if { [ -f "$dir/build.ninja" ] || env "$@" meson setup "$dir" -Dtests=enabled ${MESON_SETUP:-} >"/tmp/skerry-setup.$$" 2>&1; } &&
        ninja -C "$dir" ${TARGETS:-} >"$dir/build.out" 2>&1; then
        note "build $label" 0
        rm -f "/tmp/skerry-setup.$$"
    else
        cat "/tmp/skerry-setup.$$" 2>/dev/null | tail -20
        tail -40 "$dir/build.out" 2>/dev/null
        note "build $label" 1
        return 1
    fi
}

# Each decoder of bytes from outside, against libFuzzer with ASan+UBSan: as many targets at a time as there are processors.
# A finding stays in build-fuzz/found/TARGET/.
fuzz_one() { # target
    local name=${1#fuzz_} seconds=${SKERRY_FUZZ_SECONDS:-60}
    mkdir -p "build-fuzz/found/$name" "build-fuzz/corpus/$name"
    UBSAN_OPTIONS=halt_on_error=1 timeout -k 5 $((seconds + 60)) "build-fuzz/tests/fuzz/$1" -max_total_time="$seconds" -seed="${SKERRY_FUZZ_SEED:-1}" -timeout=10 \
        -verbosity=0 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="build-fuzz/found/$name/" \
        "build-fuzz/corpus/$name" "tests/fuzz/corpus/$name" >"build-fuzz/found/$name/log" 2>&1
    echo "$? $name $(sed -n 's/^stat::number_of_executed_units: *//p' "build-fuzz/found/$name/log")"
}

fuzz() {
    local target status name runs
    export -f fuzz_one
    while read -r status name runs; do
        [ "$status" = 0 ] || tail -n 15 "build-fuzz/found/$name/log"
        note "fuzz $name, ${SKERRY_FUZZ_SECONDS:-60} s, ${runs:-?} runs" "$status"
    done < <(for target in build-fuzz/tests/fuzz/fuzz_*; do
        [ ! -x "$target" ] || [ -d "$target" ] || echo "${target##*/}"
    done | xargs -P "$(nproc)" -I{} bash -c 'fuzz_one {}')
}

fuzz_all() {
    MESON_SETUP="-Dfuzz=true -Db_sanitize=address,undefined -Doptimization=1" TARGETS=fuzz build build-fuzz fuzz CC=clang-14 && fuzz
}

if [ "${1:-}" = fuzz ]; then
    fuzz_all
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
    exit
fi
MESON_SETUP="-Dwerror=true" build build-test gcc CC=gcc && suites build-test "gcc" --no-suite soak
if [ "${1:-}" != quick ]; then
    MESON_SETUP="-Dwerror=true" build build-clang clang CC=clang-14
    MESON_SETUP="-Db_sanitize=address,undefined -Doptimization=1" build build-asan sanitizers CC=gcc &&
        suites build-asan "sanitizers" --timeout-multiplier 4 --no-suite lint --no-suite once --no-suite soak
    fuzz_all
    git ls-files '*.c' '*.h' | xargs clang-format-14 --dry-run -Werror >/dev/null 2>&1
    note "clang-format" $?
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every measurement, raw results into docs/evidence/, then the table docs/benchmarks.md. usage: bench/run.sh [RUNS [PEER-RUNS]]
# As root also containers and Docker Swarm, one after the other on the same machine, so that their ratio means something.
set -u
cd "$(dirname "$0")/.." || exit 1
status=0
step() {
    echo "== $1"
    python3 "bench/$1.py" "${@:2}" || [ $? = 77 ] || status=1
}
step size
step plan "${1:-5}"
step containers "${1:-5}"
if command -v dockerd >/dev/null; then
    step swarm "${2:-3}"
else
    echo "== swarm: left out: no dockerd (packaging/deps.sh bench)"
fi
step table
exit "$status"

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the demo many times and writes down every run: bench/demo_runs.py [--runs N] [--out FILE] [--build DIR] SCENARIO...

A scenario is a site to lose, or SITE:stop to stop its processes instead of killing them. Each line of the output is what
`skerry demo --exit --json` printed, with the scenario, the run's number and the load of the machine before it. No run is left out.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time


def one_run(build, site, stop, seed):
    argv = [os.path.join(build, "skerry"), "demo", "--exit", "--json", "--kill", site, "--seed", str(seed)]
    if stop:
        argv.append("--stop")
    start = time.time()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    try:
        result = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        result = {"error": done.stderr.strip()[-400:]}
    result["status"] = done.returncode
    result["wall_s"] = round(time.time() - start, 1)
    return result


def median(rows, key):
    values = [r[key] for r in rows if isinstance(r.get(key), (int, float))]
    return f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})" if values else "none"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--out", default="docs/evidence/demo.jsonl")
    parser.add_argument("--build", default="build")
    parser.add_argument("scenarios", nargs="+")
    args = parser.parse_args()
    table = ["| scenario | runs | detected ms | traffic off ms | replaced ms | failed of requests | longest gap ms | as predicted |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    bad = 0
    with open(args.out, "a", encoding="utf-8") as out:
        for scenario in args.scenarios:
            site, _, how = scenario.partition(":")
            rows = []
            for run in range(1, args.runs + 1):
                load = os.getloadavg()[0]
                row = one_run(args.build, site, how == "stop", run)
                row.update({"scenario": scenario, "run": run, "load_before": load})
                rows.append(row)
                out.write(json.dumps(row) + "\n")
                out.flush()
                print(scenario, run, {k: row.get(k) for k in ("detected_ms", "traffic_off_ms", "replaced_ms", "failed",
                                                              "requests", "longest_gap_ms", "status", "error")}, flush=True)
            good = [r for r in rows if r["status"] == 0]
            bad += len(rows) - len(good)
            table.append(f"| {scenario} | {len(rows)} | {median(rows, 'detected_ms')} | {median(rows, 'traffic_off_ms')} | "
                         f"{median(rows, 'replaced_ms')} | {median(rows, 'failed')} of {median(rows, 'requests')} | "
                         f"{median(rows, 'longest_gap_ms')} | {len(good)} of {len(rows)} |")
    print("\nmedian (least to most)\n" + "\n".join(table))
    return 1 if bad else 0


sys.exit(main())

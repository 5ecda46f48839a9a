# SPDX-License-Identifier: Apache-2.0
"""Trials of exclusive work in many seeds, by kind: enough of them, each kind among them, and it never ran twice.
usage: sim_trials.py FILE.jsonl.gz AT_LEAST"""
import gzip
import json
import sys

KINDS = ("cut", "pause", "kill", "boot", "step")
with gzip.open(sys.argv[1], "rt", encoding="utf-8") as lines:
    rows = [row for row in map(json.loads, lines) if "seed" in row]
count = {kind: sum(row.get("trials_" + kind, 0) for row in rows) for kind in KINDS}
bad = [row["seed"] for row in rows if row["verdict"] in ("exclusive", "epoch", "grant", "fenced")]
print(sum(count.values()), "trials in", len(rows), "seeds:", ", ".join("%d %s" % (count[kind], kind) for kind in KINDS) + ";",
      "broken in seeds" if bad else "never twice", *bad)
sys.exit(1 if bad or min(count.values()) == 0 or sum(count.values()) < int(sys.argv[2]) else 0)

# SPDX-License-Identifier: Apache-2.0
"""The same seed ends in the same line, in another process too; another seed in another one; a story has no say in it.
Worlds that encode every message (7, 57) are among them. usage: last_line.py SKERRY_SIM"""
import json
import re
import subprocess
import sys


def last(*args):
    run = subprocess.run([sys.argv[1], *args], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr
    return run.stdout.splitlines()[-1]


seen = set()
for seed in ("3", "7", "57"):
    once = last("--seed", seed, "--minutes", "2", "--twice")
    assert re.fullmatch(r"seed=%s verdict=ok simulated=\d+\.\d{6}s hash=[0-9a-f]{16}" % seed, once), once
    assert once == last("--seed", seed, "--minutes", "2"), once
    assert once == last("--seed", seed, "--minutes", "2", "--trace"), once
    seen.add(once.split("hash=")[1])
assert len(seen) == 3, seen
# Many seeds at a time end as each by itself, and tell the trials of exclusive work.
many = subprocess.run([sys.argv[1], "--seeds", "2..4", "--minutes", "2", "--json"], capture_output=True, text=True, check=False)
rows = [json.loads(line) for line in many.stdout.splitlines()]
assert len(rows) == 4 and rows[-1]["seeds"] == 3 and rows[-1]["trials_cut"] >= 0, many.stdout
assert {row["hash"] for row in rows if row.get("seed") == 3} <= seen, many.stdout
three = subprocess.run([sys.argv[1], "--seeds", "1..2", "--minutes", "1", "--weather", "links", "--controls", "3", "--json"],
                       capture_output=True, text=True, check=False)
assert [json.loads(line).get("controls") for line in three.stdout.splitlines()][:2] == [3, 3], three.stdout
bad = subprocess.run([sys.argv[1], "--seed", "x"], capture_output=True, text=True, check=False)
assert bad.returncode == 2 and "usage" in bad.stderr, bad
print("the same seed, the same line")

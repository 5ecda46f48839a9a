# SPDX-License-Identifier: Apache-2.0
"""The seeds that once found a bug hold now. usage: kept.py SKERRY_SIM HOW_MANY"""
import os
import subprocess
import sys

path = os.path.join(os.environ["SKERRY_SOURCE_ROOT"], "sim", "seeds", "found.txt")
rows = [line.split(None, 2) for line in open(path, encoding="utf-8") if line.strip() and not line.startswith("#")]
assert rows, path + " is empty"
failed = 0
rows = rows[:int(sys.argv[2])]
for seed, minutes, what in rows:
    run = subprocess.run([sys.argv[1], "--seed", seed, "--minutes", minutes], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        failed += 1
        print("seed", seed, "(" + what.strip() + "):", "\n".join(run.stdout.splitlines()[-3:]))
print(len(rows), "kept seeds,", failed, "failed")
sys.exit(1 if failed else 0)

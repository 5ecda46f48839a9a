# SPDX-License-Identifier: Apache-2.0
"""Every invariant has a planted bug, and every planted bug a test that finds it. usage: plants.py SKERRY_SIM_PLANT PLANT..."""
import os
import re
import subprocess
import sys

rows = dict(line.split() for line in subprocess.run([sys.argv[1], "--plant", "list"], capture_output=True, text=True,
                                                    check=True).stdout.splitlines())
header = open(os.path.join(os.environ["SKERRY_SOURCE_ROOT"], "sim", "sim.h"), encoding="utf-8").read()
block = header[header.index("#define SIM_RULES"):header.index("enum sim_rule")]
rules = set(re.findall(r'X\(\w+,\s*"([a-z-]+)"', block))
assert rules == set(rows.values()), rules ^ set(rows.values())
assert set(rows) == set(sys.argv[2:]), set(rows) ^ set(sys.argv[2:])
print(len(rows), "planted bugs for", len(rules), "invariants")

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the model of leases (lease.pml) exhaustively with Spin, and each planted bug in it.

The true model must have no error in its whole state space; each planted bug must be found, and by the
property that it breaks. Prints states, depth and time of each. SKERRY_ROUNDS above 1, or --full: also the
larger bounds (three terms, three epochs: ten million states).
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY_MB = 3500

TWO = "runs["              # never two at one moment
EPOCH = "next>repoch"      # epochs strictly increase
FENCE = "lead[c]==2"       # a deposed leader's write never commits
STALE = "wr>=res"          # the resource never takes an older epoch's write
LIVE = "acceptance cycle"  # somebody runs again

SAFETY = ["-DTERMS=3", "-DEPOCHS=2"]
RESOURCE = ["-DRESOURCE", "-DTERMS=2", "-DEPOCHS=2"]
LIVENESS = ["-DLIVE", "-DTERMS=2", "-DEPOCHS=2"]

TRUE = [("safety", SAFETY), ("late writes", RESOURCE), ("liveness", LIVENESS)]
FULL = [("safety, larger", ["-DTERMS=3", "-DEPOCHS=3"])]
PLANTED = [
    ("ACK_BEFORE_COMMIT", SAFETY, TWO),
    ("COUNT_FROM_RECEIPT", SAFETY, TWO),
    ("GRANT_AT_ONCE", SAFETY, TWO),
    ("STALE_VIEW", SAFETY, TWO),
    ("NO_MARGIN", SAFETY, TWO),
    ("NO_KILL", SAFETY, TWO),
    ("RESUME_NOT_KILLED", SAFETY, TWO),
    ("OLD_GRANT", SAFETY, TWO),
    ("OVER_TOO_EARLY", SAFETY, TWO),
    ("RELEASE_WITHOUT_EPOCH", SAFETY, TWO),
    ("NO_FENCE", SAFETY, FENCE),
    ("EPOCH_REUSED", SAFETY, EPOCH),
    ("RESOURCE_TAKES_ALL", RESOURCE, STALE),
    ("NO_EXPIRY", LIVENESS, LIVE),
    ("NO_TAKEOVER", LIVENESS, LIVE),
]


def verify(defines):
    """Builds and runs one verifier. Returns (what it found or "", text of figures)."""
    live = "-DLIVE" in defines
    with tempfile.TemporaryDirectory(prefix="skerry-spin-") as at:
        quiet = {"cwd": at, "check": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        subprocess.run(["spin", "-a", *defines, os.path.join(HERE, "lease.pml")], **quiet)
        kind = [] if live else ["-DSAFETY"]
        subprocess.run(["gcc", "-O2", "-w", "-DNOFAIR", "-DXUSAFE", f"-DMEMLIM={MEMORY_MB}", *kind, "-o", "pan", "pan.c"],
                       **quiet)
        start = time.monotonic()
        out = subprocess.run(["./pan", "-m3000000", "-w25", *(["-a"] if live else [])], **quiet).stdout
        took = time.monotonic() - start
    errors = re.search(r"errors: (\d+)", out)
    if not errors or "Search not completed" in out and errors.group(1) == "0" or "max search depth too small" in out:
        raise RuntimeError("the search did not end:\n" + out)
    found = re.search(r"pan:1: (.*?)(?: \(at depth|$)", out, re.M)
    states = re.search(r"([\d.e+]+) states, stored", out)
    depth = re.search(r"depth reached (\d+)", out)
    memory = re.search(r"([\d.]+)\s+total actual memory usage", out)
    figures = f"{int(float(states.group(1))):>9} states, depth {depth.group(1)}, {float(memory.group(1)):.0f} MB, {took:.1f} s"
    return (found.group(1) if found else "error" if errors.group(1) != "0" else ""), figures


def check(case):
    name, defines, want = case
    found, figures = verify(defines)
    good = want in found if want else found == ""
    said = found if found else "no error"
    return good, f"{'ok  ' if good else 'FAIL'} {name:<22} {figures}: {said}"


def main():
    for tool in ("spin", "gcc"):
        if not shutil.which(tool):
            print(f"skipped: '{tool}' is not installed")
            return 77
    full = "--full" in sys.argv or int(os.environ.get("SKERRY_ROUNDS", "1")) > 1
    cases = [(name, defines, "") for name, defines in TRUE + (FULL if full else [])]
    cases += [(name, [*defines, f"-DBUG_{name}"], want) for name, defines, want in PLANTED]
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for good, line in pool.map(check, cases):
            print(line, flush=True)
            bad += not good
    print(f"{len(cases) - bad} of {len(cases)} as expected")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

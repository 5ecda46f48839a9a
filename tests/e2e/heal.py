#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The site of the control node that leads is cut off, another takes over, and the site comes back: its users notice nothing.

bench/cut_long.py, short. While it is cut off, users of the site are served in it; after the heal its ingress and the copies behind
that must stay until users are led elsewhere. Several nodes a site, so that control has one to choose wrongly. Root, etcd.
SKERRY_CUT_S (default 12) is how long the cut lasts.
"""
import argparse
import json
import os
import shutil
import sys

from lab import ROOT, SLOW, why_not

sys.path.insert(0, os.path.join(ROOT, "bench"))
import cut_long  # noqa: E402

RATE = 30


def main():
    if why_not() or not shutil.which("etcd"):
        print(f"heal: skipped: {why_not() or 'no etcd'}", file=sys.stderr)
        return 77
    cut_long.CALM_S = 3  # of what comes after it users notice nothing new
    args = argparse.Namespace(seconds=float(os.environ.get("SKERRY_CUT_S", "12")), rtt=40, rate=RATE / SLOW, leader=True,
                              programs=False, keep=None, controls=3)
    with cut_long.MadeShop() as args.web:
        row = cut_long.one_run(args)
    print(json.dumps(row), flush=True)
    bad = [what for what, ok in (
        ("the leader was in the site", row["led"]),
        ("users in the site: nothing failed", row["inside"]["requests"] > 0 and row["inside"]["failed"] == 0),
        ("users elsewhere: nothing failed after the heal", "healed" not in row["outside"]["failed_in"]),
        ("each replica runs once", row["running"] == row["wanted"]),
    ) if not ok]
    for what in bad:
        print(f"FAIL {what}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

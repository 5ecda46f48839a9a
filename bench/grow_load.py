#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""From one control node to three and back while users ask: what they, running work and writers notice of it. Root only (a lab).

bench/grow_load.py [--runs N] [--rtt MS] [--calm S] [--programs] [--out FILE] [--keep DIR]

Each run makes three sites of two nodes, RTT apart, the control node in the first. A route with six replicas in containers, an exclusive
worker that fsyncs its epoch, users outside at 300 requests a second, each population nearest to another site's ingress, and
somebody who sets a label twice a second. Then `skerry control grow`, S seconds of three control nodes, `skerry control shrink`.
One line of JSON a run on standard output (and appended to FILE), none left out.

  failed, longest_gap_ms   of all requests of the run, by the load generator; `failures` says in which part, from which ingress
  restarted                replicas whose shim, process, start time or count of runs is another one after than before; wanted: none
  worker_gap_ms, epochs    the longest time without a line of the exclusive worker; it kept its epoch if there is one
  writes                   labels set meanwhile: how many, how many refused, the longest wait, acknowledged ones that are not there
"""
import argparse
import csv
import glob
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time

from failover import REPLICAS, SITES, MadeShop, declaration, keep, read_words, running, start_users, topology, users_saw
from lab import LabError, Lab, wait_until, why_not  # failover knows where it is

FIGURES = ("failed", "longest_gap_ms", "grow_s", "shrink_s", "worker_gap_ms")


def copies(lab):
    """{instance: [run, pid of its shim, its pid, when that started]}, by what each shim wrote down."""
    found = {}
    for path in glob.glob(os.path.join(lab.dir, "hosts/*/agent/instances/*/status")):
        with open(path, encoding="utf-8") as f:
            status = json.load(f)
        if status["state"] == "running":
            found[path.split("/")[-2]] = [status[k] for k in ("run", "shim_pid", "pid", "start")]
    return found


class Writer(threading.Thread):
    """Sets a label of a node, numbered, twice a second."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.lab, self.ended = lab, False
        self.acked, self.refused, self.longest_ms = 0, [], 0.0
        self.count = 0

    def run(self):
        while not self.ended:
            self.count += 1
            began = time.monotonic()
            try:
                status, _, err = self.lab.try_skerry("node", "set", "ams-1", "--label", f"turn=t{self.count}")
            except subprocess.TimeoutExpired:
                status, err = 1, "no answer for 60 s"
            self.longest_ms = max(self.longest_ms, (time.monotonic() - began) * 1000)
            if status == 0:
                self.acked = self.count
            else:
                self.refused.append(err.strip())
            time.sleep(0.5)

    def judge(self):
        self.ended = True
        self.join()
        labels = {n["node"]: n["labels"] for n in self.lab.get("nodes")["nodes"]}["ams-1"]
        have = int(labels.get("turn", "t0")[1:])
        return {"count": self.count, "refused": self.refused, "longest_ms": round(self.longest_ms), "lost": max(0, self.acked - have)}


def good_answers(lab):
    """Whether each site's ingress, asked as users do, answers ten times in a row: what a new service needs after its apply is no part
    of this."""
    for site in lab.get("sites")["sites"]:
        url = f"http://{lab.hosts[site['ingress']]['address']}/"
        argv = lab.argv("users-1", "curl", "-s", "-m", "2", "-w", "%{http_code} ", "-H", "Host: web.example.com",
                        *["-o", "/dev/null", url] * 10)
        if subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split() != ["200"] * 10:
            return False
    return True


def change(lab, *command):
    """One change of the control nodes, followed to its end. Seconds."""
    began = time.monotonic()
    lab.skerry("control", *command, timeout=180)
    return time.monotonic() - began


def control_is(lab, store, members):
    seats = lab.get("control", "seats")
    if (seats["store"], len(seats["members"]), seats["operation"]) != (store, members, None):
        raise LabError(f"wanted {members} control nodes over {store}: {seats}")


def failures(parts, path):
    """The requests that failed, each with the part of the run that it was issued in."""
    rows = []
    with open(path, encoding="utf-8") as f:
        for row in csv.DictReader(f):
            if row["outcome"] != "ok":
                at = int(row["issued_ns"])
                part = ([parts[0][0]] + [name for name, since in parts if since <= at])[-1]
                rows.append({"part": part, "outcome": row["outcome"], "status": row["status"],
                             "population": row["population"], "ingress": row["ingress"], "at_s": round((at - parts[0][1]) / 1e9, 3)})
    return rows


def under_load(lab, args, words):
    """The changes themselves. What they took, and the parts of the run with the moment at which each began."""
    parts, row = [], {}

    def part(name):
        parts.append((name, time.monotonic_ns()))

    part("before")
    time.sleep(args.calm)
    part("grow")
    row["grow_s"] = round(change(lab, "grow"), 2)
    control_is(lab, "etcd", 3)
    part("three")
    time.sleep(args.calm)
    part("shrink")
    row["shrink_s"] = round(change(lab, "shrink"), 2)
    control_is(lab, "sqlite", 1)
    part("after")
    time.sleep(args.calm)
    lines = [x for x in read_words(words) if x["t"] >= parts[0][1]]
    row["epochs"] = sorted({x["epoch"] for x in lines})
    row["worker_gap_ms"] = round(max((b["t"] - a["t"]) / 1e6 for a, b in zip(lines, lines[1:])))
    return row, parts


def stop_users(lab, users):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(b"stop", os.path.join(lab.dir, "hosts/load.sock"))
    users.wait(timeout=30)
    return next(e for e in users_saw(lab) if e["event"] == "summary")


def one_run(args):
    with Lab(topology(args.rtt)) as lab:
        lab.start()
        words = os.path.join(lab.dir, "hosts/words")
        web = f'command: ["{args.web}/web/serve"]' if args.programs else f'image: "oci:{args.web}/layout:web"'
        lab.skerry("apply", lab.file("f.yaml", declaration(web, words, None)), "--wait", "--timeout", "60s", timeout=90)
        wait_until("the worker runs", lambda: running(lab, "worker") and read_words(words), 30)
        wait_until("all replicas run", lambda: len(running(lab, "web")) == REPLICAS, 30)
        wait_until("each ingress answers", lambda: good_answers(lab), 30)
        before, placed = copies(lab), {(i["service"], i["replica"]): i["id"] for i in lab.get("ps")["instances"]}
        users, writer = start_users(lab, args), Writer(lab)
        try:
            writer.start()
            row, parts = under_load(lab, args, words)
            summary = stop_users(lab, users)
            row["writes"] = writer.judge()
        finally:
            writer.ended = True
            if users.poll() is None:
                users.kill()
                users.wait()
            if args.keep:
                keep(lab, lab.first, os.path.join(args.keep, str(time.time_ns())))
        after = copies(lab)
        row.update({k: summary[k] for k in ("requests", "failed", "longest_gap_ms", "p50_ms", "p99_ms", "generator_errors")})
        row.update(failures=failures(parts, os.path.join(lab.dir, "hosts/requests.csv")), copies=len(before),
                   restarted={i: [before.get(i), after.get(i)] for i in {*before, *after} if before.get(i) != after.get(i)},
                   moved=[list(k) for k, v in placed.items()
                          if v not in {i["id"] for i in lab.get("ps")["instances"]}],
                   judged=[e["what"] for e in lab.get("events")["events"] if e["what"] in ("site_lost", "node_lost", "failover")])
        row["ok"] = (row["failed"] == 0 and not row["restarted"] and not row["moved"] and not row["judged"] and
                     row["generator_errors"] == 0 and len(row["epochs"]) == 1 and row["writes"]["lost"] == 0)
        return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--rtt", type=float, default=40)
    parser.add_argument("--calm", type=float, default=10, help="seconds before, between and after the two changes")
    parser.add_argument("--programs", action="store_true", help="programs of the host rather than containers")
    parser.add_argument("--out", help="append each run's line to this file")
    parser.add_argument("--keep", help="keep the logs of each run in a folder below this one")
    args = parser.parse_args()
    if why_not():
        print(f"grow_load: skipped: {why_not()}", file=sys.stderr)
        return 77
    args.seconds = 0  # users go on until they are told to stop
    rows = []
    with MadeShop() as args.web:
        for run in range(1, args.runs + 1):
            row = {"run": run, "rtt_ms": args.rtt, "rate": 300, "sites": len(SITES), "programs": args.programs,
                   "load_before": os.getloadavg()[0]}
            try:
                row.update(one_run(args))
            except (LabError, OSError, subprocess.SubprocessError, KeyError, StopIteration) as e:
                row.update(ok=False, error=f"{type(e).__name__}: {e}")
            rows.append(row)
            print(json.dumps(row), flush=True)
            if args.out:
                with open(args.out, "a", encoding="utf-8") as f:
                    f.write(json.dumps(row) + "\n")
    for figure in FIGURES:
        values = [r[figure] for r in rows if r.get(figure) is not None]
        text = f"{statistics.median(values):.4g} ({min(values):.4g} to {max(values):.4g})" if values else "none"
        print(f"{figure:15} median {text}, {len(values)} of {len(rows)} runs", file=sys.stderr)
    print(f"{sum(r['ok'] for r in rows)} of {len(rows)} runs without a failed request, a restart or a lost write", file=sys.stderr)
    return 0 if all(r["ok"] for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

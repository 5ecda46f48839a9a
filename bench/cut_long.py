#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A site is cut off from the other two for ten minutes, with three control nodes, one in each. Root only (a lab, docs/lab.md).

bench/cut_long.py [--seconds S] [--rtt MS] [--rate R] [--leader] [--programs] [--out FILE] [--keep DIR]

Three sites of two nodes, RTT apart. A route with six replicas, an exclusive worker that fsyncs its epoch, in the site that will be
cut off. Users in that site ask its ingress R times a second, users of the two others theirs. Then all that passes between the site
and the others is dropped for S (600) seconds, and comes back. Nobody does anything by hand. One line of JSON on standard output
(and appended to FILE).

  inside, outside      requests of users in the site, and of those elsewhere: asked, failed (in which part), longest gap
  past_ms              how long after the cut the worker still wrote in the site; its lease ends 3 s after its holder asked for it
  lines_inside         lines of it from the site later than that, until the end: wanted: none
  exclusive_ms         after the cut: its first line elsewhere
  calls                reads and writes at the control nodes meanwhile, by exit status: inside, writes must be refused
  healed_s, settled_s  after the heal: all nodes alive, all work healthy, each replica once, the control node back; and so for good
  running, wanted      processes of replicas on all hosts then, and how many there should be
"""
import argparse
import collections
import json
import os
import socket
import subprocess
import sys
import time

import failover
from failover import SITES, MadeShop, keep, leader_of, prepare, read_words, topology
from grow_load import copies, failures, good_answers
from lab import LAB, Lab, LabError, wait_until, why_not

HELD_MS = 3000  # a lease
CALM_S = 15
PROBE_S = 15    # between two looks at the control nodes


class Users:
    """The load generator for one group of users."""

    def __init__(self, lab, name, netns, sites, rate):
        self.lab, self.name = lab, name
        by_site = {s["site"]: s["ingress"] for s in lab.get("sites")["sites"]}
        doors = [{"site": s, "address": lab.hosts[by_site[s]]["address"], "port": 80} for s in sites]
        config = {"rate": rate, "seconds": 0, "seed": 1, "host": "web.example.com", "path": "/", "next_ms": 300, "timeout_ms": 1000,
                  "csv": self.path("csv"), "control": self.path("sock"),
                  "populations": [{"name": s, "share": 1, "netns": netns, "ingress": doors[i:] + doors[:i]} for i, s in enumerate(sites)]}
        with open(self.path("jsonl"), "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([LAB, "load", lab.file(name + ".json", json.dumps(config))], stdout=log)

    def path(self, kind):
        return os.path.join(self.lab.dir, "hosts", f"{self.name}.{kind}")

    def end(self, parts):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"stop", self.path("sock"))
        self.process.wait(timeout=30)
        with open(self.path("jsonl"), encoding="utf-8") as f:
            summary = json.loads(f.read().splitlines()[-1])
        found = {k: summary[k] for k in ("requests", "failed", "longest_gap_ms", "p50_ms", "p99_ms", "generator_errors")}
        rows = failures(parts, self.path("csv"))
        return {**found, "failed_in": dict(collections.Counter(r["part"] for r in rows)), "failures": rows[:40]}

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def call(lab, host, *command):
    """A command's exit status there, and how long it took."""
    began = time.monotonic()
    try:
        status = lab.try_skerry(*command, host=host, timeout=60)[0]
    except subprocess.TimeoutExpired:
        status = "no end"
    return status, round(time.monotonic() - began, 2)


def look(lab, inside, outside, calls):
    for name, host in (("inside", inside), ("outside", outside)):
        for what, command in (("read", ("status",)), ("write", ("node", "set", inside, "--label", "cut=yes"))):
            calls.setdefault(f"{name} {what}", []).append(call(lab, host, *command))


def whole(lab, control, outside):
    """All is as it should be, by what the cluster says and by what runs."""
    status = lab.get("status", host=outside)
    nodes = lab.get("nodes", host=outside)["nodes"]
    seats = [(i["service"], i["replica"]) for i in lab.get("ps", host=outside)["instances"] if i["state"] == "running"]
    back = lab.try_skerry("control", "status", "--json", host=control)
    return (all(n["state"] == "alive" and n["connected"] for n in nodes) and not status["sites_lost"] and
            status["replicas"]["healthy"] == status["replicas"]["wanted"] == len(seats) == len(set(seats)) == len(copies(lab)) and
            back[0] == 0 and leader_of(json.loads(back[1])))


def cut_and_heal(lab, args, victim, control, outside, calls):
    """(parts of the run, how long after the heal until all was whole)."""
    parts = [("before", time.monotonic_ns())]
    time.sleep(5)
    parts.append(("cut", time.monotonic_ns()))
    lab.cut(victim)
    while time.monotonic_ns() - parts[-1][1] < args.seconds * 1e9:
        time.sleep(max(0.0, min(PROBE_S, args.seconds - (time.monotonic_ns() - parts[-1][1]) / 1e9)))
        look(lab, control, outside, calls)
    parts.append(("healed", time.monotonic_ns()))
    lab.heal(victim)
    wait_until("all is whole again", lambda: whole(lab, control, outside), 120, 0.5)
    healed = (time.monotonic_ns() - parts[-1][1]) / 1e9
    return parts, {"healed_s": round(healed, 1), "settled_s": round(settled(lab, control, outside, parts[-1][1]), 1)}


def settled(lab, control, outside, since_ns):
    """Work goes back to the site by itself, one after the other in place of another copy. When all was whole for 15 s, since when."""
    first, limit = None, time.monotonic() + 150
    while first is None or time.monotonic() - first < CALM_S:
        if time.monotonic() > limit:
            raise LabError("it does not come to rest")
        if not whole(lab, control, outside):
            first = None
        elif first is None:
            first = time.monotonic()
        time.sleep(0.5)
    return first - since_ns / 1e9


def judge_worker(lab, victim, words, parts):
    """By its own file alone."""
    at, lines = parts[1][1], read_words(words)
    there = [x for x in lines if lab.hosts[x["node"]]["site"] == victim and parts[1][1] <= x["t"] < parts[2][1]]
    elsewhere = [x for x in lines if x["t"] >= at and lab.hosts[x["node"]]["site"] != victim]
    epochs = [x["epoch"] for x in lines]
    return {"past_ms": round((there[-1]["t"] - at) / 1e6) if there else None,
            "lines_inside": len([x for x in there if x["t"] - at > HELD_MS * 1e6]),
            "exclusive_ms": round((elsewhere[0]["t"] - at) / 1e6) if elsewhere else None,
            "epochs": sorted(set(epochs)), "twice": epochs != sorted(epochs)}


def one_run(args):
    with Lab(topology(args.rtt)) as lab:
        lab.start()
        victim, words, status = prepare(lab, args)
        members = [m["node"] for m in status["members"]]
        control = next(m for m in members if lab.hosts[m]["site"] == victim)
        outside = next(m for m in members if lab.hosts[m]["site"] != victim)
        wait_until("each ingress answers", lambda: good_answers(lab), 30)
        calls, wanted = {}, len(copies(lab))
        groups = {"inside": Users(lab, "inside", lab.hosts[lab.sites[victim][1]]["netns"], [victim], args.rate),
                  "outside": Users(lab, "outside", lab.hosts["users-1"]["netns"], [s for s in SITES if s != victim], args.rate)}
        try:
            parts, times = cut_and_heal(lab, args, victim, control, outside, calls)
            row = {name: users.end(parts) for name, users in groups.items()}
        finally:
            for users in groups.values():
                users.kill()
            if args.keep:
                keep(lab, outside, os.path.join(args.keep, str(time.time_ns())))
        row.update(victim=victim, led=control == leader_of(status), **times, wanted=wanted, running=len(copies(lab)),
                   calls={k: {"statuses": sorted({str(s) for s, _ in v}), "count": len(v), "longest_s": max(t for _, t in v)}
                          for k, v in calls.items()},
                   **judge_worker(lab, victim, words, parts))
        row["ok"] = (row["inside"]["failed"] == 0 and row["lines_inside"] == 0 and not row["twice"] and row["running"] == wanted and
                     row["calls"]["inside write"]["statuses"] == ["1"] and row["calls"]["outside write"]["statuses"] == ["0"])
        return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rtt", type=float, default=40)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--leader", action="store_true", help="the site of the control node that leads")
    parser.add_argument("--programs", action="store_true", help="programs of the host rather than containers")
    parser.add_argument("--out", help="append the run's line to this file")
    parser.add_argument("--keep", help="keep the logs in a folder below this one")
    args = parser.parse_args()
    if why_not():
        print(f"cut_long: skipped: {why_not()}", file=sys.stderr)
        return 77
    args.controls = 3
    row = {"seconds": args.seconds, "rtt_ms": args.rtt, "rate": args.rate, "leader": args.leader, "replicas": failover.REPLICAS,
           "load_before": os.getloadavg()[0]}
    with MadeShop() as args.web:
        try:
            row.update(one_run(args))
        except (LabError, OSError, subprocess.SubprocessError, KeyError, StopIteration) as e:
            row.update(ok=False, error=f"{type(e).__name__}: {e}")
    row["load_after"] = os.getloadavg()[0]
    print(json.dumps(row), flush=True)
    if args.out:
        with open(args.out, "a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")
    return 0 if row["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())

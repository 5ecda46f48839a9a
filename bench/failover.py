#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A site dies silently, and what users, stateless and exclusive work and `apply` notice of it. Root only (a lab, docs/lab.md).

bench/failover.py [--runs N] [--rtt MS] [--controls 1|3] [--leader] [--seconds S] [--programs] [--out FILE] [--keep DIR]

Each run makes three sites of two nodes, RTT apart. A route with six replicas in containers, an exclusive worker that fsyncs its
epoch, users outside with every ingress in their hands, each nearest to another site, at 300 requests a second. Then the site where
the worker runs is cut off, and in the same moment all of it is killed. One line of JSON a run on standard output (and appended to
FILE), none left out; medians on standard error.

  traffic_off_ms  from the cut to the last request issued that failed or took over 1 s, next ingress after 300 ms (DESIGN: "traffic off")
  stateless_ms    to the first answer that users got from the last of as many replicas elsewhere as there were before
  exclusive_ms    to the worker's first line under a higher epoch, by its own file
  apply_ms        to the end of the first `skerry apply` that was begun after the cut and worked
  verdict_ms      to the event site_lost, by the cluster's own word

All but the last come from observers that are no part of skerry, on this machine's one clock. `twice` is true if the worker's file shows
an older epoch after a newer one: then the run is worthless for anything but a bug report.

With --controls 3 the cluster is grown first (`skerry control grow`), and --leader takes the site of the control node that leads, as
`skerry control status` says; what that predicted is kept beside. With one control node the site that dies is never its own.
"""
import argparse
import glob
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests/e2e"))
from lab import LAB, ROOT, SKERRY, Lab, LabError, wait_until, why_not  # noqa: E402

SITES = ("fra", "ams", "par")
REPLICAS = 6
USERS_RTT_MS = 10
FIGURES = ("traffic_off_ms", "stateless_ms", "exclusive_ms", "apply_ms", "verdict_ms")
WORKER = os.path.join(ROOT, "tests/e2e/exclusive_worker.py")


def topology(rtt):
    return {"sites": {**{s: {"hosts": 2} for s in SITES}, "users": {"hosts": 1, "bare": True}}, "default": {"rtt_ms": rtt},
            "links": [{"between": ["users", s], "rtt_ms": USERS_RTT_MS} for s in SITES]}


def declaration(web, words, site):
    """site: the worker must be there; None: it may be anywhere (and then stays where it is, for moves have a price)."""
    there = f'placement: {{constraints: ["node.site == {site}"]}}, ' if site else ""
    survive = "" if site else ", survive: {sites: 1}"
    return f"""name: f
services:
  web:
    {web}
    expose: ["8000"]
    stop_grace_period: 1s
    healthcheck: {{test: ["CMD", "wget", "-qO-", "http://127.0.0.1:8000/healthz"], interval: 1s, timeout: 1s, retries: 2}}
    deploy: {{replicas: {REPLICAS}, resources: {{limits: {{cpus: "0.50", memory: 64M}}}}}}
    x-skerry:
      check: {{http: {{path: /healthz, port: 8000}}}}
      survive: {{sites: 1, keep: 3}}
      route: {{host: web.example.com, port: 8000}}
  worker:
    command: ["/usr/bin/python3", "{WORKER}", "{words}"]
    stop_grace_period: 1s
    deploy: {{{there}replicas: 1, resources: {{limits: {{cpus: "0.20", memory: 64M}}}}}}
    x-skerry: {{exclusive: true{survive}}}
"""


def read_words(path):
    try:
        with open(path, encoding="utf-8") as f:
            return [json.loads(line) for line in f if line.endswith("\n")]
    except OSError:
        return []


class Applier(threading.Thread):
    """Applies a small change again and again until one is taken."""

    def __init__(self, lab, host, since_ns):
        super().__init__(daemon=True)
        self.lab, self.host, self.since_ns, self.took_ms, self.tries = lab, host, since_ns, None, 0

    def run(self):
        path = os.path.join(self.lab.dir, "hosts/probe.yaml")
        while self.took_ms is None and self.tries < 200:
            self.tries += 1
            with open(path, "w", encoding="utf-8") as f:
                f.write(f'name: probe\nservices:\n  p:\n    command: ["/bin/sleep", "{1000 + self.tries}"]\n'
                        "    stop_grace_period: 1s\n    deploy: {replicas: 1}\n")
            try:
                if self.lab.try_skerry("apply", path, host=self.host, timeout=2)[0] == 0:
                    self.took_ms = (time.monotonic_ns() - self.since_ns) / 1e6
            except subprocess.TimeoutExpired:
                pass
            time.sleep(0.05)


def start_users(lab, args):
    """300 requests a second, open loop; each population is nearest to another site."""
    nodes = {s["site"]: s["ingress"] for s in lab.get("sites")["sites"]}
    ingress = [{"site": s, "address": lab.hosts[nodes[s]]["address"], "port": 80} for s in SITES]
    config = {"rate": 300, "seconds": args.seconds, "seed": 1, "host": "web.example.com", "path": "/", "next_ms": 300, "timeout_ms": 1000,
              "csv": os.path.join(lab.dir, "hosts/requests.csv"), "control": os.path.join(lab.dir, "hosts/load.sock"),
              "populations": [{"name": s, "share": 1, "netns": lab.hosts["users-1"]["netns"], "ingress": ingress[i:] + ingress[:i]}
                              for i, s in enumerate(SITES)]}
    with open(os.path.join(lab.dir, "hosts/users.jsonl"), "w", encoding="utf-8") as log:
        return subprocess.Popen([LAB, "load", lab.file("load.json", json.dumps(config))], stdout=log)


def users_saw(lab):
    with open(os.path.join(lab.dir, "hosts/users.jsonl"), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def running(lab, service):
    return [i for i in lab.get("ps")["instances"] if i["service"] == service and i["state"] == "running" and i["healthy"] is not False
            and i["role"] == "active"]


def prepare(lab, args):
    """The cluster with its work where the run wants it; (site to lose, path of the worker's file, what control predicts)."""
    status, victim = None, "ams"
    if args.controls > 1:
        lab.skerry("control", "grow", timeout=180)
        status = wait_until("control is grown", lambda: control_status(lab, args.controls), 120, 0.5)
        leader = lab.hosts[leader_of(status)]["site"]
        victim = leader if args.leader else next(s for s in SITES if s != leader)
    words = os.path.join(lab.dir, "hosts/words")
    web = f'command: ["{args.web}/web/serve"]' if args.programs else f'image: "oci:{args.web}/layout:web"'
    for site in (victim, None):
        path = lab.file("f.yaml", declaration(web, words, site))
        lab.skerry("apply", path, "--wait", "--timeout", "60s", timeout=90)
    wait_until("the worker runs", lambda: running(lab, "worker") and read_words(words), 30)
    where = running(lab, "worker")[0]["site"]
    if where != victim:
        raise LabError(f"the worker runs in {where}, not in {victim}")
    wait_until("all replicas run", lambda: len(running(lab, "web")) == REPLICAS, 30)
    return victim, words, status


def leader_of(status):
    """Its node's name; None while nobody leads."""
    leader = status.get("leader")
    return (leader or {}).get("node") if isinstance(leader, dict) or leader is None else leader


def members_of(status):
    return [m["node"] for m in status["members"] if m["seat"] == "member"]


def control_status(lab, wanted):
    status = lab.get("control", "status")
    return status if len(members_of(status)) == wanted and leader_of(status) else None


def lose(lab, victim, users):
    """Links first, then its power. Returns when it was cut, by CLOCK_MONOTONIC and by the wall."""
    at, wall_ms = time.monotonic_ns(), time.time() * 1000
    lab.cut(victim)
    killers = [subprocess.Popen([LAB, "kill", "--dir", lab.dir, host]) for host in lab.sites[victim]]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(f"cut {at}".encode(), os.path.join(lab.dir, "hosts/load.sock"))
    if users.poll() is not None or any(k.wait(timeout=30) != 0 for k in killers):
        raise LabError("the site could not be lost as it should be")
    return at, wall_ms


def one_run(args):
    with Lab(topology(args.rtt)) as lab:
        lab.start()
        victim, words, status = prepare(lab, args)
        # the command line speaks to a control node of its own host
        survivor = next(m for m in members_of(status) if lab.hosts[m]["site"] != victim) if status else lab.first
        users = start_users(lab, args)
        try:
            time.sleep(args.seconds / 3)
            before = len([i for i in running(lab, "web") if i["site"] == victim])
            epoch = read_words(words)[-1]["epoch"]
            at, wall_ms = lose(lab, victim, users)
            applier = Applier(lab, survivor, at)
            applier.start()
            users.wait(timeout=args.seconds + 30)
        finally:
            if users.poll() is None:
                users.kill()
                users.wait()
        if args.keep:
            keep(lab, survivor, os.path.join(args.keep, str(time.time_ns())))
        return judge(lab, survivor, words, at, wall_ms,
                     {"victim": victim, "replicas_lost": before, "epoch": epoch, "predicted": (status or {}).get("predicted"),
                      "apply_ms": applier.took_ms})


def keep(lab, survivor, folder):
    """What the hosts logged, what users got, and what the cluster says of itself, for a closer look."""
    os.makedirs(folder)
    for path in glob.glob(os.path.join(lab.dir, "hosts/*")):
        if os.path.isfile(path):
            shutil.copy(path, folder)
    for what in ("events", "ps", "status"):
        with open(os.path.join(folder, what + ".json"), "w", encoding="utf-8") as f:
            f.write(lab.skerry(what, "--json", host=survivor))


def judge(lab, survivor, words, at, wall_ms, row):
    events = users_saw(lab)
    summary = next(e for e in events if e["event"] == "summary")
    # by the answers' own words: who answered from another site, in the order of their first answers
    elsewhere = [e for e in events if e["event"] == "instance" and e["site"] != row["victim"]]
    stateless = (elsewhere[REPLICAS - 1]["at_ns"] - at) / 1e6 if len(elsewhere) >= REPLICAS else None
    lines = read_words(words)
    later = next((x for x in lines if x["epoch"] > row["epoch"]), None)
    epochs = [x["epoch"] for x in lines]
    lost = [e for e in lab.get("events", host=survivor)["events"] if e["what"] == "site_lost"]
    row.update(traffic_off_ms=summary["traffic_off_ms"], stateless_ms=stateless,
               exclusive_ms=(later["t"] - at) / 1e6 if later else None,
               exclusive_on=later["node"] if later else None, twice=epochs != sorted(epochs),
               verdict_ms=lost[-1]["wall_ms"] - wall_ms if lost else None,
               requests=summary["requests"], failed=summary["failed"], failed_after_cut=summary["failed_after_cut"],
               longest_gap_ms=summary["longest_gap_ms"], generator_errors=summary["generator_errors"])
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--rtt", type=float, default=40)
    parser.add_argument("--controls", type=int, default=1, choices=(1, 3))
    parser.add_argument("--leader", action="store_true")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--programs", action="store_true", help="programs of the host rather than containers")
    parser.add_argument("--out", help="append each run's line to this file")
    parser.add_argument("--keep", help="keep the logs of each run in a folder below this one")
    args = parser.parse_args()
    if args.leader and args.controls == 1:
        parser.error("--leader needs --controls 3: with one control node the plane goes with its site")
    if why_not():
        print(f"failover: skipped: {why_not()}", file=sys.stderr)
        return 77
    rows = []
    with MadeShop() as args.web:
        for run in range(1, args.runs + 1):
            row = {"run": run, "rtt_ms": args.rtt, "controls": args.controls, "leader": args.leader, "programs": args.programs,
                   "load_before": os.getloadavg()[0]}
            try:
                row.update(one_run(args))
            except (LabError, OSError, subprocess.SubprocessError, KeyError, StopIteration) as e:
                row["error"] = f"{type(e).__name__}: {e}"
            rows.append(row)
            print(json.dumps(row), flush=True)
            if args.out:
                with open(args.out, "a", encoding="utf-8") as f:
                    f.write(json.dumps(row) + "\n")
    for figure in FIGURES:
        values = [r[figure] for r in rows if r.get(figure) is not None]
        text = f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})" if values else "none"
        print(f"{figure:15} median {text}, {len(values)} of {len(rows)} runs", file=sys.stderr)
    return 1 if any("error" in r or r["twice"] for r in rows) else 0


class MadeShop:
    """The demo's web service, from busybox."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="skerry-failover-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        subprocess.run([os.path.join(ROOT, "examples/shop/make-images.sh"), "web", self.dir], check=True, stdout=subprocess.DEVNULL)
        return self.dir

    def __exit__(self, *_):
        shutil.rmtree(self.dir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())

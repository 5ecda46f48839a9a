#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Drills where three control nodes decide: of a standby's site, of the leader's own, and the leader dies in the middle of one.

Each is given back by its rule and its report is written, whoever leads by then. In network namespaces: root, etcd, nft. Times are
judged where SKERRY_ROUNDS says that this is a soak.
"""
import json
import os
import shutil
import sys
import time

from cluster import LAB, PYTHON, SERVE, Failed, kill, main, wait_until
from cut import Lab
from drill import phases, sound, table

SITES = {"fra": ["fra-1"], "ams": ["ams-1"], "par": ["par-1"]}
TIMED = "SKERRY_ROUNDS" in os.environ
FOR = "10s"


def declaration():
    return f"""name: shop
services:
  web:
    command: ["/bin/sh", "-c", "exec {PYTHON} {SERVE}"]
    stop_grace_period: 1s
    deploy: {{replicas: 3, resources: {{limits: {{cpus: "0.20", memory: 64M}}}}}}
    x-skerry: {{survive: {{sites: 1, keep: 2}}}}
  batch:
    command: ["{PYTHON}", "-c", "import time; time.sleep(1e6)"]
    stop_grace_period: 1s
    deploy: {{replicas: 1, resources: {{limits: {{cpus: "0.20", memory: 64M}}}}}}
    x-skerry: {{exclusive: true, survive: {{sites: 1}}}}
"""


class Three(Lab):
    def __init__(self):
        super().__init__(SITES)

    def begin(self):
        self.hub = self.new_node("fra-1", "fra")
        code, out, err = self.local(self.hub, "init", "--lab", *self.setup_args(self.hub))
        if code != 0:
            raise Failed(f"init: {code} {out} {err}")
        self.hub.start()
        wait_until("the API answers", lambda: self.cli("status")[0] == 0)
        for name, site in (("ams-1", "ams"), ("par-1", "par")):
            self.join(name, site)
        self.wait_ready()
        code, out, err = self.cli("control", "grow", timeout=120)
        if code != 0:
            raise Failed(f"grow: {code} {out} {err}")
        wait_until("all three know who leads", lambda: {self.leads(n) for n in self.nodes} == {"fra-1"}, 30)
        self.apply_ok(self.file("shop.yaml", declaration()))

    def ask(self, name, *args):
        """What it prints; the exit status of a report is the drill's. None: no answer, or an error."""
        out = self.local(self.nodes[name], *args, "--json", timeout=20)[1]
        got = json.loads(out) if out.strip().startswith("{") else {"error": ""}
        return None if "error" in got else got

    def leads(self, name):
        got = self.ask(name, "control", "status")
        return got["leader"]["node"] or None if got else None

    def leader(self):
        return next((x for x in map(self.leads, self.nodes) if x), None)

    def calm(self, name):
        """As planned, by this node's word; and all three control nodes are there."""
        status = self.ask(name, "status")
        return bool(status and status["drill"] is None and status["replicas"]["moved"] == 0 and not status["sites_lost"]
                    and not status["nodes_lost"] and all(s["state"] == "ok" for s in status["services"])
                    and all(self.leads(n) for n in self.nodes))

    def phase(self, name):
        status = self.ask(name, "status")
        return (status["drill"] or {}).get("phase") if status else None


def over(c, r, name, number, what, began):
    """The drill ends by itself, wherever its leader is; the report, as another control node has it."""
    wait_until(f"{what}: it is over", lambda: c.calm(name) and c.ask(name, "drill", "--show", str(number)), 90)
    report = c.ask(name, "drill", "--show", str(number))
    if not report:
        raise Failed(f"{what}: no report")
    print(f"   {what}: {report.get('result')}, verdict {report.get('verdict')}, all replaced {report.get('all_replaced')}, restarts "
          f"{report.get('restarts')}, {time.monotonic() - began:.1f} s", flush=True)
    r.equal(f"{what}: the report", (report.get("number"), report.get("aborted")), (number, ""))
    return report


def of_a_standby(c, r):
    leader = c.leader()
    name = next(n for n in c.nodes if n != leader)
    began = time.monotonic()
    code, _, err = c.local(c.nodes[leader], "drill", c.nodes[name].site, "--hard", "--for", FOR, "--detach")
    r.equal(f"hard, a standby's site: it begins {err}", code, 0)
    report = over(c, r, leader, 1, "hard, a standby's site", began)
    # where etcd's own leader was in that site, its election takes over a second: then a standby takes over meanwhile
    r.check("hard, a standby's site: as predicted", sound(report) and (
        not TIMED or report["restarts"] or report["result"] == "survived"), report)
    r.equal("hard, a standby's site: its phases", phases(report), ["cut", "hold", "return"])
    r.check("hard, a standby's site: one outside of it leads", c.leader() not in (None, name), c.leader())
    r.check("hard, a standby's site: no table is left", not table(c, name))


def of_the_leader(c, r):
    leader = c.leader()
    other = next(n for n in c.nodes if n != leader)
    began = time.monotonic()
    code, _, err = c.local(c.nodes[other], "drill", c.nodes[leader].site, "--hard", "--for", FOR, "--detach")
    r.equal(f"hard, the leader's site: it begins {err}", code, 0)
    report = over(c, r, other, 2, "hard, the leader's site", began)
    r.check("hard, the leader's site: as predicted", sound(report), report)
    r.equal("hard, the leader's site: its phases", phases(report), ["cut", "hold", "return"])
    r.check("hard, the leader's site: another one went on with it", c.leader() != leader and report["restarts"] >= 1, report)
    r.check("hard, the leader's site: no table is left", not table(c, leader))
    r.equal("hard, the leader's site: it has the report too", (c.ask(leader, "drill", "--show", "2") or {}).get("result"),
            report["result"])


def taken_over(c, r):
    leader = c.leader()
    name, other = [n for n in c.nodes if n != leader]
    began = time.monotonic()
    code, _, err = c.local(c.nodes[leader], "drill", c.nodes[name].site, "--for", FOR, "--detach")
    r.equal(f"soft, the leader dies: it begins {err}", code, 0)
    wait_until("it works", lambda: c.phase(leader) in ("work", "hold"), 15)
    kill(c.nodes[leader].half("net"))
    report = over(c, r, other, 3, "soft, the leader dies", began)
    r.equal("soft, the leader dies: its phases", phases(report), ["traffic", "work", "hold", "return"])
    r.check("soft, the leader dies: it goes on, or is gone on with", report["restarts"] >= 1 and all(
        x["observed"] for x in report["replaced"]), report)


def drill_ha(r):
    if os.geteuid() != 0 or not os.access(LAB, os.X_OK):
        print("needs root, for network namespaces")
        sys.exit(77)
    if not shutil.which("etcd") or not shutil.which("nft"):
        print("needs etcd and nft: apt-get install etcd-server nftables")
        sys.exit(77)
    with Three() as c:
        try:
            c.begin()
            for part in (of_a_standby, of_the_leader, taken_over):
                wait_until(f"{part.__name__}: all as planned", lambda: c.calm("ams-1"), 60)
                part(c, r)
        except Failed:
            c.failed = True
            raise
        c.failed = bool(r.failures)


if __name__ == "__main__":
    main(drill_ha)

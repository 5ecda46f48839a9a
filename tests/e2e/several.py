# SPDX-License-Identifier: Apache-2.0
"""A cluster in namespaces whose control nodes are several, made so by `skerry control grow`: what its tests share."""
import json
import os
import shutil
import subprocess
import sys
import threading
import time

from cluster import LAB, PYTHON, SERVE, Failed, wait_until
from cut import Lab
from exclusive import WORKER


def or_skip():
    if os.geteuid() != 0 or not os.access(LAB, os.X_OK):
        print("skipped: needs root, for network namespaces")
        sys.exit(77)
    if not shutil.which("etcd"):
        print("skipped: etcd is not installed; apt-get install etcd-server")
        sys.exit(77)


def work(words, replicas=3):
    """Replicas that answer, and exclusive work that writes down its epoch."""
    return f"""name: shop
services:
  web:
    command: ["{PYTHON}", "{SERVE}"]
    stop_grace_period: 1s
    deploy: {{replicas: {replicas}, resources: {{limits: {{cpus: "0.10", memory: 64M}}}}}}
    x-skerry: {{survive: {{sites: 1}}}}
  worker:
    command: ["{PYTHON}", "{WORKER}", "{words}"]
    stop_grace_period: 1s
    deploy: {{replicas: 1, resources: {{limits: {{cpus: "0.20", memory: 64M}}}}}}
    x-skerry: {{exclusive: true, survive: {{sites: 1}}}}
"""


class Several(Lab):
    def begin(self, first, *grow, timeout=120):
        """One node a site, all of them; then the state is moved to several (`grow`: what is said to the command)."""
        self.start_one(first)
        for site, names in self.sites.items():
            for name in names:
                if name != first:
                    self.join(name, site)
        self.wait_ready()
        if grow:
            self.control("grow", *(g for g in grow if g), timeout=timeout)

    def start_one(self, first):
        self.hub = self.new_node(first, next(s for s, names in self.sites.items() if first in names))
        code, out, err = self.local(self.hub, "init", "--lab", *self.setup_args(self.hub))
        if code != 0:
            raise Failed(f"init: {code} {out} {err}")
        self.code = out.split("recovery code:")[1].split()[0]
        self.hub.start()
        wait_until("the API answers", lambda: self.cli("status")[0] == 0)

    def control(self, *args, at=None, timeout=120):
        code, out, err = self.local(at or self.hub, "control", *args, timeout=timeout)
        if code != 0:
            raise Failed(f"control {' '.join(args)}: {code} {out} {err}")
        return out

    # ---- what control says ----

    def ask(self, name, *args):
        """The answer of one node; None while there is none."""
        try:
            code, out, _ = self.local(self.nodes[name], *args, "--json", timeout=20)
        except subprocess.TimeoutExpired:
            return None
        return json.loads(out) if code == 0 else None

    def leads(self, name):
        got = self.ask(name, "control", "status")
        return got["leader"]["node"] or None if got else None

    def leader(self, among):
        return next((x for x in map(self.leads, among) if x), None)

    def whole(self, name):
        got = self.ask(name, "nodes")
        return got and {n["state"] for n in got["nodes"]} == {"alive"} and all(n["connected"] for n in got["nodes"])

    def healthy(self, members):
        """Why the control nodes are not exactly these, each in order, by the word of each. "": they are."""
        for name in members:
            got = self.ask(name, "control", "status")
            if not got:
                return f"{name} does not answer"
            if sorted(m["node"] for m in got["members"]) != sorted(members) or got["store"] != "etcd" or got["operation"]:
                return f"{name}: {got['store']} {got['members']} {got['operation']}"
            bad = [m for m in got["members"] if m["state"] != "alive" or m["seat"] != "member" or not m["etcd"]["ok"] or
                   m["etcd"]["learner"] or m["etcd"]["alarm"]]
            if bad or got["leader"]["node"] not in members or got["may_be_lost"] != len(members) // 2:
                return f"{name}: {bad} {got['leader']} {got['may_be_lost']}"
            if (got["keys"]["form"], got["keys"]["shares"]) != ("split", len(members)):
                return f"{name}: {got['keys']}"
        return ""

    def endpoints(self, name):
        with open(os.path.join(self.nodes[name].data, "control/store.json"), encoding="utf-8") as f:
            return json.load(f).get("endpoints")

    def store_stale(self, members):
        """Control nodes whose store.json names others than these, or not their own first."""
        url = {n: f"https://{self.nodes[n].address}:2379" for n in members}
        return {n: self.endpoints(n) for n in members
                if self.endpoints(n)[0] != url[n] or sorted(self.endpoints(n)) != sorted(url.values())}

    def sound(self, r, what, members, seconds=40):
        def look():
            why = self.healthy(members)
            return True if not why else self.note(why)
        self.why = ""
        try:
            wait_until(f"{what}: sound", look, seconds, 0.2)
        except Failed:
            r.check(f"{what}: {len(members)} control nodes, each in order", False, self.why)
        try:
            wait_until(f"{what}: store.json", lambda: not self.store_stale(members), 10, 0.2)
        except Failed:
            pass
        r.equal(f"{what}: store.json names the members, on each of them", self.store_stale(members), {})
        if shutil.which("etcdctl"):
            r.equal(f"{what}: members of etcd", self.etcd_members(members[0]), sorted(members))

    def note(self, why):
        self.why = why
        return False

    def etcdctl(self, name, *args):
        node = self.nodes[name]
        base = os.path.join(node.data, "control/etcd")
        p = subprocess.run(node.prefix_argv + ["etcdctl", f"--endpoints=https://{node.address}:2379", f"--cacert={base}/ca.pem",
                           f"--cert={base}/member.pem", f"--key={base}/member.key", "--command-timeout=10s", *args],
                           capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ, ETCDCTL_API="3"))
        return p.returncode, p.stdout + p.stderr

    def etcd_members(self, name):
        code, out = self.etcdctl(name, "member", "list", "-w", "json")
        return sorted(m["name"] for m in json.loads(out)["members"]) if code == 0 else out

    # ---- what happens to hosts ----

    def die(self, name):
        """All that runs on a host is killed at once, and nobody answers at its address."""
        self.do("kill", name)
        self.do("cut", name)
        self.nodes[name].pid = None

    def back(self, name):
        self.do("heal", name)
        self.nodes[name].halves_gone()
        self.nodes[name].start()


def doors(c, at):
    """Where the replicas of web are, once each answers node `at`."""
    found = [(i["address"], i["port"]) for i in c.ps() if i["service"] == "web"]
    argv = c.nodes[at].prefix_argv + ["curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code} "]
    for host, port in found:
        wait_until("a replica answers", lambda h=host, p=port: subprocess.run(
            argv + [f"http://{h}:{p}/"], capture_output=True, text=True, check=False).stdout.strip() == "200", 20)
    return found


class Writer(threading.Thread):
    """Sets a numbered label of a node without much pause, at whoever takes it; remembers what was acknowledged."""

    def __init__(self, c, names, target):
        super().__init__(daemon=True)
        self.c, self.names, self.target = c, list(names), target
        self.acked, self.count, self.refused, self.longest, self.over = 0, 0, [], 0.0, threading.Event()

    def run(self):
        last = time.monotonic()
        while not self.over.is_set():
            self.count += 1
            for name in self.names:
                try:
                    code, _, err = self.c.local(self.c.nodes[name], "node", "set", self.target, "--label", f"turn=t{self.count}",
                                                timeout=20)
                except subprocess.TimeoutExpired:
                    code, err = 1, "no answer"
                if code == 0:
                    self.acked = self.count
                    self.longest, last = max(self.longest, time.monotonic() - last), time.monotonic()
                    break
                self.refused.append((name, err.split("\n")[0]))
            self.over.wait(0.2)

    def end(self):
        self.over.set()
        self.join()
        return self

    def lost(self, name):
        """How many of the acknowledged ones are not there, by the word of one node."""
        got = self.c.ask(name, "nodes")
        labels = {n["node"]: n["labels"] for n in got["nodes"]}[self.target] if got else {}
        return max(0, self.acked - int(labels.get("turn", "t0")[1:]))

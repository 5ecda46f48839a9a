#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Cut off and healed, in network namespaces: nothing is deleted on either side, and in the end all is as planned.

Root only. SKERRY_CUT_S (default 5) is how long the cut lasts.
"""
import json
import os
import subprocess
import sys
import time

from cluster import LAB, PYTHON, SERVE, SLOW, Cluster, Failed, Node, main, wait_until

CUT_S = float(os.environ.get("SKERRY_CUT_S", "5"))
SITES = {"hub": ["hub-1"], "fra": ["fra-1", "fra-2"], "ams": ["ams-1"], "par": ["par-1"]}


class Lab(Cluster):
    """The same cluster, each node in a namespace of its own."""

    def __init__(self, sites=None):
        self.sites = sites or SITES
        super().__init__({site: names for site, names in self.sites.items() if site != "hub"})
        self.lab = os.path.join(self.dir, "lab")
        topology = {"sites": [{"name": site, "nodes": names} for site, names in self.sites.items()],
                    "links": [{"between": [a, b], "rtt_ms": 8} for a in self.sites for b in self.sites if a < b]}
        p = subprocess.run([LAB, "up", self.file("lab.json", json.dumps(topology)), "--dir", self.lab, "--owner",
                            str(os.getpid())], capture_output=True, text=True, timeout=60, check=False)
        self.warden.ask(undo=[LAB, "down", "--dir", self.lab])
        if p.returncode != 0:
            raise Failed(f"lab up: {p.stderr}")

    def new_node(self, name, site):
        sites = list(self.sites)
        node = Node(self, name, site, f"10.99.{sites.index(site) + 1}.{11 + self.sites[site].index(name)}")
        node.prefix_argv = [LAB, "exec", "--dir", self.lab, name]
        self.nodes[name] = node
        return node

    def do(self, *args):
        p = subprocess.run([LAB, args[0], "--dir", self.lab, *args[1:]], capture_output=True, text=True, timeout=30,
                           check=False)
        if p.returncode != 0:
            raise Failed(f"lab {args}: {p.stderr}")


def declaration(starts):
    return f"""name: c
services:
  web:
    command: ["/bin/sh", "-c", "echo $$SKERRY_INSTANCE >> {starts}; exec {PYTHON} {SERVE}"]
    stop_grace_period: 1s
    deploy: {{replicas: 4, resources: {{limits: {{cpus: "0.10", memory: 64M}}}}}}
    x-skerry: {{survive: {{sites: 1}}}}
"""


def on_node(c, name):
    base = os.path.join(c.nodes[name].data, "agent/instances")
    mine = set(os.listdir(base)) if os.path.isdir(base) else set()
    return {k: v for k, v in c.workloads().items() if k in mine}


def whole(c):
    placed = {(x["service"], x["replica"]): x["node"] for x in
              [dict(p, service="web") for p in c.get("why", "c/web")["replicas"]]}
    have = [((i["service"], i["replica"]), i["node"]) for i in c.ps() if i["state"] == "running" and i["role"] == "active"]
    return len(have) == 4 and dict(have) == placed and len(c.workloads()) == 4 and c.ps()


def cuts(r):
    if os.geteuid() != 0 or not os.access(LAB, os.X_OK):
        print("needs root, for network namespaces")
        sys.exit(77)
    with Lab() as c:
        c.start()
        starts = os.path.join(c.dir, "starts")
        c.apply_ok(c.file("c.yaml", declaration(starts)))
        wait_until("all is as planned", lambda: whole(c), 30)
        r.equal("beats by datagram pass from every node",
                [n.name for n in c.nodes.values() if "beats by datagram pass" not in n.log_text()], [])
        victims = {i["site"] for i in c.ps()} & {"ams", "par"}
        site = sorted(victims)[0]
        node = SITES[site][0]
        inside, others = on_node(c, node), {k: v for k, v in c.workloads().items() if k not in on_node(c, node)}
        r.check(f"something runs in {site}", inside)

        at = time.monotonic()
        c.do("cut", site)
        wait_until("the verdict", lambda: site in c.get("status")["sites_lost"], 10)
        wait_until("its work runs elsewhere", lambda: len([i for i in c.ps() if i["site"] != site and i["healthy"] is not False
                                                          and i["state"] == "running"]) == 4, 15)
        r.check("within the bound", time.monotonic() - at < 6 * SLOW, time.monotonic() - at)
        while time.monotonic() - at < CUT_S:
            time.sleep(0.1)
        r.equal("cut: nothing in it was touched", on_node(c, node), inside)
        c.do("heal", site)
        wait_until("healed: the site is back", lambda: not c.get("status")["sites_lost"], 20)
        wait_until("healed: all is as planned, four and no more", lambda: whole(c), 40)
        r.equal("healed: the others were not touched",
                {k: v for k, v in c.workloads().items() if k in others and others[k] != v}, {})
        status = c.get("status")
        r.equal("healed: nothing is short or missing", (status["replicas"]["healthy"], status["replicas"]["short"]), (4, 0))
        seen = [e["what"] for e in c.get("events")["events"]]
        r.equal("events: lost once, returned once", (seen.count("site_lost"), seen.count("site_returned")), (1, 1))

        # the hub is cut off: every node goes on, nobody is judged lost afterwards for its silence
        before = c.workloads()
        c.do("cut", "hub")
        time.sleep(max(CUT_S, 3))
        r.equal("hub cut: nothing stops", c.workloads(), before)
        c.do("heal", "hub")
        wait_until("hub healed: all nodes are alive",
                   lambda: {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 30)
        wait_until("hub healed: all is as planned", lambda: whole(c), 40)
        r.equal("hub healed: nothing was touched", c.workloads(), before)

        # the hub dies and comes back
        c.hub.stop(9)
        c.hub.halves_gone()
        time.sleep(2)
        r.equal("hub dead: nothing stops", c.workloads(), before)
        c.hub.start()
        wait_until("hub back: all is as planned", lambda: c.cli("status")[0] == 0 and whole(c), 40)
        r.equal("hub back: nothing was touched", c.workloads(), before)
        with open(starts, encoding="utf-8") as f:
            lines = f.read().split()
        r.equal("no instance was started twice", len(lines), len(set(lines)))
        c.failed = bool(r.failures)


if __name__ == "__main__":
    main(cuts)

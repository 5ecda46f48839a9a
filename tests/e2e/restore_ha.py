#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""All of three control nodes are gone; a backup that a standby made over etcd is restored on another machine.

What ran on the servers that are left is adopted: the same processes. Exclusive work, which ended at its deadline, begins again under a
higher epoch than any that it had, also than those that the backup does not know. Then three control nodes are made again, of
fresh machines, and one of them may be lost. Root, etcd.
"""
import os
import time

from cluster import SLOW, Failed, Node, in_turn, main, wait_until
from exclusive import Words
from several import Several, Writer, or_skip, work

# the second host of each site is the fresh machine that comes in the place of the first
SITES = {"fra": ["fra-1", "fra-2"], "ams": ["ams-1", "ams-2"], "par": ["par-1", "par-2"], "lon": ["lon-1"], "waw": ["waw-1"]}
GONE = ["fra-1", "ams-1", "par-1"]
AGENTS = ["lon-1", "waw-1"]


class Burnt(Several):
    def begin(self, *_):
        self.hub = self.new_node("fra-1", "fra")
        code, out, err = self.local(self.hub, "init", "--lab", "--control-only", *self.setup_args(self.hub))
        if code != 0:
            raise Failed(f"init: {code} {out} {err}")
        self.code = out.split("recovery code:")[1].split()[0]
        self.hub.start()
        wait_until("the API answers", lambda: self.cli("status")[0] == 0)
        for name, site, role in (("ams-1", "ams", ["--role", "control"]), ("par-1", "par", ["--role", "control"]),
                                 ("lon-1", "lon", []), ("waw-1", "waw", [])):
            self.join(name, site, self.token(site, *role))
        self.wait_ready()
        self.control("grow", "ams-1", "par-1")
        wait_until("all are in order", lambda: not self.healthy(GONE), 40, 0.2)
        self.words = Words(os.path.join(self.dir, "words"))
        self.apply_ok(self.file("shop.yaml", work(self.words.path, 4)))
        wait_until("the worker runs", lambda: self.words.read()["epoch"] > 0, 20)

    def web(self):
        """The replicas, without the exclusive work."""
        mine = {i["id"] for i in self.known if i["service"] == "web"}
        return {k: v for k, v in self.workloads().items() if k in mine}


def burn(c, r):
    """A backup by a standby; then more happens; then all control nodes are lost with their disks."""
    where = os.path.join(c.dir, "backup")
    code, out, err = c.local(c.nodes["par-1"], "control", "backup", where)
    r.equal("a backup by a standby", (code, err), (0, ""))
    c.known, c.plan = c.ps(), c.get("status")["plan"]["id"]
    was = dict(c.words.read())
    for k, pids in c.workloads().items():
        if k not in c.web():
            os.kill(pids["main"][0], 9)
    wait_until("the worker has an epoch that the backup does not know", lambda: c.words.read()["epoch"] > was["epoch"], 20)
    c.store = c.get("status")["revision"]
    c.before = c.web()
    r.equal("four replicas run on the two servers", len(c.before), 4)
    for name in GONE:
        c.die(name)
    for name in GONE:
        os.rename(c.nodes[name].data, c.nodes[name].data + ".burnt")
    last = c.words.read()["t"]
    time.sleep(4)
    r.equal("without control: what runs goes on", c.web(), c.before)
    mark = time.monotonic_ns()
    time.sleep(0.5)
    r.check("without control: exclusive work has ended at its deadline", c.words.read()["t"] < mark, (last, c.words.newest))


def restored(c, r):
    where = os.path.join(c.dir, "backup")
    fresh = Node(c, "par-1", "par", "10.99.3.12")
    fresh.data, fresh.prefix_argv = os.path.join(c.dir, "fresh"), [*c.nodes["par-1"].prefix_argv[:-1], "par-2"]
    for name in GONE:
        del c.nodes[name]
    c.nodes["par-1"] = c.hub = fresh
    began = time.monotonic()
    code, out, err = c.local(fresh, "control", "restore", where, "--address", fresh.address, "--listen", fresh.address, stdin=c.code)
    r.check("restored on a fresh machine", code == 0 and f"skerry rejoin {fresh.address}:7400" in out, (code, out, err))
    fresh.start()
    wait_until("control answers", lambda: c.cli("status")[0] == 0, 30)
    for name in AGENTS:
        code, out, err = c.local(c.nodes[name], "rejoin", f"{fresh.address}:7400")
        r.equal(f"rejoin of {name}", (code, err), (0, ""))
        c.nodes[name].stop()
        c.nodes[name].start()
    wait_until("the servers that are left are there", lambda: {n["node"]: n["state"] for n in c.get("nodes")["nodes"]} ==
               {"par-1": "alive", "lon-1": "alive", "waw-1": "alive", "fra-1": "lost", "ams-1": "lost"}, 60, 0.2)
    mark = time.monotonic_ns()
    wait_until("the worker runs again", lambda: c.words.read()["t"] > mark, 40)
    wait_until("all replicas are healthy", lambda: c.get("status")["replicas"]["healthy"] == 5, 40, 0.2)
    print(f"   restored: all runs {time.monotonic() - began:.1f} s after the restore began", flush=True)
    time.sleep(3)
    r.equal("restored: the same processes", c.web(), c.before)
    r.equal("restored: the same instances", {(i["service"], i["replica"], i["id"]) for i in c.ps() if i["service"] == "web"},
            {(i["service"], i["replica"], i["id"]) for i in c.known if i["service"] == "web"})
    r.check("restored: no epoch came twice", not c.words.broken, c.words.broken)
    status = c.get("status")
    r.equal("restored: the plan in force", status["plan"]["id"], c.plan)
    r.check("restored: another store", status["revision"]["store"] != c.store["store"], (c.store, status["revision"]))
    r.equal("restored: one control node over SQLite", (c.get("control", "status")["store"], [m["node"] for m in c.get("control", "status")["members"]]),
            ("sqlite", ["par-1"]))
    code, out, err = c.apply(os.path.join(c.dir, "shop.yaml"), "--wait")
    r.equal("restored: the same declaration moves nothing", (code, c.web()), (0, c.before))


def three_again(c, r):
    for name, site, role in (("fra-2", "fra", "control"), ("ams-2", "ams", "control")):
        c.join(name, site, c.token(site, "--role", role))
    for name in ("fra-1", "ams-1"):
        code, out, err = c.cli("remove", "node", name)
        r.equal(f"{name} is removed", (code, err), (0, ""))
    wait_until("all are there", lambda: {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 20)
    writer = Writer(c, ["par-1"], "waw-1")
    writer.start()
    out = c.local(c.hub, "control", "grow", "fra-2", "ams-2", timeout=120)
    r.check("grown again", out[0] == 0, out)
    members = ["par-1", "fra-2", "ams-2"]
    c.sound(r, "grown again", members)
    writer.end()
    r.equal("grown again: nothing acknowledged is lost", {m: writer.lost(m) for m in members}, {m: 0 for m in members})
    r.equal("grown again: the same processes", c.web(), c.before)
    c.die("par-1")
    began = time.monotonic()
    c.hub = c.nodes["ams-2"]
    wait_until("another one leads and takes writes", lambda: c.cli("node", "set", "waw-1", "--label", "more=1", timeout=20)[0] == 0, 30)
    r.check("one may be lost: writes again", time.monotonic() - began < 10 * SLOW, time.monotonic() - began)
    mark = time.monotonic_ns()
    wait_until("the worker runs", lambda: c.words.read()["t"] > mark, 20)
    r.check("never two workers at a time", not c.words.broken, c.words.broken)
    r.equal("the same processes to the end", c.web(), c.before)


def restore(r):
    or_skip()
    with Burnt(SITES) as c:
        try:
            c.begin()
        except Failed:
            c.failed = True
            raise
        in_turn((burn, restored, three_again), c, r)


if __name__ == "__main__":
    main(restore)

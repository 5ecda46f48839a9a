#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Versions N and N+1 side by side: one server after the other goes to N+1 and back under load, control last and control
first. Nothing that runs is restarted, no request fails by it, and what N+1 wrote is still there after N rewrote it.

SKERRY_NEXT is the program of N+1 (build/tests/next/skerry). SKERRY_LOAD (default 300) requests a second.
"""
import http.client
import json
import os
import signal
import socket
import sqlite3
import threading
import time

from cluster import PYTHON, SERVE, SKERRY, SLOW, Cluster, kill, main, wait_until

NEXT = os.environ["SKERRY_NEXT"]
RATE = float(os.environ.get("SKERRY_LOAD", "300")) / SLOW
SITES = {"fra": ["fra-1"], "ams": ["ams-1"], "par": ["par-1"]}
MEMBER = '"next_version":'


def service(name, replicas, more=""):
    return f"""  {name}:
    command: ["{PYTHON}", "{SERVE}"]
    stop_grace_period: 1s
    deploy: {{replicas: {replicas}, resources: {{limits: {{cpus: "0.10", memory: 64M}}}}}}
{more}"""


def declaration(*services):
    return "name: up\nservices:\n" + "".join(services)


WEB = service("web", 6, "    x-skerry: {survive: {sites: 1}}\n")
WORKER = service("worker", 1, "    x-skerry: {exclusive: true}\n")


def answers(host, port):
    """A copy runs some time before it listens: what failed then failed by no upgrade."""
    try:
        with socket.create_connection((host, port), timeout=5 * SLOW):
            return True
    except OSError:
        return False


class Load:
    """Requests to every copy in turn, each over a connection of its own, at a steady rate."""

    def __init__(self, doors, threads=4):
        self.doors, self.stop, self.count, self.failed = doors, threading.Event(), 0, []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(i, threads)) for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, which, of):
        due, at = time.monotonic(), which
        while not self.stop.is_set():
            host, port = self.doors[at % len(self.doors)]
            at += of + 1
            try:
                connection = http.client.HTTPConnection(host, port, timeout=5 * SLOW)
                connection.request("GET", "/")
                response = connection.getresponse()
                response.read()
                problem = None if response.status == 200 else f"status {response.status}"
                connection.close()
            except OSError as e:
                problem = repr(e)
            with self.lock:
                self.count += 1
                if problem:
                    self.failed.append((host, port, problem))
            due = max(due + of / RATE, time.monotonic() - 1)
            self.stop.wait(max(0.0, due - time.monotonic()))

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def to(c, name, binary):
    """What a package does: the server's daemon ends, the new one starts on the same data folder."""
    node, at = c.nodes[name], time.monotonic()
    node.stop(signal.SIGTERM)
    node.halves_gone()
    node.binary = binary
    node.start()
    version = "0.2.0-next" if binary == NEXT else None

    def back():
        code, out, _ = c.cli("nodes", "--json")
        if code != 0:
            return False
        nodes = json.loads(out)["nodes"]
        mine = [n for n in nodes if n["node"] == name][0]
        return ({n["state"] for n in nodes} == {"alive"} and mine["connected"] and
                (mine["version"] == version if version else not mine["version"].endswith("-next")))
    wait_until(f"{name} is back", back, 30, 0.1)
    took = time.monotonic() - at
    time.sleep(0.3)  # under load beside the others
    return took


def store(c, key):
    """A record as it stands in the state of control."""
    db = sqlite3.connect(f"file:{c.hub.data}/control/state.db?mode=ro", uri=True, timeout=10)
    try:
        tables = [row[0] for row in db.execute("select name from sqlite_master where type='table'")]
        for table in tables:
            columns = [row[1] for row in db.execute(f"pragma table_info({table})")]
            if "key" in columns and "value" in columns:
                row = db.execute(f"select value from {table} where key=?", ("/skerry/v1/" + key,)).fetchone()
                if row:
                    return row[0].decode() if isinstance(row[0], bytes) else row[0]
    finally:
        db.close()
    return ""


def text(path):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except OSError:
        return ""


def round_trip(c, r, name, order):
    """All go to N+1 in this order, and back in it."""
    began = c.workloads()
    times = []
    for binary, what in ((NEXT, "to N+1"), (SKERRY, "back to N")):
        for i, server in enumerate(order):
            times.append(to(c, server, binary))
            r.equal(f"{name}, {server} {what}: nothing was restarted", c.workloads(), began)
            out = c.cli("status")[1]
            mixed = i + 1 < len(order)
            r.check(f"{name}, {server} {what}: status says what runs where",
                    ("VERSIONS MIXED: " in out) == mixed and ("all run skerry" in out) != mixed, out)
        if binary == NEXT:
            written_by_next(c, r, name)
    written_by_this(c, r, name)
    print(f"   {name}: a server was back after {sorted(times)[len(times) // 2]:.1f} s (median), {max(times):.1f} s (most)",
          flush=True)


def written_by_next(c, r, name):
    r.check(f"{name}: N+1 takes the frame that N does not know", "frame known" in c.hub.log_text(), "")
    for node in ("fra-1", "ams-1", "par-1"):
        r.equal(f"{name}: node set by N+1", c.cli("node", "set", node, "--price-hour", "0.05")[0], 0)
        r.check(f"{name}: N+1 writes more into nodes/{node}", MEMBER in store(c, f"nodes/{node}"), store(c, f"nodes/{node}"))
        kept = os.path.join(c.nodes[node].data, "agent/assignment.json")
        wait_until(f"{name}: the kept assignment is of N+1", lambda path=kept: MEMBER in text(path), 10)
    r.equal(f"{name}: site set by N+1", c.cli("site", "set", "ams", "--egress-per-gb", "0.01")[0], 0)


def written_by_this(c, r, name):
    for node in ("fra-1", "ams-1", "par-1"):
        before = store(c, f"nodes/{node}")
        r.equal(f"{name}: node set by N", c.cli("node", "set", node, "--price-hour", "0.07")[0], 0)
        now = store(c, f"nodes/{node}")
        r.check(f"{name}: N rewrote nodes/{node} and kept it", MEMBER in before and MEMBER in now and before != now, now)
    r.equal(f"{name}: site set by N", c.cli("site", "set", "ams", "--egress-per-gb", "0.02")[0], 0)
    r.check(f"{name}: N kept it in sites/ams", MEMBER in store(c, "sites/ams"), store(c, "sites/ams"))


def shims(c, r):
    """A copy that N+1 started goes on under N's agent, and one of N's under that of N+1; a restart by N keeps what N+1
    wrote of the instance."""
    to(c, "hub-1", NEXT)
    for node in ("fra-1", "ams-1", "par-1"):
        to(c, node, NEXT)
    c.apply_ok(c.file("more.yaml", declaration(WEB, WORKER, service("late", 3))))
    late = [i for i in c.ps() if i["service"] == "late"]
    r.equal("started by N+1: three", len(late), 3)

    def folder(i):
        return os.path.join(c.nodes[i["node"]].data, "agent/instances", i["id"])
    for i in late:
        r.check("started by N+1: its record says so", MEMBER in text(os.path.join(folder(i), "instance.json")))
        r.check("started by N+1: its shim is of N+1", MEMBER in text(os.path.join(folder(i), "status")))
    began = c.workloads()
    for node in ("par-1", "hub-1", "ams-1", "fra-1"):
        to(c, node, SKERRY)
    r.equal("shims of N+1 under agents of N: nothing was restarted", c.workloads(), began)
    one = late[0]
    kill(began[one["id"]]["main"][0])
    wait_until("N's agent starts it again", lambda: (lambda w: w and w["run"] > began[one["id"]]["run"])(
        c.workloads().get(one["id"])), 20)
    r.check("started again by N: its record keeps what N+1 wrote", MEMBER in text(os.path.join(folder(one), "instance.json")),
            text(os.path.join(folder(one), "instance.json")))
    r.check("started again by N: its shim is of N", MEMBER not in text(os.path.join(folder(one), "status")))


def no_common_protocol(c, r):
    """A server that no longer speaks the protocol of the others: both say who is to be upgraded, and its work goes on."""
    node = c.nodes["ams-1"]
    began = {i["id"] for i in c.ps() if i["node"] == "ams-1"}
    before = {k: v for k, v in c.workloads().items() if k in began}
    node.stop(signal.SIGTERM)
    node.halves_gone()
    node.binary, node.prefix_argv = NEXT, ["/usr/bin/env", "SKERRY_NEXT_PROTOCOL_MIN=2"]
    node.start()
    said = "node 'ams-1' speaks protocol 2 to 2, node 'hub-1' 1 to 1"
    wait_until("control says so", lambda: said in c.hub.log_text(), 20)
    r.check("control says who is to be upgraded", "upgrade skerry on 'hub-1'" in c.hub.log_text(), c.hub.log_text()[-800:])
    wait_until("the server says so", lambda: "upgrade skerry on 'hub-1'" in node.log_text(), 20)
    r.equal("what runs there goes on", {k: v for k, v in c.workloads().items() if k in began}, before)
    node.stop(signal.SIGTERM)
    node.halves_gone()
    node.binary, node.prefix_argv = SKERRY, []
    node.start()
    wait_until("back with the version that it had", lambda: {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 30)
    wait_until("nothing is missing", lambda: (lambda s: s["replicas"]["healthy"] == s["replicas"]["wanted"])(c.get("status")),
               30)


def upgrade(r):
    with Cluster(SITES) as c:
        c.start()
        c.apply_ok(c.file("up.yaml", declaration(WEB, WORKER)))
        # the worker waits for its lease; then all are there
        wait_until("all run", lambda: len([i for i in c.ps() if i["state"] == "running"]) == 7, 20)
        doors = [(i["address"], i["port"]) for i in c.ps()]
        wait_until("every copy answers", lambda: all(answers(*door) for door in doors), 20)
        load = Load(doors)
        try:
            round_trip(c, r, "control last", ["fra-1", "ams-1", "par-1", "hub-1"])
            round_trip(c, r, "control first", ["hub-1", "par-1", "ams-1", "fra-1"])
            shims(c, r)
        finally:
            load.end()
        print(f"   {load.count} requests, {len(load.failed)} failed", flush=True)
        r.check("requests were made", load.count > 1000, load.count)
        r.equal("no request failed", load.failed[:3], [])
        r.equal("nothing was judged lost", [e["what"] for e in c.get("events")["events"] if e["what"] in
                                            ("failover", "site_lost", "node_lost")], [])
        no_common_protocol(c, r)
        c.failed = bool(r.failures)


if __name__ == "__main__":
    main(upgrade)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What skerry does for the members of etcd that it runs: one whose file is full is mended without a hand.

With SKERRY_SOAK=1 also what waits until all has been well for 30 s: bloated files are made small, etcd's leader comes beside
skerry's. Needs etcd and etcdctl.
"""
import json
import os
import shutil
import subprocess
import sys
import threading
import time

from cluster import SLOW, Cluster, Failed, main, wait_until

QUOTA = 32 << 20
SOAK = bool(os.environ.get("SKERRY_SOAK"))


class Kept(Cluster):
    def etcdctl(self, node, *args, stdin="", timeout=30):
        base = os.path.join(node.data, "control/etcd")
        argv = ["etcdctl", f"--endpoints=https://{node.address}:2379", f"--cacert={base}/ca.pem", f"--cert={base}/member.pem",
                f"--key={base}/member.key", "--command-timeout=10s", *args]
        p = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout * SLOW, check=False,
                           env=dict(os.environ, ETCDCTL_API="3"))
        return p.returncode, p.stdout + p.stderr

    def members(self):
        code, out, _ = self.cli("control", "status", "--json")
        return json.loads(out) if code == 0 else None

    def problem(self):
        code, out, _ = self.cli("status", "--json")
        return json.loads(out)["control"]["problem"] if code == 0 else None

    def grown(self, quota=0):
        self.start()
        code, _, err = self.cli("control", "grow", timeout=120)
        if code != 0:
            raise Failed(f"grow: {err}")
        if quota:
            for node in self.nodes.values():
                node.stop()
                node.halves_gone()
            for node in self.nodes.values():
                path = os.path.join(node.data, "control/etcd/engine.json")
                with open(path, encoding="utf-8") as f:
                    text = json.load(f)
                with open(path, "w", encoding="utf-8") as f:
                    json.dump(dict(text, quota_bytes=quota), f)
            for node in self.nodes.values():
                node.start()
        wait_until("all members answer", self.whole, 30)
        wait_until("it takes writes", lambda: self.cli("node", "set", "fra-1", "--label", "a=1")[0] == 0, 30)
        return self

    def whole(self):
        got = self.members()
        return got and [m["etcd"] and m["etcd"]["ok"] for m in got["members"]] == [True] * 3

    def fill(self, megabytes):
        """One key, again and again: what is left of it is history. Returns what was said when it was full."""
        for i in range(megabytes):
            code, out = self.etcdctl(self.hub, "put", "/junk", stdin=chr(97 + i % 26) * (1 << 20))
            if code != 0:
                return out
        return ""


def full(r):
    with Kept({"fra": ["fra-1"], "ams": ["ams-1"]}) as c:
        c.grown(QUOTA)
        said = c.fill(2 * QUOTA >> 20)
        began = time.monotonic()
        r.check("etcd takes no writes any more", "space exceeded" in said, said)
        seen = wait_until("status says so", c.problem, 20)
        r.check("in words", "no space left" in seen, seen)
        code, out, _ = c.cli("status")
        r.check("for people too", code != 0 or "PROBLEM: etcd of" in out or not c.problem(), out)
        wait_until("no problem any more", lambda: c.problem() == "", 40, 0.2)
        took = time.monotonic() - began
        code, _, err = c.cli("node", "set", "fra-1", "--label", "a=2")
        r.check("writes are taken again", code == 0, err)
        r.equal("no alarm", c.etcdctl(c.hub, "alarm", "list"), (0, ""))
        for m in c.members()["members"]:
            r.check(f"the file of {m['node']} is small", m["etcd"]["db_bytes"] < QUOTA / 2, m["etcd"])
        code, out, _ = c.cli("events", "--json")
        texts = [e["text"] for e in json.loads(out)["events"] if e["what"] == "etcd"] if code == 0 else []
        r.check("told by events", any("no space left" in t for t in texts) and any("writes again" in t for t in texts), texts)
        print(f"   full, mended after {took:.1f} s", flush=True)
        c.failed = bool(r.failures)


class Gaps(threading.Thread):
    """Writes without a pause; the longest time between two that were taken."""

    def __init__(self, c):
        super().__init__(daemon=True)
        self.c, self.ended, self.worst, self.count, self.failed = c, False, 0.0, 0, []

    def run(self):
        last = time.monotonic()
        while not self.ended:
            code, out = self.c.etcdctl(self.c.hub, "put", "/tick", "x")
            now = time.monotonic()
            self.worst, self.count, last = max(self.worst, now - last), self.count + 1, now
            if code != 0:
                self.failed.append(out)


def bloated(r):
    with Kept({"fra": ["fra-1"], "ams": ["ams-1"]}) as c:
        c.grown()
        c.fill(96)
        got = json.loads(c.etcdctl(c.hub, "get", "/junk", "-w", "json", "--keys-only")[1])
        code, out = c.etcdctl(c.hub, "compact", str(got["header"]["revision"]))
        r.check("history is cut", code == 0, out)
        status = json.loads(c.etcdctl(c.nodes["ams-1"], "endpoint", "status", "-w", "json")[1])[0]["Status"]
        leader = c.members()["leader"]["node"]
        other = next(n for n in c.nodes if n != leader)
        rows = {n: json.loads(c.etcdctl(x, "endpoint", "status", "-w", "json")[1])[0]["Status"] for n, x in c.nodes.items()}
        at = next(x for n, x in c.nodes.items() if rows[n]["header"]["member_id"] == status["leader"])
        if at.name == leader:
            code, out = c.etcdctl(at, "move-leader", f"{rows[other]['header']['member_id']:x}")
            r.check("etcd's leader is moved away", code == 0, out)
        gaps = Gaps(c)
        gaps.start()
        began = time.monotonic()

        def small():
            got = c.members()
            return got and all(m["etcd"]["ok"] and m["etcd"]["db_bytes"] < 48 << 20 for m in got["members"])

        wait_until("all files are small", small, 90, 0.5)
        small_s = time.monotonic() - began
        wait_until("etcd's leader is beside skerry's", lambda: any(
            m["leads"] and m["etcd"].get("leads") for m in (c.members() or {"members": []})["members"]), 120, 0.5)
        beside_s = time.monotonic() - began
        time.sleep(3)
        gaps.ended = True
        gaps.join()
        print(f"   files small after {small_s:.0f} s, etcd's leader beside skerry's after {beside_s:.0f} s; {gaps.count} writes, "
              f"{len(gaps.failed)} failed, longest pause {gaps.worst * 1000:.0f} ms (one etcdctl each)", flush=True)
        r.equal("no write failed meanwhile", gaps.failed, [])
        r.check("no pause of a second", gaps.worst < 1 * SLOW, gaps.worst)
        c.failed = bool(r.failures)


if __name__ == "__main__":
    if not shutil.which("etcd") or not shutil.which("etcdctl"):
        print("skipped: etcd or etcdctl is not installed; apt-get install etcd-server etcd-client")
        sys.exit(77)
    main(full, *([bloated] if SOAK else []))

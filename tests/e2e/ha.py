#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Three control nodes in three sites, over a real etcd: the one that leads is killed, stopped, cut off.

Each time: another one takes over and takes applies again; what was acknowledged is there; exclusive work goes on and never
runs twice, by its own fsynced words; the one that led comes back as a standby. Root only; needs etcd.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from cluster import LAB, PYTHON, SLOW, Failed, alive, kill, main, wait_until
from cut import Lab
from exclusive import WORKER, Words

SITES = {"fra": ["fra-1"], "ams": ["ams-1"], "par": ["par-1"]}
MOVE = os.environ.get("SKERRY_CONTROL_MOVE", "")


def worker(words):
    return f"""name: x
services:
  worker:
    command: ["{PYTHON}", "{WORKER}", "{words}"]
    stop_grace_period: 1s
    deploy: {{replicas: 1, resources: {{limits: {{cpus: "0.20", memory: 64M}}}}}}
    x-skerry: {{exclusive: true, survive: {{sites: 1}}}}
"""


def empty(name):
    return f"""name: {name}
services:
  none: {{command: ["/bin/true"], deploy: {{replicas: 0}}}}
"""


class Ha(Lab):
    def __init__(self):
        super().__init__(SITES)
        self.etcd, self.acked, self.tries = {}, [], 0

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

    # ---- etcd, by hand ----

    def certificates(self):
        """An authority for etcd alone, and a certificate for each node, good for both sides."""
        base = os.path.join(self.dir, "etcd-ca")
        os.mkdir(base)

        def run(*args):
            subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=base)

        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out",
            "ca.pem", "-subj", "/CN=etcd", "-days", "1")
        for name, node in self.nodes.items():
            with open(os.path.join(base, name + ".ext"), "w", encoding="utf-8") as f:
                f.write(f"subjectAltName=IP:{node.address}\nextendedKeyUsage=serverAuth,clientAuth\n")
            run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key",
                "-out", name + ".csr", "-subj", f"/CN={name}")
            run("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1",
                "-extfile", name + ".ext", "-out", name + ".pem")
        return base

    def start_etcd(self, name, new="new"):
        node, base = self.nodes[name], os.path.join(self.dir, "etcd-ca")
        tls = [f"--{p}{flag}={base}/{file}" for p in ("", "peer-")
               for flag, file in (("trusted-ca-file", "ca.pem"), ("cert-file", name + ".pem"), ("key-file", name + ".key"))]
        argv = node.prefix_argv + [
            "etcd", f"--name={name}", f"--data-dir={self.dir}/etcd-{name}", f"--listen-client-urls=https://{node.address}:2379",
            f"--advertise-client-urls=https://{node.address}:2379", f"--listen-peer-urls=https://{node.address}:2380",
            f"--initial-advertise-peer-urls=https://{node.address}:2380", f"--initial-cluster-state={new}",
            "--initial-cluster=" + ",".join(f"{n}=https://{x.address}:2380" for n, x in self.nodes.items()),
            "--client-cert-auth", "--peer-client-cert-auth", *tls, "--heartbeat-interval=50", "--election-timeout=500",
            "--max-txn-ops=2048", "--max-request-bytes=10485760", "--log-level=warn"]
        self.etcd[name] = self.warden.ask(spawn=argv, log=os.path.join(self.dir, f"etcd-{name}.log"))["pid"]

    def grow(self):
        """From one control node over SQLite to three over etcd, by hand, with the daemons down."""
        base = self.certificates()
        for name in self.nodes:
            self.start_etcd(name)
        for node in self.nodes.values():
            node.stop()
            node.halves_gone()
        first = os.path.join(self.hub.data, "control")
        owner = os.stat(first)
        for name, node in self.nodes.items():
            control = os.path.join(node.data, "control")
            if node is not self.hub:
                shutil.copytree(first, control, ignore=shutil.ignore_patterns("state.db*", "store.json"), dirs_exist_ok=True)
            own = [n for n in self.nodes if n == name] + [n for n in self.nodes if n != name]
            files = {"etcd-ca.pem": "ca.pem", "etcd.pem": name + ".pem", "etcd.key": name + ".key"}
            for to, file in files.items():
                shutil.copy(os.path.join(base, file), os.path.join(control, to))
            with open(os.path.join(control, "store.json"), "w", encoding="utf-8") as f:
                json.dump({"v": 1, "kind": "etcd", "endpoints": [f"https://{self.nodes[n].address}:2379" for n in own],
                           "root": "/skerry", "ca": "etcd-ca.pem", "cert": "etcd.pem", "key": "etcd.key"}, f)
            for path in [control] + [os.path.join(control, n) for n in os.listdir(control)]:
                os.chown(path, owner.st_uid, owner.st_gid)
            os.chmod(control, 0o700)
            config = os.path.join(node.data, "node.json")
            with open(config, encoding="utf-8") as f:
                text = json.load(f)
            text["control"] = True
            with open(config, "w", encoding="utf-8") as f:
                json.dump(text, f)
        record = {"v": 1, "store": "etcd", "external": True, "operation": None,
                  "members": [{"node": n, "state": "member"} for n in self.nodes]}
        p = subprocess.run(self.hub.prefix_argv + [MOVE, first, json.dumps(record)], capture_output=True, text=True,
                           timeout=60, check=False)
        if p.returncode != 0:
            raise Failed(f"move: {p.stderr}")
        self.hub.start()  # the others get their certificates and each other's addresses from it
        wait_until("it leads", lambda: self.itself_leads(self.hub), 30)
        for node in self.nodes.values():
            if node is not self.hub:
                node.start()
        wait_until("all three know it", lambda: {self.leads(n) for n in self.nodes} == {"fra-1"}, 20)
        wait_until("all are control nodes to everybody", lambda: all(
            n.log_text().count('event="control connected"') >= 4 for n in self.nodes.values()), 30)
        wait_until("all nodes are there", self.whole, 30)

    # ---- who leads ----

    def itself_leads(self, node):
        code, out, _ = self.local(node, "status", "--json", timeout=20)
        return code == 0 and json.loads(out)["control"]["leads"]

    def leads(self, name):
        """Who leads, as `name` knows; None while it does not know, or is not there."""
        code, out, _ = self.local(self.nodes[name], "control", "status", "--json", timeout=20)
        return json.loads(out)["leader"]["node"] or None if code == 0 else None

    def leader(self):
        for name in self.nodes:
            got = self.leads(name)
            if got:
                return got
        return None

    def whole(self):
        for name in self.nodes:
            code, out, _ = self.local(self.nodes[name], "nodes", "--json")
            if code != 0 or {n["state"] for n in json.loads(out)["nodes"]} != {"alive"}:
                return False
        return True

    # ---- applies ----

    def try_apply(self, name, timeout=20):
        """One apply of a new project at a node. Whether it was acknowledged."""
        self.tries += 1
        project = f"m{self.tries}"
        path = self.file(f"{project}.yaml", empty(project))
        try:
            code, _, err = self.local(self.nodes[name], "apply", path, timeout=timeout)
        except subprocess.TimeoutExpired:
            return False
        if code == 0:
            self.acked.append(project)
        self.last = (code, err)
        return code == 0

    def apply_again(self, name, began, seconds=15):
        wait_until(f"an apply at {name}", lambda: self.try_apply(name), seconds, 0.02)
        return time.monotonic() - began

    def missing(self, name):
        code, out, err = self.local(self.nodes[name], "status", "--json")
        if code != 0:
            raise Failed(f"status at {name}: {err}")
        have = {s["project"] for s in json.loads(out)["services"]}
        return sorted(set(self.acked) - have)

    def everything(self, name):
        node = self.nodes[name]
        base = os.path.join(node.data, "agent/instances")
        work = [pids[k][0] for i, pids in self.workloads().items() if os.path.isdir(os.path.join(base, i)) for k in ("shim", "main")]
        return [p for p in (node.pid, node.half("net"), node.half("agent"), self.etcd[name]) if p] + work


def killed(c, name):
    """kill -9 of all of the leader's server: daemon, work, its member of etcd."""
    for pid in c.everything(name):
        kill(pid)

    def back():
        c.nodes[name].pid = None
        c.nodes[name].halves_gone()
        c.start_etcd(name, "existing")
        c.nodes[name].start()
    return back


def stopped(c, name):
    """All of it stands still, and wakes up again in the belief that it leads. Its shim comes first when it wakes: what else
    could happen is why there are epochs."""
    pids = c.everything(name)
    base = os.path.join(c.nodes[name].data, "agent/instances")
    work = [pids_ for i, pids_ in c.workloads().items() if os.path.isdir(os.path.join(base, i))]
    for pid in pids:
        kill(pid, signal.SIGSTOP)

    def back():
        for w in work:
            kill(w["shim"][0], signal.SIGCONT)
        wait_until("the woken shim ends its work", lambda: not any(alive(w["main"][0]) for w in work), 2)
        for pid in pids:
            kill(pid, signal.SIGCONT)
    return back


def cut(c, name):
    c.do("cut", c.nodes[name].site)
    return lambda: c.do("heal", c.nodes[name].site)


FAULTS = [killed, cut, stopped]


def forwarded(c, r):
    leader = c.leader()
    for name in c.nodes:
        r.check(f"an apply at {name}, led by {leader}", c.try_apply(name), c.last if c.tries else "")
    for name in c.nodes:
        r.equal(f"nothing acknowledged is missing at {name}", c.missing(name), [])
    standby = next(n for n in c.nodes if n != leader)
    code, out, err = c.local(c.nodes[standby], "events", "--json")
    who = [e["who"] for e in json.loads(out)["events"] if e["what"] == "apply"] if code == 0 else err
    r.check("who did it is the caller, not the standby", who and set(who) == {"root"}, who)
    code, out, err = c.local(c.nodes[standby], "logs", "worker", "--tail", "1")
    r.check("logs are read at a standby", code == 0, (code, err))


def takeover(c, r, words, fault):
    leader = c.leader()
    others = [n for n in c.nodes if n != leader]
    wait_until("all nodes are there", c.whole, 40)
    mark = time.monotonic_ns()
    wait_until("the work runs", lambda: words.read()["t"] > mark, 20)
    was = dict(words.newest)
    began = time.monotonic()
    back = fault(c, leader)
    took = c.apply_again(others[0], began)
    new = wait_until("another one leads", lambda: next((x for x in map(c.leads, others) if x and x != leader), None), 10)
    if was["node"] == leader:
        wait_until("the work runs elsewhere", lambda: words.read()["epoch"] > was["epoch"], 15)
        gap = (words.first_of(words.newest["epoch"])["t"] / 1e9) - began
    else:
        wait_until("the work goes on", lambda: words.read()["t"] / 1e9 > began + 4, 15)
        gap = 0
    r.check(f"{fault.__name__}: apply again within 4 s", took < 4 * SLOW, took)
    r.check(f"{fault.__name__}: exclusive work within 5 s", gap < 5 * SLOW, gap)
    back()
    print(f"   {fault.__name__} of {leader}: apply again after {took:.2f} s, {new} leads"
          + (f", exclusive work elsewhere after {gap:.2f} s" if gap else ""), flush=True)
    wait_until(f"{leader} is back as a standby", lambda: c.leads(leader) not in (None, leader), 30)
    r.check(f"{fault.__name__}: the one that led takes applies", c.try_apply(leader), getattr(c, "last", ""))
    words.read()
    r.check(f"{fault.__name__}: never two at a time", not words.broken, words.broken)
    for name in c.nodes:
        r.equal(f"{fault.__name__}: nothing acknowledged is missing at {name}", c.missing(name), [])


def no_etcd(c, r, words):
    """No majority for a while, then none of it: nobody ends, nothing stops but exclusive work, and it goes on by itself."""
    pids = {name: (node.pid, node.half("net")) for name, node in c.nodes.items()}
    for pid in c.etcd.values():
        kill(pid, signal.SIGSTOP)
    for name in c.nodes:
        began = time.monotonic()
        c.last = ("no answer", "")
        r.check(f"etcd away: an apply at {name} is refused", not c.try_apply(name, 15) and c.last[0] != "no answer", c.last)
        took = time.monotonic() - began
        r.check(f"etcd away: within 10 s, in one clear line ({took:.1f} s)", took < 10 and "the state c" in c.last[1].split("\n")[0], c.last)
    time.sleep(2)
    r.check("etcd away: reads are answered", all(c.local(n, "status", timeout=20)[0] == 0 for n in c.nodes.values()))
    for pid in c.etcd.values():
        kill(pid, signal.SIGCONT)
    wait_until("etcd is back: an apply", lambda: c.try_apply("par-1"), 20, 0.1)
    mark = time.monotonic_ns()
    wait_until("etcd is back: the work runs", lambda: words.read()["t"] > mark, 20)
    r.equal("etcd away: no daemon ended", {name: (node.pid, node.half("net")) for name, node in c.nodes.items()}, pids)
    r.check("etcd away: never two at a time", not words.broken, words.broken)


def kept_controls(node):
    try:
        with open(os.path.join(node.data, "identity/role.json"), encoding="utf-8") as f:
            return json.load(f)["controls"]
    except FileNotFoundError:
        return []


def all_die(c, r, words):
    for name in c.nodes:
        for pid in c.everything(name):
            kill(pid)
    for name, node in c.nodes.items():
        node.pid = None
        node.halves_gone()
    for node in c.nodes.values():
        node.start()  # before their etcd: they wait for it
    time.sleep(3)
    for name in c.nodes:
        c.start_etcd(name, "existing")
    wait_until("one of three leads again", c.leader, 30)
    wait_until("all nodes are there again", c.whole, 40)
    mark = time.monotonic_ns()
    wait_until("the work runs again", lambda: words.read()["t"] > mark, 20)
    r.check("all died: never two at a time", not words.broken, words.broken)
    for name in c.nodes:
        r.equal(f"all died: nothing acknowledged is missing at {name}", c.missing(name), [])
    r.check("all died: an apply", c.try_apply("par-1"), getattr(c, "last", ""))


def ha(r):
    if os.geteuid() != 0 or not os.access(LAB, os.X_OK):
        print("needs root, for network namespaces")
        sys.exit(77)
    if not shutil.which("etcd"):
        print("needs etcd: apt-get install etcd-server")
        sys.exit(77)
    with Ha() as c:
        try:
            c.begin()
            words = Words(os.path.join(c.dir, "words"))
            c.apply_ok(c.file("x.yaml", worker(words.path)))
            wait_until("it runs", lambda: words.read()["epoch"] > 0, 20)
            c.grow()
            wait_until("each knows all three at its next start", lambda: {len(kept_controls(n)) for n in c.nodes.values()} == {3}, 20)
            forwarded(c, r)
            for fault in FAULTS[:int(os.environ.get("SKERRY_ROUNDS", len(FAULTS)))]:
                takeover(c, r, words, fault)
            no_etcd(c, r, words)
            all_die(c, r, words)
        except Failed:
            c.failed = True
            raise
        c.failed = bool(r.failures)
        print(f"   {len(c.acked)} applies acknowledged, none lost", flush=True)


if __name__ == "__main__":
    main(ha)

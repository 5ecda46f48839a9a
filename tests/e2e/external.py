#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`skerry control grow --etcd`: over an etcd that the operator runs, on machines of its own, with an authority of its own.

What is wrong with it is said in one line before anything is begun. Then three control nodes work over it: applies, the loss of the
leader, the loss of one of its members, all switched off and on, a replacement, back to one, and there again. Root, etcd.
"""
import json
import os
import subprocess
import time

from cluster import SLOW, Failed, in_turn, main, wait_until
from exclusive import Words
from several import Several, Writer, or_skip, work

SITES = {"fra": ["fra-1", "fra-e"], "ams": ["ams-1", "ams-e"], "par": ["par-1", "par-e"], "lon": ["lon-1"]}
THREE = ["fra-1", "ams-1", "par-1"]


class Own(Several):
    def begin(self, *_):
        self.start_one("fra-1")
        for name in ("ams-1", "par-1", "lon-1"):
            self.join(name, name[:3])
        self.wait_ready()
        self.words = Words(os.path.join(self.dir, "words"))
        self.apply_ok(self.file("shop.yaml", work(self.words.path)))
        wait_until("the worker runs", lambda: self.words.read()["epoch"] > 0, 20)
        self.hosts = {e: (f"10.99.{i}.12", [*self.hub.prefix_argv[:-1], e]) for i, e in enumerate(("fra-e", "ams-e", "par-e"), 1)}
        self.urls = [f"https://{address}:2379" for address, _ in self.hosts.values()]
        self.etcd = {}
        self.certificates("pki")
        self.certificates("other")
        for name in self.hosts:
            self.start_etcd(name, "new")
        wait_until("the operator's etcd is healthy", lambda: self.etcdctl_own("endpoint", "health")[0] == 0, 20, 0.3)

    def certificates(self, folder):
        """An authority; a certificate for each member, for both sides; one for a client alone."""
        base = os.path.join(self.dir, folder)
        os.mkdir(base)

        def run(*args):
            subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=base)

        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/CN={folder}", "-days", "1")
        for name, text in [(n, f"subjectAltName=IP:{a}\nextendedKeyUsage=serverAuth,clientAuth\n") for n, (a, _) in self.hosts.items()] + [
                ("client", "extendedKeyUsage=clientAuth\n")]:
            with open(os.path.join(base, name + ".ext"), "w", encoding="utf-8") as f:
                f.write(text)
            run("req", "-new", *key, "-keyout", name + ".key", "-out", name + ".csr", "-subj", f"/CN={name}")
            run("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-extfile",
                name + ".ext", "-out", name + ".pem")

    def start_etcd(self, name, new):
        address, prefix = self.hosts[name]
        base = os.path.join(self.dir, "pki")
        tls = [f"--{p}{flag}={base}/{file}" for p in ("", "peer-")
               for flag, file in (("trusted-ca-file", "ca.pem"), ("cert-file", name + ".pem"), ("key-file", name + ".key"))]
        argv = prefix + ["etcd", f"--name={name}", f"--data-dir={self.dir}/etcd-{name}", f"--listen-client-urls=https://{address}:2379",
                         f"--advertise-client-urls=https://{address}:2379", f"--listen-peer-urls=https://{address}:2380",
                         f"--initial-advertise-peer-urls=https://{address}:2380", f"--initial-cluster-state={new}",
                         "--initial-cluster=" + ",".join(f"{n}=https://{a}:2380" for n, (a, _) in self.hosts.items()),
                         "--client-cert-auth", "--peer-client-cert-auth", *tls, "--log-level=warn"]
        self.etcd[name] = self.warden.ask(spawn=argv, log=os.path.join(self.dir, f"etcd-{name}.log"))["pid"]

    def etcdctl_own(self, *args):
        base = os.path.join(self.dir, "pki")
        p = subprocess.run(self.hosts["fra-e"][1] + ["etcdctl", "--endpoints=" + ",".join(self.urls), f"--cacert={base}/ca.pem",
                           f"--cert={base}/client.pem", f"--key={base}/client.key", *args], capture_output=True, text=True, timeout=60,
                           check=False, env=dict(os.environ, ETCDCTL_API="3"))
        return p.returncode, p.stdout + p.stderr

    def grow_args(self, urls=None, ca="pki/ca.pem", cert="pki/client.pem", key="pki/client.key"):
        files = [x for option, file in (("--etcd-ca", ca), ("--etcd-cert", cert), ("--etcd-key", key)) if file
                 for x in (option, os.path.join(self.dir, file))]
        return ["control", "grow", "ams-1", "par-1", *[x for u in (urls or self.urls) for x in ("--etcd", u)], *files]

    def three(self, r, what, members):
        """Each knows the same three, over the operator's etcd, which all of them reach."""
        def look():
            for name in members:
                got = self.ask(name, "control", "status")
                if not got or sorted(m["node"] for m in got["members"]) != sorted(members) or got["operation"] or \
                        got["leader"]["node"] not in members or {m["state"] for m in got["members"]} != {"alive"}:
                    return self.note((name, got))
                self.seen = got
            return True
        self.why = ""
        try:
            wait_until(f"{what}: three of them", look, 40, 0.2)
        except Failed:
            r.check(f"{what}: three control nodes, each in order", False, self.why)
            return
        r.equal(f"{what}: over an etcd that is not ours", (self.seen["store"], self.seen["external"]), ("etcd", True))
        r.equal(f"{what}: store.json names it on each", [self.endpoints(n) for n in members], [self.urls] * 3)


def refused(c, r):
    """One line says what is wrong; nothing was begun and nothing is left."""
    with open(os.path.join(c.dir, "junk.pem"), "w", encoding="utf-8") as f:
        f.write("no certificate\n")
    address = c.hosts["fra-e"][0]
    for what, args, words in (
            ("nobody listens there", dict(urls=[f"https://{address}:1"]), f"{address}:1"),
            ("no such machine", dict(urls=["https://10.99.1.77:2379"]), "10.99.1.77"),
            ("one of three is wrong", dict(urls=[*c.urls[:2], f"https://{address}:1"]), f"{address}:1"),
            ("plain http", dict(urls=[f"http://{address}:2379"]), "https://"),
            ("no address", dict(urls=["https://"]), "https://"),
            ("an authority that did not sign it", dict(ca="other/ca.pem"), "certificate"),
            ("a certificate of another authority", dict(cert="other/client.pem", key="other/client.key"), address),
            ("a key of another certificate", dict(key="other/client.key"), "key"),
            ("no certificate at all", dict(cert="junk.pem"), "certificate"),
            ("no --etcd-ca", dict(ca=None), "--etcd-ca"),
            ("a file that is not there", dict(ca="nothing.pem"), "nothing.pem")):
        began = time.monotonic()
        code, out, err = c.cli(*c.grow_args(**args), timeout=60)
        r.check(f"refused: {what}", code == 2 and words in err and len(err.strip().split("\n")) <= 2, (code, err))
        r.check(f"refused: {what}: soon", time.monotonic() - began < 6 * SLOW, time.monotonic() - began)
        seats = c.get("control", "seats")
        r.equal(f"refused: {what}: nothing is begun", (seats["store"], seats["operation"], seats["last"]), ("sqlite", None, None))
    r.check("refused: nothing is left", not os.path.exists(os.path.join(c.hub.data, "control/external")))


def foreign(c, r):
    """An etcd in which another cluster lives is not written over."""
    ident = "0123456789abcdef" * 2
    record = {"v": 1, "store": "etcd", "token": "f" * 32, "members": [{"node": "theirs", "state": "member"}]}
    for key, value in (("/skerry/meta", {"v": 1, "id": ident}), (f"/skerry/{ident}/skerry/v1/control", record), ("/skerry/head", 1)):
        r.equal("another cluster's state", c.etcdctl_own("put", key, json.dumps(value))[0], 0)
    before = c.etcdctl_own("get", "--prefix", "/skerry/")
    code, out, err = c.cli(*c.grow_args())
    r.check("another cluster's etcd is refused", code == 2 and "state of a cluster already" in err, (code, err))
    r.equal("and left as it was", c.etcdctl_own("get", "--prefix", "/skerry/"), before)
    c.etcdctl_own("del", "--prefix", "/skerry/")


def there(c, r):
    before = c.workloads()
    writer = Writer(c, ["fra-1"], "lon-1")
    writer.start()
    code, out, err = c.cli(*c.grow_args(), timeout=120)
    r.check("grown to it", code == 0, (code, err))
    c.three(r, "grown", THREE)
    writer.end()
    r.equal("grown: nothing acknowledged is lost", {m: writer.lost(m) for m in THREE}, {m: 0 for m in THREE})
    r.equal("grown: no work was touched", c.workloads(), before)
    r.check("grown: said to people", "over etcd (not ours)" in c.cli("control", "status")[1], c.cli("control", "status")[1])
    r.check("grown: skerry runs no etcd", not os.path.exists(os.path.join(c.hub.data, "control/etcd/data")))
    for name in THREE:
        code, _, err = c.local(c.nodes[name], "apply", c.file(f"{name}.yaml", work(c.words.path).replace("shop", "shop" + name[:3]).split("  worker:")[0]))
        r.check(f"an apply at {name}", code == 0, err)


def losses(c, r):
    """The leader's server, then a member of the operator's etcd, then all of skerry's."""
    first = c.leader(THREE)
    left = [m for m in THREE if m != first]
    c.die(first)
    began = time.monotonic()
    wait_until("a write at another one", lambda: c.local(c.nodes[left[0]], "node", "set", "lon-1", "--label", "a=1", timeout=20)[0] == 0, 30)
    print(f"   {first} killed: a write after {time.monotonic() - began:.1f} s", flush=True)
    r.check("the leader is lost: writes again", time.monotonic() - began < 10 * SLOW, time.monotonic() - began)
    c.back(first)
    c.three(r, "the leader is back", THREE)
    c.hub = c.nodes[left[0]]
    os.kill(c.etcd["fra-e"], 9)
    wait_until("a member of etcd is lost: a write", lambda: c.cli("node", "set", "lon-1", "--label", "a=2", timeout=20)[0] == 0, 20)
    c.start_etcd("fra-e", "existing")
    names = [*THREE, "lon-1"]
    for name in names:
        c.do("kill", name)
        c.nodes[name].pid = None
    for name in names:
        c.nodes[name].halves_gone()
        c.nodes[name].start()
    c.three(r, "off and on", THREE)
    mark = time.monotonic_ns()
    wait_until("off and on: the worker runs", lambda: c.words.read()["t"] > mark, 30)
    r.check("never two workers at a time", not c.words.broken, c.words.broken)


def back(c, r):
    """A replacement, then one control node; and to the same etcd once more."""
    at = c.leader(THREE)
    gone = next(n for n in THREE if n != at)
    c.hub = c.nodes[at]
    wait_until("all nodes are there", lambda: c.whole(at), 30)
    code, _, err = c.cli("control", "replace", gone, "--with", "lon-1", timeout=120)
    r.check("a control node is replaced", code == 0, (code, err))
    c.three(r, "replaced", sorted([n for n in THREE if n != gone] + ["lon-1"]))
    wait_until("all nodes are there", lambda: c.whole(at), 30)
    code, _, err = c.cli("control", "shrink", "--to", "lon-1", timeout=120)
    r.check("shrunk", code == 0, (code, err))
    c.hub = c.nodes["lon-1"]
    r.equal("shrunk: over SQLite", (c.get("control", "seats")["store"], c.get("control", "seats")["members"]), ("sqlite", ["lon-1"]))
    wait_until("shrunk: all others have left", lambda: c.whole("lon-1"), 20)
    code, _, err = c.cli("control", "grow", *c.grow_args()[4:], timeout=120)
    r.check("grown to the same etcd again", code == 0, (code, err))
    members = c.get("control", "seats")["members"]
    c.three(r, "grown again", members)
    r.check("never two workers at a time", not c.words.broken, c.words.broken)


def external(r):
    or_skip()
    with Own(SITES) as c:
        try:
            c.hosts = {}
            c.begin()
        except Failed:
            c.failed = True
            raise
        in_turn((refused, foreign, there, losses, back), c, r)


if __name__ == "__main__":
    main(external)

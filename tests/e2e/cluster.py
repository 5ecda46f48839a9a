# SPDX-License-Identifier: Apache-2.0
"""A cluster for end-to-end tests: the real binary, real daemons, real sockets.

On loopback (any user): every node has an address of its own in 127.0.0.0/8, a block that is random for each run, so that
runs stand side by side with the ordinary ports. In namespaces (root): each node in one that `skerry-lab up` makes.

Environment: SKERRY_BIN, SKERRY_LAB, SKERRY_SOURCE_ROOT; SKERRY_SLOW multiplies every time limit (sanitizers);
SKERRY_KEEP=1 prints the daemons' logs at the end of a failed run.
"""
import http.client
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.environ["SKERRY_SOURCE_ROOT"]
SKERRY = os.environ["SKERRY_BIN"]
LAB = os.environ.get("SKERRY_LAB", "")
SLOW = float(os.environ.get("SKERRY_SLOW", "1"))
PYTHON = "/usr/bin/python3"
SERVE = os.path.join(ROOT, "tests/e2e/serve.py")


class Failed(Exception):
    pass


class Report:
    """Collects checks; the test fails at its end if any did."""

    def __init__(self):
        self.count, self.failures = 0, []

    def check(self, name, ok, detail=""):
        self.count += 1
        if not ok:
            self.failures.append(name)
            print(f"FAIL {name}: {str(detail)[:2000]}", flush=True)
        return bool(ok)

    def equal(self, name, got, want):
        return self.check(name, got == want, f"got {got!r}, want {want!r}")

    def end(self):
        print(f"{self.count} checks, {len(self.failures)} failed", flush=True)
        return 1 if self.failures else 0


def wait_until(what, test, seconds=20.0, every=0.05):
    """The first true value of test(); Failed with the last one seen otherwise."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"not within {seconds * SLOW:.0f} s: {what}; last {value!r}")
        time.sleep(every)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            stat = f.read()
    except OSError:
        return False
    return stat[stat.rindex(b")") + 2:stat.rindex(b")") + 3] not in (b"Z", b"X")


def started_at(pid):
    """The kernel's start time of a process: with its pid it names one life of it. None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            stat = f.read()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2:].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def kill(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Warden:
    def __init__(self):
        here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "warden.py")
        self.process = subprocess.Popen([PYTHON, here], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        start_new_session=True)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise Failed("the warden is gone")
        return json.loads(answer)

    def end(self):
        self.process.stdin.close()
        return self.process.wait(timeout=60)


class Node:
    def __init__(self, cluster, name, site, address):
        self.cluster, self.name, self.site, self.address = cluster, name, site, address
        self.data = os.path.join(cluster.dir, name)
        self.log = os.path.join(cluster.dir, name + ".log")
        self.pid = None
        self.prefix_argv = []  # of every process of this node: enters its namespace
        self.binary = SKERRY

    def start(self, *more):
        argv = self.prefix_argv + [self.binary, "daemon", "--data", self.data, *more]
        self.pid = self.cluster.warden.ask(spawn=argv, log=self.log)["pid"]

    def half(self, role):
        """The pid of skerryd ("net") or of the agent; None while it is not there."""
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/cmdline", "rb") as f:
                    argv = f.read().split(b"\0")
                with open(f"/proc/{name}/stat", "rb") as f:
                    stat = f.read()
            except OSError:
                continue
            if (argv[1:4] == [b"daemon", b"--role", role.encode()] and argv[5:6] == [self.data.encode()] and
                    stat[stat.rindex(b")") + 2:stat.rindex(b")") + 3] != b"Z"):
                return int(name)
        return None

    def ready(self, seconds=20):
        path = os.path.join(self.data, "run/agent.sock")
        wait_until(f"agent of {self.name}", lambda: os.path.exists(path) and self.half("net"), seconds)

    def stop(self, number=signal.SIGTERM, seconds=15):
        if self.pid and alive(self.pid):
            kill(self.pid, number)
            wait_until(f"end of {self.name}", lambda: not alive(self.pid), seconds)
        self.pid = None

    def halves_gone(self, seconds=5):
        wait_until(f"both halves of {self.name} gone", lambda: not self.half("net") and not self.half("agent"), seconds)

    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""


class Cluster:
    """hub (control only) plus nodes by site. Use with `with`."""

    def __init__(self, layout, capacity=("4", "4G"), hub_args=()):
        self.layout, self.capacity, self.hub_args = layout, capacity, hub_args
        self.warden = Warden()
        self.dir = tempfile.mkdtemp(prefix="skerry-e2e-", dir="/tmp")
        os.chmod(self.dir, 0o755)  # the unprivileged half is another user when this is root
        self.warden.ask(folder=self.dir)
        self.block = f"127.{random.SystemRandom().randint(64, 250)}.{random.SystemRandom().randint(1, 250)}"
        self.nodes, self.hub = {}, None
        self.failed = False

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if (kind or self.failed) and os.environ.get("SKERRY_KEEP"):
            for node in self.nodes.values():
                print(f"---- log of {node.name}\n{node.log_text()[-6000:]}", flush=True)
        self.end()
        return False

    def end(self):
        if self.warden:
            code = self.warden.end()
            self.warden = None
            if code != 0:
                raise Failed("processes of the test could not be ended")

    def new_node(self, name, site):
        node = Node(self, name, site, f"{self.block}.{len(self.nodes) + 1}")
        self.nodes[name] = node
        return node

    def setup_args(self, node):
        return ["--site", node.site, "--node", node.name, "--address", node.address, "--listen", node.address,
                "--data", node.data, "--ingress-port", "8088", "--cpus", self.capacity[0], "--memory", self.capacity[1],
                "--disk", "10G"]

    def start_hub(self):
        self.hub = self.new_node("hub-1", "hub")
        code, out, err = self.local(self.hub, "init", "--lab", "--control-only", *self.setup_args(self.hub),
                                    *self.hub_args)
        if code != 0:
            raise Failed(f"init: {code} {out} {err}")
        self.code = out.split("recovery code:")[1].split()[0]
        self.hub.start()
        wait_until("the API answers", lambda: self.cli("status")[0] == 0)
        return self.hub

    def token(self, site, *more):
        code, out, err = self.cli("token", "--site", site, *more)
        if code != 0:
            raise Failed(f"token: {code} {err}")
        return out.strip()

    def join(self, name, site, token=None):
        node = self.nodes.get(name) or self.new_node(name, site)
        token = token or self.token(site)
        code, out, err = self.local(node, "join", f"{self.hub.address}:7400", *self.setup_args(node), stdin=token)
        if code != 0:
            raise Failed(f"join {name}: {code} {out} {err}")
        node.start()
        return node

    def start(self):
        self.start_hub()
        for site, names in self.layout.items():
            for name in names:
                self.join(name, site)
        self.wait_ready()
        return self

    def wait_ready(self, seconds=30):
        total = len(self.nodes)
        wait_until("all nodes alive",
                   lambda: [n["state"] for n in self.get("nodes")["nodes"]].count("alive") == total, seconds)

    # ---- commands ----

    def local(self, node, *args, stdin="", timeout=60):
        p = subprocess.run(node.prefix_argv + [SKERRY, *args], input=stdin, capture_output=True, text=True,
                           timeout=timeout * SLOW, env=dict(os.environ, SKERRY_DATA=node.data))
        return p.returncode, p.stdout, p.stderr

    def cli(self, *args, stdin="", timeout=60):
        return self.local(self.hub, *args, stdin=stdin, timeout=timeout)

    def get(self, *args):
        code, out, err = self.cli(*args, "--json")
        if code != 0:
            raise Failed(f"skerry {' '.join(args)}: status {code}: {err}")
        return json.loads(out)

    def ps(self):
        return self.get("ps")["instances"]

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def apply(self, path, *more, timeout=90):
        return self.cli("apply", path, *more, timeout=timeout)

    def apply_ok(self, path, *more, seconds=60):
        code, out, err = self.apply(path, "--wait", "--timeout", f"{int(seconds * SLOW)}s", *more, timeout=seconds + 30)
        if code != 0:
            raise Failed(f"apply {path}: status {code}: {out}\n{err}")
        return out

    def settled(self, want, seconds=30):
        """Waits until exactly the wanted number of instances run of each service, all healthy or without a check."""
        def look():
            have = {}
            for i in self.ps():
                if i["state"] != "running" or i["healthy"] is False or i["role"] == "stopping":
                    return False
                have[i["service"]] = have.get(i["service"], 0) + 1
            return have == {k: v for k, v in want.items() if v}
        wait_until(f"settled at {want}", look, seconds, 0.1)
        return self.ps()

    # ---- processes of instances ----

    def workloads(self):
        """{instance id: {"shim": (pid, start), "main": (pid, start)}} of everything that runs on any node."""
        found = {}
        for node in self.nodes.values():
            base = os.path.join(node.data, "agent/instances")
            try:
                ids = os.listdir(base)
            except OSError:
                continue
            for instance in ids:
                pids = instance_pids(os.path.join(base, instance))
                if pids:
                    found[instance] = pids
        return found


def instance_pids(path):
    """What the shim of the instance folder `path` wrote down, each pid with its start time, if it is still alive."""
    try:
        with open(os.path.join(path, "status"), encoding="utf-8") as f:
            status = json.load(f)
    except (OSError, ValueError):
        return None
    shim, main_pid = status["shim_pid"], status["pid"]
    if status["state"] != "running" or started_at(shim) is None or started_at(main_pid) is None:
        return None
    return {"shim": (shim, started_at(shim)), "main": (main_pid, started_at(main_pid)), "run": status["run"]}


class Api:
    """The HTTPS door, as any client sees it."""

    def __init__(self, cluster, ca=None):
        self.address = cluster.hub.address
        self.context = ssl.create_default_context(cafile=ca or os.path.join(cluster.hub.data, "identity/ca.pem"))

    def call(self, method, path, token=None, body=None, timeout=20):
        connection = http.client.HTTPSConnection(self.address, 7410, context=self.context, timeout=timeout * SLOW)
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            streamed = response.status == 200 and "json" not in (response.getheader("Content-Type") or "")
            data = response.read1(1) if streamed else response.read()
            return response.status, data
        finally:
            connection.close()


def in_turn(parts, c, r):
    """Runs each part(cluster, report) on one cluster; one that fails does not stop the next."""
    for part in parts:
        at = time.monotonic()
        try:
            part(c, r)
        except Failed as e:
            c.failed = True
            r.check(part.__name__, False, e)
        print(f"   {part.__name__}: {time.monotonic() - at:.1f} s", flush=True)
    c.failed = c.failed or bool(r.failures)


def main(*parts):
    """Runs each part(report); an exception fails that part and the rest still runs."""
    report, began = Report(), time.monotonic()
    only = sys.argv[1:]
    for part in parts:
        if only and part.__name__ not in only:
            continue
        at = time.monotonic()
        try:
            part(report)
        except (Failed, OSError, ValueError, KeyError, IndexError, subprocess.TimeoutExpired) as e:
            traceback.print_exc()
            report.check(part.__name__, False, repr(e))
        print(f"-- {part.__name__}: {time.monotonic() - at:.1f} s", flush=True)
    print(f"{time.monotonic() - began:.1f} s in all", flush=True)
    sys.exit(report.end())

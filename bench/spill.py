# SPDX-License-Identifier: Apache-2.0
"""The first seconds of a spill: a site's replicas die, its users' requests go through another site's ingress.

usage: spill.py [--runs N] [--rtt MS]... [--add] [NAME=BUILD-DIR]...

Two sites of the lab, each with its ingress as `skerry` starts it (bench/spill_site.c) and two replicas (busybox httpd). Users of
the one site ask 300 times a second, open loop, each with a connection of their own; 2 s later both of its replicas get SIGKILL, the load goes on for
4 s. Then, still on the spill, one user asks for 20 MB and reads nothing while others ask for 3 s: what they see is the price of
sharing a connection with it. Builds are measured in turn, so that they see the same machine. One whose name starts with "h2" speaks
HTTP/2 between the sites: its configuration is changed on its way to HAProxy. Root only.

Clock, counts and percentiles are the load generator's own, by its list of requests; handshakes are counted by the HAProxy that takes
them. A run counts only if the load generator kept its rate: else it is "valid": false, stays in the file and out of the medians.
"""
import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import common

RATE, BEFORE_S, AFTER_S, STUCK_S = 300, 2.0, 4.0, 3.0
WINDOW_NS = 3_000_000_000
HOST = "shop.example.com"
H2 = """#!/usr/bin/python3
import os, re, sys
if "-W" in sys.argv:
    path = sys.argv[sys.argv.index("-f") + 1]
    with open(path, encoding="utf-8") as f:
        text = f.read()
    text = text.replace("frontend fe.sites\\n    mode tcp", "frontend fe.sites\\n    mode http").replace("alpn in.shop.web.http", "alpn h2")
    text = re.sub(r"use_backend %.ssl_fc_alpn.*", "use_backend in.shop.web.http", text)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
os.execv("/usr/sbin/haproxy", sys.argv)
"""
SITES = ("fra", "ams")


def ask_socket(path, command):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(command.encode() + b"\n")
        parts = []
        while part := s.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()


class Site:
    def __init__(self, lab, name, other, rtt_ms):
        self.lab, self.name, self.replicas = lab, name, []
        node = next(n for n in lab.nodes if n["name"] == name)
        self.netns, self.address = node["netns"], node["address"]
        self.dir = os.path.join(lab.dir, name)
        self.local = [{"id": f"{name}-{port}", "address": self.address, "port": port} for port in (8001, 8002)]
        self.other, self.rtt_ms = other, rtt_ms
        for endpoint in self.local:
            root = os.path.join(lab.dir, endpoint["id"])
            os.makedirs(root)
            with open(os.path.join(root, "index.html"), "w", encoding="utf-8") as f:
                f.write(f"instance={endpoint['id']}\nnode={name}\nsite={name}\n")
            with open(os.path.join(root, "big"), "wb") as f:
                f.write(b"x" * (20 << 20))
            argv = ["busybox", "httpd", "-f", "-p", f"{self.address}:{endpoint['port']}", "-h", root]
            self.replicas.append(lab.start(self.netns, *argv))

    def serve(self):
        there = self.lab.sites[self.other]
        route = {"host": HOST, "project": "shop", "service": "web", "check": "/index.html", "local": self.local,
                 "remote": [{"site": there.name, "node": there.name, "address": there.address, "rtt_ms": self.rtt_ms}]}
        view = os.path.join(self.lab.dir, self.name + ".json")
        with open(view, "w", encoding="utf-8") as f:
            json.dump({"rev": 1, "site": self.name, "node": self.name, "routes": [route], "published": []}, f)
        p = self.lab.start(self.netns, self.lab.helper, "run", self.lab.dir, self.name, self.dir, view,
                           *([self.lab.h2] if self.lab.h2 else []), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if p.stdout.readline() != b"settled\n":
            raise RuntimeError(f"the ingress of {self.name} did not start")

    def stat(self, kind="fe.sites,FRONTEND"):
        rows = ask_socket(os.path.join(self.dir, "admin.sock"), "show stat").splitlines()
        names = rows[0].lstrip("# ").split(",")
        for row in rows[1:]:
            if row.startswith(kind + ","):
                return dict(zip(names, row.split(",")))
        return {}

    def handshakes(self):
        row = self.stat()
        return {"full": int(row["ssl_sess"]), "resumed": int(row["ssl_reused_sess"])}

    def cpu_ms(self):
        pid = int(next(x for x in ask_socket(os.path.join(self.dir, "admin.sock"), "show info").splitlines()
                       if x.startswith("Pid:")).split()[1])
        with open(f"/proc/{pid}/stat", "rb") as f:
            fields = f.read().rsplit(b")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")


class Lab:
    """Two sites and their ingresses; everything in it ends with it."""

    def __init__(self, build, rtt_ms, h2):
        self.h2 = h2
        self.lab = os.path.join(build, "skerry-lab")
        self.helper = os.path.join(build, "bench/spill_site")
        self.dir = tempfile.mkdtemp(prefix="skerry-spill-", dir="/tmp")
        self.started, self.sites = [], {}
        topology = {"sites": [{"name": s, "nodes": [s]} for s in SITES], "links": [{"between": list(SITES), "rtt_ms": rtt_ms}]}
        self.rtt_ms = rtt_ms
        self.topology = json.dumps(topology)

    def __enter__(self):
        try:
            self.begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def begin(self):
        common.out(self.lab, "up", "-", "--dir", self.dir, "--owner", str(os.getpid()), input=self.topology)
        with open(os.path.join(self.dir, "lab.json"), encoding="utf-8") as f:
            self.nodes = json.load(f)["nodes"]
        common.out(self.helper, "keys", self.dir, *SITES)
        if self.h2:
            self.h2 = os.path.join(self.dir, "haproxy-h2")
            with open(self.h2, "w", encoding="utf-8") as f:
                f.write(H2)
            os.chmod(self.h2, 0o755)
        for name, other in (SITES, SITES[::-1]):
            self.sites[name] = Site(self, name, other, self.rtt_ms)
        for site in self.sites.values():
            site.serve()
        time.sleep(2)  # checks have their first results, and what is kept warm is warm

    def start(self, netns, *argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
        p = subprocess.Popen(["nsenter", "--net=" + netns, *argv], stdin=stdin, stdout=stdout, stderr=sys.stderr, start_new_session=True)
        self.started.append(p)
        return p

    def users(self, seconds, csv):
        config = os.path.join(self.dir, "load.json")
        fra = self.sites["fra"]
        with open(config, "w", encoding="utf-8") as f:
            json.dump({"rate": RATE, "seconds": seconds, "host": HOST, "path": "/index.html", "keep_alive": False, "csv": csv,
                       "populations": [{"name": "u", "ingress": [{"site": "fra", "address": fra.address, "port": 80}]}]}, f)
        return self.start(fra.netns, self.lab, "load", config, stdout=subprocess.PIPE)

    def __exit__(self, *_):
        for p in reversed(self.started):
            if p.stdin:
                p.stdin.close()  # the ingresses end by that, with their HAProxy
                p.wait(timeout=20)
            elif p.poll() is None:
                os.killpg(p.pid, signal.SIGKILL)
                p.wait()
        common.try_out(self.lab, "down", "--dir", self.dir)
        shutil.rmtree(self.dir, ignore_errors=True)


def read_requests(path):
    with open(path, encoding="utf-8") as f:
        names = f.readline().strip().split(",")
        return [dict(zip(names, line.strip().split(","))) for line in f]


def percentile(values, share):
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 1) if values else None


def figures(rows, from_ns):
    """Of the requests that were due in the 3 s after from_ns; the gap is between good answers, wherever it ends."""
    part = [r for r in rows if from_ns <= int(r["issued_ns"]) < from_ns + WINDOW_NS]
    took = [(int(r["done_ns"]) - int(r["issued_ns"])) / 1e6 for r in part]
    good = sorted(int(r["done_ns"]) for r in rows if r["outcome"] == "ok")
    gap = max((b - a for a, b in zip(good, good[1:]) if b >= from_ns), default=0)
    return {"requests": len(part), "failed": sum(r["outcome"] != "ok" for r in part), "longest_gap_ms": round(gap / 1e6, 1),
            "p50_ms": percentile(took, 0.5), "p95_ms": percentile(took, 0.95), "p99_ms": percentile(took, 0.99)}


def finish(load, seconds):
    """The summary, and whether the generator itself kept up."""
    text, _ = load.communicate(timeout=seconds + 10)
    summary = json.loads(text.splitlines()[-1])
    return summary["generator_errors"] == 0 and summary["requests"] >= int(RATE * seconds * 0.99)


def spill(lab):
    fra, ams = lab.sites["fra"], lab.sites["ams"]
    csv = os.path.join(lab.dir, "requests.csv")
    start = ams.handshakes()
    load = lab.users(BEFORE_S + AFTER_S, csv)
    time.sleep(BEFORE_S)
    before, cpu = ams.handshakes(), fra.cpu_ms() + ams.cpu_ms()
    killed_ns = time.monotonic_ns()
    for p in fra.replicas:
        os.killpg(p.pid, signal.SIGKILL)
    time.sleep(WINDOW_NS / 1e9)
    after = ams.handshakes()
    spent = fra.cpu_ms() + ams.cpu_ms() - cpu
    return {"valid": finish(load, BEFORE_S + AFTER_S), "rate": RATE, **figures(read_requests(csv), killed_ns),
            "full_handshakes": after["full"] - before["full"], "resumed_handshakes": after["resumed"] - before["resumed"],
            "quiet_handshakes_s": (sum(before.values()) - sum(start.values())) / BEFORE_S, "haproxy_cpu_ms": spent}


def stuck(lab):
    """Others' requests beside a user who does not read its answer."""
    fra = lab.sites["fra"]
    client = lab.start(fra.netns, "python3", "-c", "import socket, sys, time\ns = socket.socket()\n"
                       "s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)\ns.connect((sys.argv[1], 80))\n"
                       "s.sendall(b'GET /big HTTP/1.1\\r\\nHost: " + HOST + "\\r\\n\\r\\n')\ntime.sleep(60)\n", fra.address)
    time.sleep(0.5)
    csv = os.path.join(lab.dir, "beside.csv")
    start_ns = time.monotonic_ns()
    load = lab.users(STUCK_S, csv)
    valid = finish(load, STUCK_S)
    os.killpg(client.pid, signal.SIGKILL)
    return {"valid": valid, **figures(read_requests(csv), start_ns)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rtt", type=float, action="append")
    parser.add_argument("--add", action="store_true", help="to the runs of the last time, where they are kept")
    parser.add_argument("--no-save", action="store_true")
    parser.add_argument("builds", nargs="*", help="NAME=DIR, default now=build")
    args = parser.parse_args()
    common.need_root("spill")
    machine, runs = common.machine(), []
    if args.add:
        with open(os.path.join(common.EVIDENCE, "bench-spill.json"), encoding="utf-8") as f:
            runs = json.load(f)["runs"]
    builds = [b.split("=", 1) for b in args.builds or ["now=" + common.BUILD]]
    for run in range(1, args.runs + 1):
        for rtt in args.rtt or [20.0]:
            for name, build in builds:
                row = {"build": name, "rtt_ms": rtt, "run": run, "busy_before": common.busy()}
                with Lab(build, rtt, name.startswith("h2")) as lab:
                    row.update(spill(lab))
                    row["beside_stuck"] = stuck(lab)
                runs.append(row)
                print(row, flush=True)
    if not args.no_save:
        common.save("spill", runs, machine=machine)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""A lab for tests and measurements: sites, hosts and a WAN on this machine, made by `skerry-lab` (docs/lab.md). Root only.

    with Lab({"sites": {"hub": {"hosts": 1, "control": True}, "fra": {"hosts": 2}, "ams": {"hosts": 2}},
              "default": {"rtt_ms": 40}}) as lab:
        lab.start()                                  the real daemon on every host, joined
        print(lab.skerry("status"))                  on the first host; host="fra-1" for another
        lab.cut("fra")                               heal, kill, pause, resume, link, slow_disk, fill_disk, free_disk

The lab ends with this process, however that ends: it is the lab's owner. Needs SKERRY_LAB and SKERRY_BIN in the environment, or
the programs in SKERRY_BUILD (default: build, beside the sources).
"""
import ctypes
import json
import os
import select
import socket
import struct
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("SKERRY_BUILD", os.path.join(ROOT, "build"))
LAB = os.environ.get("SKERRY_LAB") or os.path.join(BUILD, "skerry-lab")
SKERRY = os.environ.get("SKERRY_BIN") or os.path.join(BUILD, "skerry")
SLOW = float(os.environ.get("SKERRY_SLOW", "1"))
SO_TIMESTAMPNS = 35
CLONE_NEWNET = 0x40000000


class LabError(Exception):
    pass


def why_not():
    """Why there can be no lab here; None if there can."""
    if os.geteuid() != 0:
        return "a lab is made of network namespaces, which need root"
    if not os.access(LAB, os.X_OK):
        return f"there is no program {LAB}: build it, or set SKERRY_LAB"
    return None


def wait_until(what, test, seconds=20.0, every=0.05):
    """The first true value of test(); LabError with the last one seen otherwise."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"not within {seconds * SLOW:.0f} s: {what}; last {value!r}")
        time.sleep(every)


class Lab:
    def __init__(self, topology, owner=None):
        """topology: as in docs/lab.md, a dict, YAML text, or the path of a file."""
        text = json.dumps(topology) if isinstance(topology, dict) else topology
        path = text if "\n" not in text and os.path.exists(text) else "-"
        self.dir = self.run("up", path, "--owner", str(owner or os.getpid()), input=text if path == "-" else None).strip()
        self.hosts = {h["name"]: h for h in self.show()["hosts"]}
        self.sites = {}
        for h in self.hosts.values():
            self.sites.setdefault(h["site"], []).append(h["name"])
        daemons = [h for h in self.hosts.values() if not h["bare"]]
        self.first = next((h["name"] for h in daemons if h["control"]), daemons[0]["name"] if daemons else None)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind and os.environ.get("SKERRY_KEEP"):
            for name in self.hosts:
                print(f"---- log of {name}\n{self.log(name)[-6000:]}", flush=True)
        self.down()
        return False

    # ---- the lab ----

    @staticmethod
    def run(*args, status=0, timeout=90, input=None):
        p = subprocess.run([LAB, *map(str, args)], capture_output=True, text=True, timeout=timeout * SLOW, check=False, input=input)
        if p.returncode != status:
            raise LabError(f"skerry-lab {' '.join(map(str, args))}: status {p.returncode}: {p.stderr.strip()}")
        return p.stdout

    def do(self, verb, *args, **more):
        return self.run(verb, "--dir", self.dir, *args, **more)

    def show(self):
        return json.loads(self.do("show", "--json"))

    def host(self, name):
        return next(h for h in self.show()["hosts"] if h["name"] == name)

    def down(self):
        self.do("down")

    def start(self, *hosts, skerry=SKERRY):
        """Without names: all, and waits until the cluster takes each for alive."""
        self.do("start", "--skerry", skerry, *hosts, timeout=180)
        return self

    def cut(self, *what, one_way=False):
        self.do("cut", *what, *(["--one-way"] if one_way else []))

    def heal(self, *what, one_way=False):
        self.do("heal", *what, *(["--one-way"] if one_way else []))

    def link(self, a, b, one_way=False, **values):
        self.do("link", a, b, *(f"{k}={v}" for k, v in values.items()), *(["--one-way"] if one_way else []))

    def kill(self, *hosts):
        for host in hosts:
            self.do("kill", host)

    def pause(self, *hosts):
        for host in hosts:
            self.do("pause", host)

    def resume(self, *hosts):
        for host in hosts:
            self.do("resume", host)

    def slow_disk(self, host, ms):
        self.do("slow-disk", host, ms)

    def fill_disk(self, host):
        self.do("fill-disk", host)

    def free_disk(self, host):
        self.do("free-disk", host)

    # ---- in it ----

    def argv(self, host, *command):
        """What runs a command in a host's network."""
        return [LAB, "exec", "--dir", self.dir, host, "--", *command]

    def data(self, host):
        return self.hosts[host]["data"]

    def log(self, host):
        try:
            with open(self.hosts[host]["log"], encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def try_skerry(self, *args, host=None, input="", timeout=60):
        """(status, standard output, standard error) of `skerry ARGS` on a host."""
        p = subprocess.run(self.argv(host or self.first, SKERRY, *args), capture_output=True, text=True, check=False, input=input,
                           timeout=timeout * SLOW)
        return p.returncode, p.stdout, p.stderr

    def skerry(self, *args, **more):
        status, out, err = self.try_skerry(*args, **more)
        if status != 0:
            raise LabError(f"skerry {' '.join(args)}: status {status}: {out}{err}")
        return out

    def get(self, *args, **more):
        return json.loads(self.skerry(*args, "--json", **more))

    def states(self):
        """{node: alive, suspect, lost …} as the cluster sees them."""
        return {n["node"]: n["state"] for n in self.get("nodes")["nodes"]}

    def file(self, name, text):
        """A file beside the hosts' folders, which goes away with the lab."""
        path = os.path.join(self.dir, "hosts", name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def socket(self, host, kind=socket.SOCK_DGRAM, protocol=0):
        """A socket in a host's network."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net", "rb") as home, open(self.hosts[host]["netns"], "rb") as there:
            if libc.setns(there.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"enter the network of {host}")
            try:
                return socket.socket(socket.AF_INET, kind, protocol)
            finally:
                if libc.setns(home.fileno(), CLONE_NEWNET) != 0:
                    os.abort()  # going on in a foreign network would be worse

    def ping(self, a, b, count=20, every=0.01, wait=1.0):
        """Round trips from host a to host b in milliseconds, None where no answer came. The far kernel answers, and our own says
        when that arrived, so that a busy machine is not in it."""
        sent, took = {}, [None] * count
        with self.socket(a, socket.SOCK_RAW, socket.getprotobyname("icmp")) as s:
            s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            s.setblocking(False)
            ident, begin = os.getpid() & 0xffff, time.monotonic()
            while True:
                now = time.monotonic()
                if len(sent) < count and now >= begin + len(sent) * every:
                    n = len(sent)
                    sent[n] = time.time_ns()
                    s.sendto(echo_request(ident, n), (self.hosts[b]["address"], 0))
                    sent_at = now
                    continue
                if len(sent) == count and (None not in took or now > sent_at + wait):
                    return took
                due = begin + len(sent) * every if len(sent) < count else sent_at + wait
                if select.select([s], [], [], max(0, due - now))[0]:
                    data, control, _, _ = s.recvmsg(2048, 256)
                    packet = data[(data[0] & 15) * 4:]
                    kind, _, _, their, n = struct.unpack("!BBHHH", packet[:8])
                    if kind == 0 and their == ident and n in sent:
                        seconds, ns = struct.unpack("qq", control[0][2][:16])
                        took[n] = (seconds * 10**9 + ns - sent[n]) / 1e6

    def reaches(self, a, b):
        """Does a packet come from host a to host b? (One way: unlike ping.)"""
        with self.socket(a) as out, self.socket(b) as into:
            into.bind((self.hosts[b]["address"], 0))
            for _ in range(3):
                out.sendto(b"x", into.getsockname())
            return bool(select.select([into], [], [], 0.4)[0])


def echo_request(ident, number):
    head = struct.pack("!BBHHH", 8, 0, 0, ident, number)
    total = sum(struct.unpack("!4H", head))
    total = (total >> 16) + (total & 0xffff)
    return struct.pack("!BBHHH", 8, 0, ~total & 0xffff, ident, number)


def processes_of(text):
    """The pids whose command line names it."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as f:
                if text.encode() in f.read() and int(name) != os.getpid():
                    found.append(int(name))
        except OSError:
            pass
    return found

# SPDX-License-Identifier: Apache-2.0
"""What the measurements share: the machine, the programs, raw results in docs/evidence/, namespaces that go away."""
import atexit
import json
import os
import platform
import re
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("SKERRY_BUILD", os.path.join(ROOT, "build"))
SKERRY = os.path.join(BUILD, "skerry")
EVIDENCE = os.environ.get("SKERRY_EVIDENCE", os.path.join(ROOT, "docs/evidence"))


def out(*argv, **more):
    return subprocess.run(argv, check=True, capture_output=True, text=True, **more).stdout


def try_out(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    with open("/proc/meminfo", encoding="utf-8") as f:
        total = int(re.search(r"MemTotal:\s*(\d+)", f.read())[1])
    with open("/etc/os-release", encoding="utf-8") as f:
        system = re.search(r'PRETTY_NAME="(.*)"', f.read())[1]
    with open("/proc/loadavg", encoding="utf-8") as f:
        load = f.read().split()[:3]
    return {"cpus": os.cpu_count(), "model": model[1] if model else "?", "memory_mb": total // 1024, "system": system,
            "kernel": platform.release(), "load_before": [float(x) for x in load],
            "skerry": try_out(SKERRY, "version").splitlines()[:1],
            "commit": try_out("git", "-C", ROOT, "rev-parse", "--short=12", "HEAD"),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def save(name, runs, **more):
    """Every run, none left out; the table in docs/benchmarks.md is made from these files alone."""
    os.makedirs(EVIDENCE, exist_ok=True)
    path = os.path.join(EVIDENCE, f"bench-{name}.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"format": "skerry.bench/1", "name": name, **more, "runs": runs}, f, indent=1)
        f.write("\n")
    print(f"{name}: {len(runs)} runs in {os.path.relpath(path, ROOT)}", flush=True)


def median(values):
    return statistics.median(values)


def need_root(what):
    if os.geteuid() != 0:
        print(f"{what}: skipped: only root can make network namespaces", file=sys.stderr)
        sys.exit(77)


def until(test, what, seconds, every=0.005):
    end = time.monotonic() + seconds
    while True:
        value = test()
        if value:
            return value
        if time.monotonic() > end:
            raise RuntimeError(f"not within {seconds} s: {what}")
        time.sleep(every)


def busy():
    """How much of the machine others use, 0..1, over half a second."""
    def look():
        with open("/proc/stat", encoding="utf-8") as f:
            fields = [int(x) for x in f.readline().split()[1:9]]
        return sum(fields), fields[3] + fields[4]
    total, idle = look()
    time.sleep(0.5)
    total2, idle2 = look()
    return round(1 - (idle2 - idle) / max(1, total2 - total), 2)


def settle():
    """Waits until the machine is mostly idle, at most SKERRY_BENCH_WAIT seconds (default 30); what was busy then goes into
    the run's record, so that nobody takes a crowded machine's time for ours."""
    end = time.monotonic() + float(os.environ.get("SKERRY_BENCH_WAIT", "30"))
    share = busy()
    while share > 0.15 and time.monotonic() < end:
        share = busy()
    return share


def tree_of(pid):
    """The process and all below it."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as f:
                stat = f.read()
        except OSError:
            continue
        children.setdefault(int(stat[stat.rindex(b")") + 2:].split()[1]), []).append(int(name))
    found, todo = [], [pid]
    while todo:
        at = todo.pop()
        found.append(at)
        todo += children.get(at, [])
    return found


def memory_kb(pid):
    """{"rss":, "pss":, "private":} of a process in KiB, from smaps_rollup; None when it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
            rows = dict(re.findall(r"^(\w+):\s+(\d+) kB", f.read(), re.M))
    except OSError:
        return None
    return {"rss": int(rows["Rss"]), "pss": int(rows["Pss"]),
            "private": int(rows["Private_Clean"]) + int(rows["Private_Dirty"])}


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


class Space:
    """A folder, a network namespace and the processes in it; end() leaves nothing of them."""

    def __init__(self, address="10.98.0.1/24"):
        self.name = "skb-" + secrets.token_hex(4)
        self.dir = tempfile.mkdtemp(prefix="skerry-bench-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        self.started = []
        self.disk = None
        atexit.register(self.end)
        out("ip", "netns", "add", self.name)
        out("ip", "-n", self.name, "link", "set", "lo", "up")
        if address:
            out("ip", "-n", self.name, "link", "add", "d0", "type", "veth", "peer", "name", "d1")
            out("ip", "-n", self.name, "addr", "add", address, "dev", "d0")
            for end in ("d0", "d1"):
                out("ip", "-n", self.name, "link", "set", end, "up")

    def fresh_disk(self, size="2G"):
        """A new ext4 file system at .../data. ext4 passes over inodes that were deleted in the last minutes one by one, so on a
        shared one each run pays for the removal of the run before it (measured: a fifth of its processor time)."""
        self.disk = self.dir + ".img"
        with open(self.disk, "wb") as f:
            f.truncate(int(size[:-1]) << 30)
        out("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.disk)
        os.mkdir(self.dir + "/data", 0o755)
        out("mount", "-o", "loop", self.disk, self.dir + "/data")

    def argv(self, *argv):
        return ["nsenter", f"--net=/run/netns/{self.name}", *argv]

    def start(self, *argv, log="log"):
        with open(os.path.join(self.dir, log), "ab") as f:
            p = subprocess.Popen(self.argv(*argv), stdin=subprocess.DEVNULL, stdout=f, stderr=f, start_new_session=True)
        self.started.append(p)
        return p

    def pids_inside(self):
        """Everything that runs in the namespace or below its folder, so also what outlived its starter."""
        inside = set(map(int, try_out("ip", "netns", "pids", self.name).split()))
        for name in filter(str.isdigit, os.listdir("/proc")):
            if any(self.dir + "/" in word for word in command_of(name)) and int(name) != os.getpid():
                inside |= set(tree_of(int(name)))
        return inside

    def end(self):
        if not self.name:
            return
        for p in self.started:
            if p.poll() is None:
                p.send_signal(signal.SIGTERM)
        for p in self.started:
            try:
                p.wait(timeout=10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        for _ in range(50):
            left = self.pids_inside()
            if not left:
                break
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.1)
        with open("/proc/self/mounts", encoding="utf-8") as f:
            mounts = [line.split()[1] for line in f]
        for path in reversed(mounts):
            if path.startswith(self.dir + "/"):
                try_out("umount", "-l", path)
        if self.disk:
            os.unlink(self.disk)
        try_out("ip", "netns", "del", self.name)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.name = None

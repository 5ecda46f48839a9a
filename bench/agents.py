#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Many agents on one control node: its CPU share, how soon all are back after a restart, its memory.

usage: agents.py [COUNT] [SECONDS] [REPLICAS]     Adds a line to docs/evidence/agents.jsonl, also for a run that failed.
The nodes are bench/agents.c, a process of its own: only the control node's processor time is counted.
"""
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from common import BUILD, EVIDENCE, SKERRY, machine

AGENTS = os.path.join(BUILD, "bench/agents")
TICK = os.sysconf("SC_CLK_TCK")
ADDRESS = "127.19.0.1"
SERVICES = 20
SETTLE_S = 20  # beats by channel are spared from 10 s after the last missing answer on


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_mb(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
        rows = dict((line.split(":")[0], line.split()[1]) for line in f if ":" in line and line.split()[1].isdigit())
    return {"rss_mb": round(int(rows["Rss"]) / 1024, 1), "pss_mb": round(int(rows["Pss"]) / 1024, 1)}


class Load:
    """bench/agents: its newest line."""

    def __init__(self, data, count):
        self.child = subprocess.Popen([AGENTS, "run", data, str(count), f"{ADDRESS}:7400"], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
        self.now = {"up": 0, "ups": 0, "running": 0}
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.child.stdout:
            self.now = json.loads(line)

    def wait(self, what, limit_s):
        begun = time.monotonic()
        while not what(self.now):
            if time.monotonic() - begun > limit_s or self.child.poll() is not None:
                return None
            time.sleep(0.02)
        return round(time.monotonic() - begun, 2)


def start(data):
    return subprocess.Popen([SKERRY, "daemon", "--data", data, "--role", "net"],
                            stderr=open(os.path.join(data, "log"), "a", encoding="utf-8"))


def end_strays(data):
    """The ingress of a control node that was killed lives on, as it should; not beyond this run."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if data.encode() in f.read() and int(pid) != os.getpid():
                    os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass


def declaration(replicas):
    services = "".join(f"""  s{i}:
    command: ["/bin/sleep", "1000000"]
    deploy: {{replicas: {replicas // SERVICES}, resources: {{limits: {{cpus: "0.10", memory: 16M}}}}}}
""" for i in range(SERVICES))
    return f"name: many\nservices:\n{services}"


def apply(base, data, load, replicas, row):
    path = os.path.join(base, "many.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(declaration(replicas))
    begun = time.monotonic()
    done = subprocess.run([SKERRY, "apply", "--data", data, path], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"apply: {done.returncode}: {done.stderr[-300:]}")
    load.wait(lambda n: n["running"] >= replicas, 60)
    row["replicas"], row["running"] = replicas, load.now["running"]
    row["running_after_s"] = round(time.monotonic() - begun, 1)


def measure(count, seconds, replicas, row):
    base = tempfile.mkdtemp(prefix="skerry-agents.")
    data = os.path.join(base, "data")
    control = load = None
    try:
        subprocess.run([SKERRY, "init", "--data", data, "--site", "hub", "--node", "hub-1", "--address", ADDRESS, "--listen",
                        ADDRESS, "--lab"], check=True, capture_output=True)
        subprocess.run([AGENTS, "prepare", data, str(count), "20"], check=True)
        control = start(data)
        time.sleep(2)
        row["memory_before"] = memory_mb(control.pid)
        load = Load(data, count)
        row["first_connect_s"] = load.wait(lambda n: n["up"] >= count, 120)
        if replicas:
            apply(base, data, load, replicas, row)
        time.sleep(SETTLE_S)
        before, cpu, load_cpu, at = dict(load.now), cpu_s(control.pid), cpu_s(load.child.pid), time.monotonic()
        time.sleep(seconds)
        took, after = time.monotonic() - at, dict(load.now)
        row["cpu_percent"] = round(100 * (cpu_s(control.pid) - cpu) / took, 1)
        row["load_cpu_percent"] = round(100 * (cpu_s(load.child.pid) - load_cpu) / took, 1)
        row["seconds"] = round(took, 1)
        for what in ("beats", "datagrams", "answers", "assigns", "refused", "hurried"):
            row[f"{what}_a_second"] = round((after[what] - before[what]) / took, 1)
        row["up"] = after["up"]
        row["memory"] = memory_mb(control.pid)
        control.send_signal(signal.SIGKILL)
        control.wait()
        load.wait(lambda n: n["up"] == 0, 30)
        ups = load.now["ups"]
        resumed = load.now["resumed"]
        load_cpu = cpu_s(load.child.pid)
        control = start(data)
        row["cold_reconnect_s"] = load.wait(lambda n: n["up"] >= count, 120)
        row["cold_reconnect_cpu_s"] = {"control": cpu_s(control.pid), "load": round(cpu_s(load.child.pid) - load_cpu, 2)}
        row["cold_reconnect_resumed"] = load.now["resumed"] - resumed
        row["cold_reconnect_connections"] = load.now["ups"] - ups
    finally:
        for child in (load and load.child, control):
            if child and child.poll() is None:
                child.kill()
                child.wait()
        if os.environ.get("SKERRY_KEEP"):
            with open(os.path.join(data, "log"), encoding="utf-8") as f:
                print(f.read()[-3000:])
        end_strays(data)
        shutil.rmtree(base, ignore_errors=True)


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    row = {"format": "skerry.agents/1", **machine(), "agents": count}
    try:
        measure(count, seconds, int(sys.argv[3]) if len(sys.argv) > 3 else 0, row)
    except (OSError, subprocess.SubprocessError, RuntimeError) as e:
        row["failed"] = str(e)
    os.makedirs(EVIDENCE, exist_ok=True)
    with open(os.path.join(EVIDENCE, "agents.jsonl"), "a", encoding="utf-8") as f:
        f.write(json.dumps(row) + "\n")
    print(json.dumps(row))
    missed = row.get("first_connect_s") is None or row.get("cold_reconnect_s") is None
    return 1 if "failed" in row or missed else 0


sys.exit(main())

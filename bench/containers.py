# SPDX-License-Identifier: Apache-2.0
"""50 busybox containers on one machine: from the start of `skerry apply` to the moment when /v1/ps shows all healthy.

usage: containers.py [RUNS [REPLICAS]]. The clock is this program's; it polls the daemon's socket every 20 ms.
Memory is limited to 16M; cpus are reserved but not limited: with a limit of 0.02 cpus the kernel's own throttling (2 ms of every
100 ms) is what would be measured, in the container's start as in its check.
Also measured meanwhile: memory of the two halves and of each shim while the 50 run.
"""
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

import common

COMPOSE = """name: many
services:
  web:
    image: "oci:{layout}:web"
    stop_grace_period: 1s
    healthcheck: {{test: ["CMD", "busybox", "wget", "-qO-", "http://127.0.0.1:8000/healthz"], interval: 10s, timeout: 2s}}
    deploy:
      replicas: {replicas}
      resources: {{limits: {{memory: 16M}}, reservations: {{cpus: "0.02"}}}}
"""


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


def ps(conn):
    conn.request("GET", "/v1/ps")
    return json.loads(conn.getresponse().read())["instances"]


def groups(space):
    """Who is what of the daemon's processes."""
    found = {"net": [], "agent": [], "shim": [], "engine": [], "workload": []}
    for pid in space.pids_inside():
        argv = common.command_of(pid)
        if not argv:
            continue
        name = os.path.basename(argv[0])
        if "--role" in argv:
            found[argv[argv.index("--role") + 1]].append(pid)
        elif name == "skerry-shim":
            found["shim"].append(pid)
        elif name == "haproxy":
            found["engine"].append(pid)
        elif name == "busybox":
            found["workload"].append(pid)
    return {k: [m for m in map(common.memory_kb, v) if m] for k, v in found.items()}


def once(layout, replicas, seconds=120):
    space = common.Space()
    env = dict(os.environ, SKERRY_DATA=space.dir + "/data")
    try:
        space.fresh_disk()
        subprocess.run(space.argv(common.SKERRY, "init", "--site", "here", "--node", "one", "--address", "10.98.0.1",
                                  "--cpus", "16", "--memory", "8G", "--disk", "10G"),
                       env=env, check=True, capture_output=True)
        daemon = space.start(common.SKERRY, "daemon", "--data", space.dir + "/data")
        path = space.dir + "/data/run/api.sock"
        common.until(lambda: subprocess.run(space.argv(common.SKERRY, "status", "--json"), env=env, check=False,
                                            capture_output=True).returncode == 0, "the API answers", 20)
        sockets = [os.path.join(d, f) for d, _, names in os.walk(space.dir + "/data/run") for f in names if "api" in f]
        conn = Unix(sockets[0] if sockets else path)
        common.until(lambda: '"alive"' in common.out(*space.argv(common.SKERRY, "nodes", "--json"), env=env), "the node is alive", 20)
        time.sleep(1)
        idle = groups(space)
        with open(space.dir + "/compose.yaml", "w", encoding="utf-8") as f:
            f.write(COMPOSE.format(layout=layout, replicas=replicas))
        crowd = common.settle()
        start = time.monotonic()
        apply = subprocess.Popen(space.argv(common.SKERRY, "apply", space.dir + "/compose.yaml"), env=env,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        applied = first = None
        curve = []
        while True:
            rows = ps(conn)
            now = (time.monotonic() - start) * 1000
            healthy = sum(1 for r in rows if r["state"] == "running" and r["healthy"])
            if applied is None and apply.poll() is not None:
                applied = now
                if apply.returncode != 0:
                    raise RuntimeError("apply: " + apply.stdout.read())
            if healthy and first is None:
                first = now
            if not curve or curve[-1][1] != healthy:
                curve.append([round(now, 1), healthy])
            if healthy == replicas:
                break
            if now > seconds * 1000:
                raise RuntimeError(f"{healthy} of {replicas} after {seconds} s; {rows[:1]}")
            time.sleep(0.02)
        time.sleep(2)
        full = groups(space)
        log = open(space.dir + "/log", encoding="utf-8").read()
        stop = time.monotonic()
        with open(space.dir + "/none.yaml", "w", encoding="utf-8") as f:
            f.write("name: many\nservices: {}\n")
        subprocess.run(space.argv(common.SKERRY, "remove", "project", "many"), env=env, check=False, capture_output=True)
        try:
            common.until(lambda: not ps(conn), "all gone", 60, 0.02)
            removed = (time.monotonic() - stop) * 1000
        except RuntimeError:
            removed = None
        daemon.send_signal(signal.SIGTERM)
        return {"replicas": replicas, "busy_before": crowd, "apply_returned_ms": round(applied or 0, 1), "first_healthy_ms": round(first, 1),
                "all_healthy_ms": round(now, 1), "removed_ms": removed and round(removed, 1), "curve": curve,
                "memory_kb": {"idle": idle, "full": full}, "log_lines": log.count("\n")}
    except BaseException:
        sys.stderr.write(open(space.dir + "/log", encoding="utf-8").read()[-3000:])
        raise
    finally:
        space.end()


def main():
    common.need_root("containers")
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    replicas = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    host = common.machine()
    images = common.tempfile.mkdtemp(prefix="skerry-bench-images-", dir="/tmp")
    os.chmod(images, 0o755)
    try:
        common.out(os.path.join(common.ROOT, "examples/shop/make-images.sh"), "web", images)
        rows = []
        for i in range(runs):
            rows.append(once(images + "/layout", replicas))
            print(f"containers {i + 1}: {replicas} healthy after {rows[-1]['all_healthy_ms']:.0f} ms", flush=True)
    finally:
        common.shutil.rmtree(images, ignore_errors=True)
    common.save("containers", rows, machine=host)


main()

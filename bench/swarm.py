# SPDX-License-Identifier: Apache-2.0
"""Docker Swarm by hand: three managers in three network namespaces of this machine. usage: swarm.py [RUNS]

Each run is a new cluster: 6 and 50 tasks from `service create` until all run (Swarm's "running", which is less than our
"healthy"), then the loss of one node that does not lead with 6 replicas: until 6 run on the other two. Once by kill -9 of all
of the node's processes with Swarm's own heartbeat (5 s), once by its link going down with --dispatcher-heartbeat 1s.
Memory is summed over the daemons of one node while the 50 run. Needs Debian's docker.io (packaging/deps.sh bench).
"""
import http.client
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.parse

import common

DAEMON = """
umount /sys/fs/cgroup/unified 2>/dev/null
mkdir -p /run/docker && mount -t tmpfs none /run/docker || exit 1
echo 'nameserver 127.0.0.1' >"$1/resolv.conf" && mount --bind "$1/resolv.conf" /etc/resolv.conf || exit 1
exec dockerd --data-root "$1/data" --exec-root "$1/exec" -H "unix://$1/sock" --pidfile "$1/pid" --bridge=none --iptables=false \
    --storage-driver overlay2 --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent="/$2"
"""


class Socket(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("docker", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


class Node:
    def __init__(self, wire, number):
        self.address = f"10.97.0.{number}"
        self.space = common.Space(address=None)
        self.space.fresh_disk()
        self.cgroup = self.space.name
        name = f"n{number}"
        common.out("ip", "-n", wire.name, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", self.space.name)
        common.out("ip", "-n", wire.name, "link", "set", name, "master", "br0", "up")
        common.out("ip", "-n", self.space.name, "addr", "add", self.address + "/24", "dev", "eth0")
        common.out("ip", "-n", self.space.name, "link", "set", "eth0", "up")
        self.wire, self.port = wire, name
        self.sock = self.space.dir + "/sock"
        self.space.start("unshare", "-m", "--propagation", "private", "sh", "-c", DAEMON, "sh", self.space.dir, self.cgroup)

    def docker(self, *argv, timeout=60):
        return common.out("docker", "-H", "unix://" + self.sock, *argv, timeout=timeout)

    def get(self, path):
        conn = Socket(self.sock)
        try:
            conn.request("GET", path)
            return json.loads(conn.getresponse().read())
        finally:
            conn.close()

    def kill(self):
        for pid in self.space.pids_inside():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def link_down(self):
        common.out("ip", "-n", self.wire.name, "link", "set", self.port, "down")

    def daemons_kb(self):
        sums = {}
        for pid in self.space.pids_inside():
            name = os.path.basename((common.command_of(pid) or ["?"])[0])
            memory = common.memory_kb(pid)
            if memory and name in ("dockerd", "containerd", "containerd-shim-runc-v2"):
                row = sums.setdefault(name, {"count": 0, "rss": 0, "pss": 0, "private": 0})
                row["count"] += 1
                for key, value in memory.items():
                    row[key] += value
        return sums

    def end(self):
        self.space.end()
        for controller in os.listdir("/sys/fs/cgroup"):
            top = os.path.join("/sys/fs/cgroup", controller, self.cgroup)
            for folder, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    pass


def image(folder):
    """busybox-static alone, as a file for `docker import`."""
    os.makedirs(folder + "/root/bin")
    for name in ("busybox", "sleep"):
        shutil.copy(shutil.which("busybox"), folder + "/root/bin/" + name)
    common.out("tar", "-C", folder + "/root", "-cf", folder + "/busybox.tar", ".")
    return folder + "/busybox.tar"


def running(leader, service, without=None):
    filters = urllib.parse.quote(json.dumps({"service": {service: True}, "desired-state": {"running": True}}))
    return sum(1 for t in leader.get("/v1.41/tasks?filters=" + filters)
               if t["Status"]["State"] == "running" and t.get("NodeID") != without)


def create(leader, service, replicas):
    start = time.monotonic()
    leader.docker("service", "create", "--detach", "--no-resolve-image", "--name", service, "--replicas", str(replicas),
                  "--network", "host", "--restart-delay", "100ms", "skerry-bench:1", "/bin/sleep", "100000")
    common.until(lambda: running(leader, service) == replicas, f"{replicas} tasks run", 120, 0.02)
    return round((time.monotonic() - start) * 1000, 1)


def cluster(tar, heartbeat):
    wire = common.Space(address=None)
    common.out("ip", "-n", wire.name, "link", "add", "br0", "type", "bridge")
    common.out("ip", "-n", wire.name, "link", "set", "br0", "up")
    nodes = [Node(wire, i) for i in (1, 2, 3)]
    try:
        for node in nodes:
            common.until(lambda n=node: os.path.exists(n.sock) and common.try_out("docker", "-H", "unix://" + n.sock, "info", "-f", "{{.ID}}"),
                         "dockerd answers", 60, 0.2)
            node.docker("import", tar, "skerry-bench:1")
        more = ["--dispatcher-heartbeat", heartbeat] if heartbeat else []
        nodes[0].docker("swarm", "init", "--advertise-addr", nodes[0].address, *more)
        token = nodes[0].docker("swarm", "join-token", "-q", "manager").strip()
        for node in nodes[1:]:
            node.docker("swarm", "join", "--token", token, "--advertise-addr", node.address, nodes[0].address + ":2377")
        common.until(lambda: sum(n["Status"]["State"] == "ready" for n in nodes[0].get("/v1.41/nodes")) == 3, "three nodes ready", 60, 0.1)
    except BaseException:
        for node in nodes:
            sys.stderr.write(open(node.space.dir + "/log", encoding="utf-8").read()[-1500:])
        end(wire, nodes)
        raise
    return wire, nodes


def end(wire, nodes):
    for node in nodes:
        node.kill()
    for node in nodes:
        node.end()
    wire.end()


def failover(leader, lost, how):
    dead = lost.get("/v1.41/info")["Swarm"]["NodeID"]
    held = 6 - running(leader, "six", dead)
    start = time.monotonic()
    how()
    common.until(lambda: running(leader, "six", dead) == 6, "6 run elsewhere", 120, 0.05)
    return {"held": held, "failover_ms": round((time.monotonic() - start) * 1000, 1)}


def once(tar, how):
    wire, nodes = cluster(tar, None if how == "kill" else "1s")
    try:
        leader, lost = nodes[0], nodes[2]
        crowd = common.settle()
        row = {"how": how, "busy_before": crowd, "heartbeat": "5s" if how == "kill" else "1s", "six_running_ms": create(leader, "six", 6)}
        if how == "kill":
            row["fifty_running_ms"] = create(leader, "fifty", 50)
            row["node_memory_kb"] = leader.daemons_kb()
            row["fifty_removed_on_one_node_ms"] = remove_fifty(leader)
        row.update(failover(leader, lost, lost.kill if how == "kill" else lost.link_down))
        return row
    finally:
        end(wire, nodes)


def remove_fifty(leader):
    start = time.monotonic()
    leader.docker("service", "rm", "fifty")
    common.until(lambda: len(leader.get("/v1.41/containers/json")) <= 6, "fifty gone", 90, 0.05)
    return round((time.monotonic() - start) * 1000, 1)


def main():
    common.need_root("swarm")
    if not shutil.which("dockerd"):
        sys.exit("swarm: dockerd is missing; fix: packaging/deps.sh bench")
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    host = common.machine()
    had = os.path.isdir("/run/docker")
    os.makedirs("/run/docker", exist_ok=True)
    folder = tempfile.mkdtemp(prefix="skerry-bench-image-", dir="/tmp")
    rows = []
    try:
        tar = image(folder)
        for i in range(runs):
            for how in ("kill", "link"):
                rows.append(once(tar, how))
                print("swarm", i + 1, {k: v for k, v in rows[-1].items() if k != "node_memory_kb"}, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not had:
            os.rmdir("/run/docker")
        if rows:
            common.save("swarm", rows, machine=host, version=common.try_out("dockerd", "--version"))


main()

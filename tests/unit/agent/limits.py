# SPDX-License-Identifier: Apache-2.0
"""Limits of a running process as the kernel has them, under version 1 and version 2 of control groups."""
import os
import time

FILES = {"memory": ("memory.limit_in_bytes", "memory.max"), "cpu": ("cpu.cfs_quota_us", "cpu.max"), "pids": ("pids.max", "pids.max")}
# Fills what it may: as many children as it gets, then all of a processor.
GREEDY = "(for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do sleep 100 & done) 2>&1; echo filled; while :; do :; done"
LIMITS = {"deploy": {"resources": {"limits": {"memory": "24M", "cpus": "0.1", "pids": 8}}}}


def folder(pid, kind):
    """The group of the process for one controller, as a folder."""
    for line in open("/proc/%d/cgroup" % pid):
        _, names, path = line.rstrip("\n").split(":", 2)
        if kind in names.split(","):
            return "/sys/fs/cgroup/" + kind + path
        if not names and os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            return "/sys/fs/cgroup" + path
    raise AssertionError("no group for " + kind)


def limit(pid, kind):
    at = folder(pid, kind)
    for name in FILES[kind]:
        if os.path.exists(os.path.join(at, name)):
            return open(os.path.join(at, name)).read().split()[0]
    raise AssertionError("no limit in " + at)


def cpu_seconds(pid):
    fields = open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check(agent, iid, lines):
    """A running GREEDY with LIMITS: what is set, and that it holds."""
    pid = agent.shim_status(iid)["pid"]
    assert [limit(pid, "memory"), limit(pid, "cpu"), limit(pid, "pids")] == [str(24 << 20), "10000", "8"]
    assert any("fork" in line for line in lines), lines
    count = int(open(folder(pid, "pids") + "/pids.current").read())
    assert 4 <= count <= 8, count
    time.sleep(0.2)
    before = cpu_seconds(pid)
    time.sleep(1)
    used = cpu_seconds(pid) - before
    assert 0.01 <= used <= 0.25, used

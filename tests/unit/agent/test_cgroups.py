# SPDX-License-Identifier: Apache-2.0
"""Control groups: each agent has a level of its own, and leaves nothing on it. Root, and a cgroup that limits can be set in."""
import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import limits  # noqa: E402
from harness import *  # noqa: E402,F403

if os.geteuid() != 0:
    skip("control groups need root")
LIMITED = {"deploy": {"resources": {"limits": {"memory": "32M", "pids": 10}}}}


def limited():
    return exec_instance(["sleep", "100"], LIMITED)


def with_agents(function):
    def wrapped():
        agents = []
        try:
            for _ in range(2):
                agents.append(Agent())
            function(*agents)
        finally:
            for agent in agents:
                agent.close()
    wrapped.__name__ = function.__name__
    return wrapped


def started(agent):
    one = limited()
    agent.assign([one])
    seen = agent.wait_state(one["id"], "running", True)
    if seen.get("warning"):
        agent.close()
        skip(seen["warning"])
    return one


@with_agents
def test_level_of_its_own(a, b):
    """What one agent does leaves the groups of the other alone, whatever is in them."""
    one, two = started(a), started(b)
    pid = a.shim_status(one["id"])["pid"]
    assert limits.folder(pid, "pids").endswith("%s/%s" % (level_of(a.data), one["id"]))
    assert level_of(a.data) != level_of(b.data)
    for number in range(3):
        a.restart()
        a.wait_state(one["id"], "running", True)
        assert alive(b.shim_status(two["id"])["pid"]) and groups_of(b.data), number
    a.assign([])
    a.wait_state(one["id"], "exited")
    a.wait(lambda x: not levels_of(x.data), 5, "the level to go with its last instance")
    assert groups_of(b.data) and alive(b.shim_status(two["id"])["pid"])
    again = started(a)  # and it is made again for the next one
    assert groups_of(a.data), again


@with_agents
def test_leftovers(a, b):
    """Groups without an instance folder go at the next start; one with a process in it stays."""
    one, two = started(a), started(b)
    group = os.path.dirname(limits.folder(a.shim_status(one["id"])["pid"], "pids"))
    empty, busy = group + "/" + new_id(), group + "/" + new_id()
    others = os.path.dirname(limits.folder(b.shim_status(two["id"])["pid"], "pids")) + "/" + new_id()
    for path in (empty, busy, others):
        os.mkdir(path)
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        with open(busy + "/cgroup.procs", "w") as f:
            f.write(str(sleeper.pid))
        a.restart()
        a.wait_state(one["id"], "running", True)
        assert [os.path.exists(path) for path in (empty, busy, others)] == [False, True, True]
        assert alive(sleeper.pid) and alive(a.shim_status(one["id"])["pid"])
    finally:
        sleeper.kill()
        sleeper.wait()
    a.restart(signal.SIGTERM)
    a.wait_state(one["id"], "running", True)
    assert not os.path.exists(busy) and os.path.exists(group + "/" + one["id"])


@with_agents
def test_killed_with_its_work(a, b):
    """Agent, shim and program killed, the folder emptied: the next agent of that folder clears the groups away."""
    one = started(a)
    status = a.shim_status(one["id"])
    a.kill()
    for pid in (status["shim_pid"], status["pid"]):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(os.path.join(a.data, "agent"))
    assert groups_of(a.data)
    while alive(status["pid"]) or alive(status["shim_pid"]):
        time.sleep(0.01)
    a.start()
    assert not groups_of(a.data) and not levels_of(a.data)


@with_agents
def test_old_path(a, b):
    """An instance that an agent without levels started is adopted, and its group goes with it."""
    one = started(a)
    record = os.path.join(a.data, "agent/instances", one["id"], "instance.json")
    pid = a.shim_status(one["id"])["pid"]
    a.kill()
    now, old = limits.folder(pid, "pids"), "/sys/fs/cgroup/pids/skerry/" + one["id"]
    if not now.startswith("/sys/fs/cgroup/pids/"):
        old = "/sys/fs/cgroup/skerry/" + one["id"]
    os.mkdir(old)
    with open(old + "/cgroup.procs", "w") as f:
        f.write(str(pid))
    kept = json.load(open(record))
    assert kept.pop("cgroup") == level_of(a.data) + "/" + one["id"]
    json.dump(kept, open(record, "w"))
    a.start()
    a.wait_state(one["id"], "running", True)
    assert a.shim_status(one["id"])["pid"] == pid and os.path.exists(old)
    one["generation"] = 2
    a.assign([one])
    a.wait(lambda x: x.seen[one["id"]]["restarts"] == 1 and x.seen[one["id"]]["healthy"])
    assert not os.path.exists(old)
    assert limits.folder(a.shim_status(one["id"])["pid"], "pids").endswith(level_of(a.data) + "/" + one["id"])


run(globals())

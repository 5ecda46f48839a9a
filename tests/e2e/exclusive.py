#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Exclusive work never runs twice, whatever happens to its node, its agent, its control: by its own fsynced words.

The worker (exclusive_worker.py) appends a line with its epoch and the time of the machine's clock (all nodes are namespaces of
one machine) when it starts and every 40 ms. The rule: once a line of an epoch was written, no line of an older epoch is. Root only.
Wall clocks are stepped by a library (step_clock.c) that all of a node's processes load.
SKERRY_ROUNDS: how many trials (default: each fault once). SKERRY_FAULTS: their names, if not all.
"""
import json
import os
import signal
import sys
import time

from cluster import LAB, PYTHON, SKERRY, SLOW, Failed, alive, instance_pids, kill, main, wait_until
from cut import Lab

SITES = {"hub": ["hub-1"], "fra": ["fra-1", "fra-2"], "ams": ["ams-1"], "par": ["par-1"]}
WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exclusive_worker.py")
STEP_CLOCK = os.path.join(os.path.dirname(SKERRY), "tests/e2e/libstep_clock.so")


def declaration(words):
    return f"""name: x
services:
  worker:
    command: ["{PYTHON}", "{WORKER}", "{words}"]
    stop_grace_period: 1s
    deploy: {{replicas: 1, resources: {{limits: {{cpus: "0.20", memory: 64M}}}}}}
    x-skerry: {{exclusive: true, survive: {{sites: 1}}}}
"""


class Words:
    """What the workers wrote, read on from where the last reading ended."""

    def __init__(self, path):
        self.path, self.at, self.lines, self.broken = path, 0, [], []
        self.newest = {"t": 0, "epoch": 0, "node": None, "pid": 0}

    def read(self):
        try:
            with open(self.path, "rb") as f:
                f.seek(self.at)
                data = f.read()
        except OSError:
            return self.newest
        data = data[:data.rfind(b"\n") + 1]
        self.at += len(data)
        for line in map(json.loads, data.splitlines()):
            newest = self.newest
            if line["epoch"] < newest["epoch"] or (line["what"] == "start" and line["epoch"] == newest["epoch"]):
                self.broken.append((newest, line))
            else:
                self.newest = line
            self.lines.append(line)
        return self.newest

    def first_of(self, epoch):
        return next(x for x in self.lines if x["epoch"] == epoch)


class Trial:
    def __init__(self, c, words):
        self.c, self.words = c, words
        self.was = dict(words.read())
        self.node = c.nodes[self.was["node"]]
        base = os.path.join(self.node.data, "agent/instances")
        self.pids = [p for p in (instance_pids(os.path.join(base, i)) for i in os.listdir(base)) if p]

    def higher_epoch(self, seconds):
        """Waits for the next epoch; milliseconds from the fault to its first line, and where that is."""
        began = time.monotonic_ns()
        new = wait_until("a higher epoch", lambda: self.words.read()["epoch"] > self.was["epoch"] and self.words.newest, seconds)
        first = self.words.first_of(new["epoch"])
        return (first["t"] - began) / 1e6 if first["t"] > began else 0.0, first["node"]

    def everything(self):
        """Every process of the holder's node: halves, front, shim, work."""
        return [p for p in (self.node.pid, self.node.half("net"), self.node.half("agent")) if p] + [
            pids[k][0] for pids in self.pids for k in ("shim", "main")]


def cut(t):
    t.c.do("cut", t.node.site)
    got = t.higher_epoch(12)
    time.sleep(1)
    t.c.do("heal", t.node.site)
    return got


def blink(t):
    """A cut that is over before the lease is: nobody notices."""
    t.c.do("cut", t.node.site)
    time.sleep(1.3)
    t.c.do("heal", t.node.site)
    return quick(t)


def node_dies(t):
    pids = t.everything()
    for pid in pids:
        kill(pid)
    got = t.higher_epoch(12)
    t.node.pid = None
    t.node.halves_gone()
    t.node.start()
    return got


def machine_pauses(t):
    """All of the node stands still. When it wakes, its shim comes first: what else could happen is why there are epochs."""
    pids = t.everything()
    for pid in pids:
        kill(pid, signal.SIGSTOP)
    got = t.higher_epoch(12)
    for p in t.pids:
        kill(p["shim"][0], signal.SIGCONT)
    wait_until("the woken shim ends its work", lambda: not any(alive(p["main"][0]) for p in t.pids), 2)
    for pid in pids:
        kill(pid, signal.SIGCONT)
    return got


def agent_stops(t):
    """Nobody renews: the shim ends the work by itself. The node lives, so the work waits for its agent."""
    agent = t.node.half("agent")
    kill(agent, signal.SIGSTOP)
    began = time.monotonic()
    wait_until("its shim ends it", lambda: not any(alive(p["main"][0]) for p in t.pids), 6)
    ended = time.monotonic() - began
    if ended > 3.5 * SLOW:
        raise Failed(f"ended after {ended:.1f} s only")
    kill(agent, signal.SIGCONT)
    return t.higher_epoch(12)


def agent_killed(t):
    kill(t.node.half("agent"))
    return quick(t)


def skerryd_killed(t):
    kill(t.node.half("net"))
    return quick(t)


def control_killed(t):
    t.c.hub.stop(9)
    t.c.hub.halves_gone()
    t.c.hub.start()
    got = quick(t)
    wait_until("the API answers", lambda: t.c.cli("status")[0] == 0, 20)
    return got


def quick(t):
    """Back soon enough or not: either it goes on under its epoch, or under a higher one."""
    began = time.monotonic_ns()
    wait_until("it runs 5 s later", lambda: t.words.read()["t"] > began + 5_000_000_000, 25)
    return 0.0, t.words.newest["node"]


def clock_of(node):
    return node.data + ".clock"


def set_clock(node, seconds):
    """Its wall clock is so far ahead of the machine's from now on."""
    with open(clock_of(node) + ".new", "w", encoding="utf-8") as f:
        f.write(str(seconds))
    os.rename(clock_of(node) + ".new", clock_of(node))


def steps(t, node):
    """An hour ahead, ten minutes back, right again: leases go by another clock, so nobody notices."""
    for seconds in (3600, -600, 0):
        set_clock(node, seconds)
        got = quick(t)
    return got


def clock_steps(t):
    return steps(t, t.node)


def control_clock_steps(t):
    return steps(t, t.c.hub)


FAULTS = [cut, blink, node_dies, machine_pauses, agent_stops, agent_killed, skerryd_killed, control_killed, clock_steps, control_clock_steps]
UNNOTICED = (blink, clock_steps, control_clock_steps)


class StepLab(Lab):
    """A lab whose nodes have each a wall clock of their own."""

    def new_node(self, name, site):
        node = super().new_node(name, site)
        set_clock(node, 0)
        node.prefix_argv += ["/usr/bin/env", f"LD_PRELOAD={STEP_CLOCK}", f"SKERRY_TEST_CLOCK={clock_of(node)}"]
        return node


def whole(c):
    return {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"} and not c.get("status")["sites_lost"]


def exclusive(r):
    if os.geteuid() != 0 or not os.access(LAB, os.X_OK):
        print("needs root, for network namespaces")
        sys.exit(77)
    names = os.environ.get("SKERRY_FAULTS", " ".join(f.__name__ for f in FAULTS)).split()
    faults = [f for f in FAULTS if f.__name__ in names]
    trials = int(os.environ.get("SKERRY_ROUNDS", str(len(faults))))
    moved = []
    with StepLab() as c:
        c.start()
        words = Words(os.path.join(c.dir, "words"))
        c.apply_ok(c.file("x.yaml", declaration(words.path)))
        wait_until("it runs", lambda: words.read()["epoch"] > 0, 20)
        r.equal("its first epoch", words.newest["epoch"], 1)
        for k in range(trials):
            fault = faults[k % len(faults)]
            wait_until("all nodes are there", lambda: whole(c), 40)
            mark = time.monotonic_ns()
            wait_until("it runs", lambda: words.read()["t"] > mark, 20)
            t = Trial(c, words)
            took, where = fault(t)
            words.read()
            print(f"trial {k + 1} {fault.__name__}: epoch {t.was['epoch']} on {t.was['node']} -> {words.newest['epoch']} on {where}"
                  + (f", {took:.0f} ms" if took else ""), flush=True)
            if fault in (cut, node_dies, machine_pauses):
                moved.append(took)
                r.check(f"{fault.__name__}: it runs elsewhere", where != t.was["node"], where)
                r.check(f"{fault.__name__}: within 4 s", took < 4000 * SLOW, took)
            if fault in UNNOTICED:
                r.equal(f"{fault.__name__}: the same run goes on", words.newest["epoch"], t.was["epoch"])
            if not r.check(f"trial {k + 1}, {fault.__name__}: never two at a time", not words.broken, words.broken):
                break
        time.sleep(1)
        words.read()
        r.equal("never two at a time", words.broken, [])
        r.check("each start under a new epoch", len({x["epoch"] for x in words.lines}) ==
                len([x for x in words.lines if x["what"] == "start"]))
        if moved:
            moved.sort()
            print(f"{trials} trials, {len(words.lines)} lines, {words.newest['epoch']} epochs, moved {len(moved)} times: median "
                  f"{moved[len(moved) // 2]:.0f} ms, most {moved[-1]:.0f} ms; twice at a time: 0 of {trials} "
                  f"(below {300 / trials:.1f} % with 95 % confidence)", flush=True)
        c.failed = bool(r.failures)


if __name__ == "__main__":
    main(exclusive)

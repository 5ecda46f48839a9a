#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`skerry control replace`: of a control node that lives, of the one that leads, of one whose server is gone for good.

Somebody writes all the while; work goes on untouched. Afterwards three control nodes are in order and each knows where the
state is; one more may be lost; all may be switched off and on; the dead one returns and is none any more. Then five, then one,
under load. Root, etcd.
"""
import os
import time

from asker import Asker
from cluster import SLOW, Failed, in_turn, main, wait_until
from exclusive import Words
from several import Several, Writer, doors, or_skip, work

SITES = {"fra": ["fra-1"], "ams": ["ams-1"], "par": ["par-1"], "lon": ["lon-1"], "waw": ["waw-1"]}


def ended(c, name):
    """Nothing of a control node is left there."""
    folder = os.path.join(c.nodes[name].data, "control")
    return not os.path.exists(folder) or not os.listdir(folder)


def swap(c, r, what, gone, fresh, members, at):
    """One living control node gives its seat to another node, while somebody writes."""
    before, events = c.workloads(), c.words.read()["epoch"]
    writer = Writer(c, [m for m in members if m != fresh], "waw-1")
    writer.start()
    began = time.monotonic()
    out = c.local(c.nodes[at], "control", "replace", gone, "--with", fresh, timeout=120)
    took = time.monotonic() - began
    r.check(f"{what}: done", out[0] == 0, out)
    c.sound(r, what, members)
    writer.end()
    print(f"   {what}: {took:.1f} s, {writer.acked} writes, longest pause {writer.longest:.1f} s, refused {writer.refused[:2]}", flush=True)
    r.check(f"{what}: it was written meanwhile", writer.acked > 3, writer.refused)
    r.equal(f"{what}: nothing acknowledged is lost", {m: writer.lost(m) for m in members}, {m: 0 for m in members})
    wait_until(f"{what}: nothing of it is left on {gone}", lambda: ended(c, gone), 20)
    r.equal(f"{what}: no work was touched", c.workloads(), before)
    r.equal(f"{what}: the worker keeps its epoch", c.words.read()["epoch"], events)
    c.hub = c.nodes[members[0]]
    r.equal(f"{what}: nobody was judged lost", [e["text"] for e in c.get("events")["events"] if e["what"] in
                                               ("node_lost", "site_lost", "failover")], [])


def standby(c, r):
    swap(c, r, "a standby that lives", "ams-1", "lon-1", ["fra-1", "par-1", "lon-1"], "fra-1")


def leader(c, r):
    r.equal("it leads", c.leads("fra-1"), "fra-1")
    swap(c, r, "the leader", "fra-1", "ams-1", ["ams-1", "par-1", "lon-1"], "fra-1")


def refused(c, r):
    """What cannot be is said in one line, and nothing is begun."""
    for what, args, status, words in (
            ("a node that is none", ("fra-1",), 1, "none of several"), ("a node that is not there", ("nobody",), 1, "none of several"),
            ("by itself", ("par-1", "--with", "lon-1"), 1, "already"), ("by nobody", ("par-1", "--with", "nobody"), 1, "no node")):
        code, _, err = c.cli("control", "replace", *args)
        r.check(f"refused: {what}", code == status and words in err and len(err.strip().split("\n")) <= 2, (code, err))
    r.equal("refused: nothing is under way", c.get("control", "status")["operation"], None)


def gone(c, r):
    """The server of a control node is gone for good."""
    c.die("par-1")
    wait_until("par-1 is lost", lambda: {n["node"]: n["state"] for n in c.get("nodes")["nodes"]}["par-1"] == "lost", 15)
    writer = Writer(c, ["ams-1", "lon-1"], "waw-1")
    writer.start()
    began = time.monotonic()
    code, out, err = c.cli("control", "replace", "par-1", timeout=150)
    r.check("a dead one is replaced", code == 0, (code, out, err))
    took = time.monotonic() - began
    others = sorted({m["node"] for m in c.get("control", "status")["members"]} - {"ams-1", "lon-1"})
    r.check("by one of a site that has none", others and others[0] in ("fra-1", "waw-1"), others)
    c.members = ["ams-1", "lon-1", others[0]]
    c.sound(r, "a dead one", c.members)
    writer.end()
    r.equal("a dead one: nothing acknowledged is lost", {m: writer.lost(m) for m in c.members}, {m: 0 for m in c.members})
    c.writer = writer
    print(f"   a dead one: {took:.1f} s, by {others[0]}; {writer.acked} writes, longest pause {writer.longest:.1f} s", flush=True)


def one_more(c, r):
    """The three that are left outlive the loss of one: the one that leads."""
    first = c.leader(c.members)
    left = [m for m in c.members if m != first]
    c.die(first)
    began = time.monotonic()
    wait_until("a write at another one", lambda: c.local(c.nodes[left[0]], "node", "set", "waw-1", "--label", "more=1", timeout=20)[0] == 0, 30)
    took = time.monotonic() - began
    r.check("one more is lost: writes again", took < 10 * SLOW, took)
    r.check("another one leads", c.leader(left) in left, first)
    c.back(first)
    c.hub = c.nodes[left[0]]
    c.sound(r, "back again", c.members)
    print(f"   {first} killed: a write after {took:.1f} s", flush=True)


def off_and_on(c, r):
    """All servers but the one that is gone are switched off and on."""
    names = [n for n in c.nodes if n != "par-1"]
    for name in names:
        c.do("kill", name)
        c.nodes[name].pid = None
    for name in names:
        c.nodes[name].halves_gone()
        c.nodes[name].start()
    began = time.monotonic()
    wait_until("one leads again", lambda: c.leader(c.members), 40, 0.2)
    c.sound(r, "off and on", c.members)
    r.equal("off and on: nothing acknowledged is lost", {m: c.writer.lost(m) for m in c.members}, {m: 0 for m in c.members})
    mark = time.monotonic_ns()
    wait_until("off and on: the worker runs", lambda: c.words.read()["t"] > mark, 30)
    r.check("never two workers at a time", not c.words.broken, c.words.broken)
    print(f"   off and on: in order after {time.monotonic() - began:.1f} s", flush=True)


def own_member_lost(c, r):
    """A control node whose member of etcd cannot start reads the state from the others: those of today."""
    name = next(m for m in c.members if m != c.leader(c.members))
    node = c.nodes[name]
    node.stop()
    node.halves_gone()
    data = os.path.join(node.data, "control/etcd/data")
    os.rename(data, data + ".aside")
    with open(data, "w", encoding="utf-8") as f:
        f.write("no folder")
    node.start()
    wait_until(f"{name} answers without a member of its own", lambda: c.leads(name), 30, 0.2)
    wait_until("its member is told as away", lambda: [m["node"] for m in (c.ask(name, "control", "status") or {"members": []})["members"]
                                                      if not m["etcd"]["ok"]] == [name], 20, 0.3)
    node.stop()
    node.halves_gone()
    os.remove(data)
    os.rename(data + ".aside", data)
    node.start()
    c.sound(r, "its member is back", c.members)


def returns(c, r):
    """The server that was given up comes back: it is a node, and no control node."""
    c.back("par-1")
    wait_until("it is a node again", lambda: {n["node"]: n["state"] for n in c.get("nodes")["nodes"]}["par-1"] == "alive", 60)
    wait_until("nothing of a control node is left there", lambda: ended(c, "par-1"), 40)
    c.sound(r, "the dead one is back", c.members)
    code, _, err = c.local(c.nodes["par-1"], "control", "status")
    r.check("it says that it decides nothing", code != 0, err)


def five(c, r):
    """Five of them, of which two may be lost; then one, of which none may be: users and writers go on."""
    wait_until("all nodes are there", lambda: c.whole(c.members[0]), 30)
    c.hub = c.nodes[c.leader(c.members)]
    before, epoch = c.workloads(), c.words.read()["epoch"]
    everybody = sorted(c.nodes)
    writer = Writer(c, everybody, "waw-1")
    with Asker(c.nodes["waw-1"], doors(c, "waw-1"), 50) as load:
        writer.start()
        began = time.monotonic()
        out = c.local(c.hub, "control", "grow", "--members", "5", timeout=150)
        r.check("five: grown", out[0] == 0, out)
        took = time.monotonic() - began
        c.sound(r, "five", everybody)
        to = next(n for n in everybody if n != c.leader(everybody))
        began = time.monotonic()
        out = c.local(c.nodes[to], "control", "shrink", "--to", to, timeout=150)
        r.check("one: shrunk", out[0] == 0, out)
        print(f"   five after {took:.1f} s, {to} alone after {time.monotonic() - began:.1f} s", flush=True)
        c.hub = c.nodes[to]
        got = c.get("control", "status")
        r.equal("one: where it was wanted", (got["store"], [m["node"] for m in got["members"]], got["leader"]["node"]), ("sqlite", [to], to))
        for name in everybody:
            if name != to:
                wait_until(f"nothing of a control node is left on {name}", lambda n=name: ended(c, n), 30)
        wait_until("one: its key is a file again", lambda: c.get("control", "status")["keys"]["form"] == "file", 20)
        writer.end()
    print(f"   {load.count} requests, {writer.acked} writes, longest pause {writer.longest:.1f} s, refused {writer.refused[:3]}", flush=True)
    r.equal("five, one: no request failed", (load.failed, load.count > 100), ([], True))
    r.check("five, one: it was written meanwhile", writer.acked > 5, writer.refused)
    r.equal("five, one: nothing acknowledged is lost", writer.lost(to), 0)
    r.equal("five, one: no work was touched", c.workloads(), before)
    r.equal("five, one: the worker keeps its epoch", c.words.read()["epoch"], epoch)
    r.check("never two workers at a time", not c.words.broken, c.words.broken)


def replace(r):
    or_skip()
    with Several(SITES) as c:
        try:
            c.begin("fra-1", "ams-1", "par-1")
            c.words = Words(os.path.join(c.dir, "words"))
            c.apply_ok(c.file("shop.yaml", work(c.words.path)))
            wait_until("the worker runs", lambda: c.words.read()["epoch"] > 0, 20)
        except Failed:
            c.failed = True
            raise
        in_turn((standby, leader, refused, gone, one_more, off_and_on, own_member_lost, returns, five), c, r)


if __name__ == "__main__":
    main(replace)

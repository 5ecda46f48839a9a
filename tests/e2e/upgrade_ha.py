#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Versions N and N+1 side by side where three control nodes decide: one after the other goes to N+1 and back.

Under load, while somebody writes: no work is restarted, no request fails, nobody is judged lost, nothing acknowledged is lost. Whoever
leads, what N+1 wrote into a record is still there after N rewrote it; a control node is replaced while both versions lead in turn.
SKERRY_NEXT is the program of N+1 (build/tests/next/skerry). Root, etcd.
"""
import json
import os
import shutil
import sys
import time

from asker import Asker
from cluster import SKERRY, Failed, in_turn, main, wait_until
from exclusive import Words
from several import Several, Writer, doors, or_skip, work

NEXT = os.environ.get("SKERRY_NEXT", "")
SITES = {"fra": ["fra-1"], "ams": ["ams-1"], "par": ["par-1"], "lon": ["lon-1"]}
MEMBER = '"next_version":'


def to(c, r, name, binary, members):
    """What a package does: the server's daemon ends, the new one starts on the same data folder. Until all are in order."""
    node, before = c.nodes[name], c.workloads()
    began = time.monotonic()
    node.stop()
    node.halves_gone()
    node.binary = binary
    node.start()
    what = f"{name} {'to N+1' if binary == NEXT else 'to N'}"

    def back():
        why = c.healthy(members)
        got = c.ask(members[0], "nodes")
        mine = [n for n in got["nodes"] if n["node"] == name] if got else []
        return c.note(why or mine) if why or not mine or mine[0]["version"].endswith("-next") != (binary == NEXT) or \
            {n["state"] for n in got["nodes"]} != {"alive"} else True
    try:
        wait_until(f"{what}: all in order", back, 40, 0.2)
    except Failed:
        r.check(f"{what}: all in order", False, c.why)
    c.took.append(time.monotonic() - began)
    r.equal(f"{what}: nothing was restarted", c.workloads(), before)
    return what


def led_by(c, r, binary, members):
    """Until a server of this version leads: one that does not is started again, as it was. Which of the other two then leads is
    chance where one of them is of this version: twelve tries all fail once in 4,096 times."""
    for _ in range(12):
        now = wait_until("one leads", lambda: c.leader(members), 20)
        if c.nodes[now].binary == binary:
            return now
        to(c, r, now, c.nodes[now].binary, members)
    raise Failed(f"no server of {binary} leads")


def record(c, name, key):
    """A record as it stands in etcd."""
    code, out = c.etcdctl(name, "get", "--print-value-only", "/skerry/meta")
    ident = json.loads(out)["id"] if code == 0 else ""
    return c.etcdctl(name, "get", "--print-value-only", f"/skerry/{ident}/skerry/v1/{key}")[1]


def set_at(c, r, what, members, value):
    """Whichever control node is asked: the leader writes it."""
    for name in members:
        code, _, err = c.local(c.nodes[name], "node", "set", name, "--price-hour", value)
        r.check(f"{what}: node set at {name}", code == 0, err)


def there(c, r):
    """The leader last; then both versions lead in turn."""
    first = c.leader(c.members)
    order = [n for n in c.members if n != first] + [first]
    to(c, r, order[0], NEXT, c.members)
    led_by(c, r, SKERRY, c.members)
    set_at(c, r, "N leads, one is N+1", c.members, "0.05")
    to(c, r, order[1], NEXT, c.members)
    led_by(c, r, NEXT, c.members)
    set_at(c, r, "N+1 leads, one is N", c.members, "0.06")
    for name in c.members:
        r.check(f"N+1 writes more into nodes/{name}", MEMBER in record(c, name, f"nodes/{name}"), record(c, name, f"nodes/{name}"))
    old = next(n for n in c.members if c.nodes[n].binary == SKERRY)
    code, _, err = c.local(c.nodes[old], "status")
    r.check("a standby of N answers under N+1", code == 0, err)
    led_by(c, r, SKERRY, c.members)
    set_at(c, r, "N leads again", c.members, "0.07")
    for name in c.members:
        r.check(f"N rewrote nodes/{name} and kept it", MEMBER in record(c, name, f"nodes/{name}") and
                "0.07" in record(c, name, f"nodes/{name}"), record(c, name, f"nodes/{name}"))
    to(c, r, old, NEXT, c.members)


def seats(c, r):
    """A control node is replaced while N+1 leads by one of N, and the other way round."""
    at = led_by(c, r, NEXT, c.members)
    gone = next(n for n in c.members if n != at)
    before = c.workloads()
    c.control("replace", gone, "--with", "lon-1", at=c.nodes[at])
    c.members = [n for n in c.members if n != gone] + ["lon-1"]
    c.sound(r, "replaced under N+1 by one of N", c.members)
    r.check("N+1 writes more into the record of the control nodes", MEMBER in record(c, at, "control"), record(c, at, "control"))
    at = led_by(c, r, SKERRY, c.members)
    c.control("replace", at, "--with", gone, at=c.nodes[at])
    c.members = [n for n in c.members if n != at] + [gone]
    c.sound(r, "the leader of N replaced by one of N+1", c.members)
    r.check("N kept it", MEMBER in record(c, c.members[0], "control"), record(c, c.members[0], "control"))
    r.equal("replaced: nothing was restarted", c.workloads(), before)


def back(c, r):
    """The leader first."""
    first = c.leader(c.members)
    for name in [first] + [n for n in c.members if n != first]:
        to(c, r, name, SKERRY, c.members)
    set_at(c, r, "all are N again", c.members, "0.08")
    for name in c.members:
        if name != "lon-1":
            r.check(f"N kept it in nodes/{name}", MEMBER in record(c, name, f"nodes/{name}"), record(c, name, f"nodes/{name}"))


def upgrade(r):
    or_skip()
    if not os.access(NEXT, os.X_OK) or not shutil.which("etcdctl"):
        print("skipped: needs SKERRY_NEXT and etcdctl; apt-get install etcd-client")
        sys.exit(77)
    with Several(SITES) as c:
        try:
            c.begin("fra-1", "ams-1", "par-1")
            c.words, c.took, c.members = Words(os.path.join(c.dir, "words")), [], ["fra-1", "ams-1", "par-1"]
            c.apply_ok(c.file("shop.yaml", work(c.words.path, 4)))
            wait_until("the worker runs", lambda: c.words.read()["epoch"] > 0, 20)
            wait_until("all are in order", lambda: not c.healthy(c.members), 40, 0.2)
        except Failed:
            c.failed = True
            raise
        epoch = c.words.read()["epoch"]
        writer = Writer(c, sorted(c.nodes), "lon-1")
        with Asker(c.nodes["lon-1"], doors(c, "lon-1"), 50) as load:
            writer.start()
            in_turn((there, seats, back), c, r)
            writer.end()
        print(f"   a server is back after {sorted(c.took)[len(c.took) // 2]:.1f} s (median), {max(c.took):.1f} s (most); {load.count} requests, "
              f"{writer.acked} writes, longest pause {writer.longest:.1f} s", flush=True)
        r.equal("no request failed", (load.failed, load.count > 500), ([], True))
        r.equal("nothing acknowledged is lost", writer.lost(c.members[0]), 0)
        r.equal("the worker keeps its epoch", (c.words.read()["epoch"], c.words.broken), (epoch, []))
        c.hub = c.nodes[c.members[0]]
        r.equal("nobody was judged lost", [e["text"] for e in c.get("events")["events"] if e["what"] in
                                           ("node_lost", "site_lost", "failover")], [])
        c.failed = bool(r.failures)


if __name__ == "__main__":
    main(upgrade)

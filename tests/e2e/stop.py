#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The ends of a daemon: a clean stop says nothing of trouble, a second signal spoils nothing, and what a node must know while
control is away it knows again after a restart."""
import hashlib
import json
import os
import signal
import socket
import sqlite3
import struct
import time

from bad import HELLO, frame, say
from cluster import SLOW, Cluster, kill, in_turn, main, wait_until
from vault import secret

SLEEPERS = """name: s
services:
  job:
    command: ["/bin/sleep", "1000000"]
    stop_grace_period: 1s
    deploy: {replicas: 2, resources: {limits: {cpus: "0.10", memory: 16M}}}
"""
OF_THE_HOST = ("runs as nobody", "limits are not enforced")  # warnings of a start that are this machine's


def parent(pid):
    with open(f"/proc/{pid}/stat", "rb") as f:
        stat = f.read()
    return int(stat[stat.rindex(b")") + 2:].split()[1])


def start_told(c, node):
    """Starts the daemon so that its exit status ends up in its log; returns its pid."""
    open(node.log, "w", encoding="utf-8").close()
    node.prefix_argv, kept = ["/bin/sh", "-c", '"$@"; echo "exit status $?"', "sh"], node.prefix_argv
    node.start()
    node.prefix_argv = kept
    node.ready()
    return parent(node.half("net"))


def ended(r, name, node, seconds):
    at = time.monotonic()
    wait_until(f"{name}: it ends", lambda: "exit status" in node.log_text(), seconds)
    took = time.monotonic() - at
    text = node.log_text()
    r.check(f"{name}: status 0", "exit status 0" in text, text[-500:])
    lines = text.splitlines()
    r.equal(f"{name}: no warning, no error", [line for line in lines if line[:3] in ("<0>", "<1>", "<2>", "<3>", "<4>") and
                                              not any(known in line for known in OF_THE_HOST)], [])
    r.equal(f"{name}: both halves stopped", sorted(line.split()[2] for line in lines if "half stopped" in line),
            ["role=agent", "role=net"])
    node.halves_gone()
    return took


def clean(c, r):
    c.apply_ok(c.file("s.yaml", SLEEPERS))
    c.settled({"job": 2})
    before = c.workloads()
    for node in (c.nodes["fra-1"], c.hub):
        node.stop()
        for name, strike in (
                ("SIGTERM", lambda main_pid, halves: kill(main_pid, signal.SIGTERM)),
                ("SIGINT", lambda main_pid, halves: kill(main_pid, signal.SIGINT)),
                ("the second signal", twice),
                ("a signal to all three, twice", to_all)):
            name = f"{node.name}, {name}"
            main_pid = start_told(c, node)
            if node is c.hub:
                wait_until("the API answers", lambda: c.cli("status")[0] == 0)
            else:
                wait_until("connected", lambda: "control connected" in node.log_text())
            strike(main_pid, (node.half("net"), node.half("agent")))
            took = ended(r, name, node, 15)
            r.check(f"{name}: soon", took < 5 * SLOW, took)
            r.equal(f"{name}: what runs goes on", c.workloads(), before)
        node.start()
    wait_until("all is well again", lambda: c.cli("status")[0] == 0 and
               {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 30)
    c.settled({"job": 2})
    r.equal("after all that nothing was started anew", c.workloads(), before)


def twice(main_pid, halves):
    kill(main_pid, signal.SIGTERM)
    time.sleep(0.02)
    kill(main_pid, signal.SIGTERM)
    kill(main_pid, signal.SIGINT)


def to_all(main_pid, halves):
    """What a terminal does at ^C, and a service manager that signals the whole group."""
    for number in (signal.SIGINT, signal.SIGTERM):
        for pid in (main_pid, *halves):
            kill(pid, number)


def stuck(c, r):
    """A half that does not end is killed after 10 s, and that is said."""
    node = c.nodes["fra-1"]
    node.stop()
    main_pid = start_told(c, node)
    kill(node.half("agent"), signal.SIGSTOP)
    at = time.monotonic()
    kill(main_pid, signal.SIGTERM)
    wait_until("it ends all the same", lambda: "exit status" in node.log_text(), 20)
    took = time.monotonic() - at
    r.check("a half that hangs: killed after 10 s", 9 < took < 13 * SLOW, took)
    r.check("a half that hangs: is said", "half did not stop cleanly" in node.log_text() and "role=agent signal=9" in node.log_text(),
            node.log_text())
    node.start()
    wait_until("it is back", lambda: {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 30)


def echoed(node, key, asker):
    """Whether the node answers a probe that is made with this key."""
    ident = lambda name: hashlib.sha256(name.encode()).digest()[:8]
    nonce = os.urandom(8)
    head = (b"skp1" + b"\x01\0\0\0" + nonce + struct.pack(">Q", 1) + ident(asker) + ident(node.name) + bytes(8))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.settimeout(0.5 * SLOW)
        sock.sendto(head + hashlib.blake2b(head, digest_size=16, key=key).digest(), (node.address, 7401))
        answer = sock.recv(100)
        return len(answer) == 64 and answer[4] == 2 and answer[8:16] == nonce
    except OSError:
        return False
    finally:
        sock.close()


def probe_key(c, r):
    node = c.nodes["fra-1"]
    key = bytes.fromhex(secret(c.hub.data, "probe.key").decode())
    path = os.path.join(node.data, "identity/probe.key")
    r.check("a probe with the key is answered", wait_until("an echo", lambda: echoed(node, key, "hub-1"), 10))
    r.check("one with another key is not", not echoed(node, os.urandom(32), "hub-1"))
    r.equal("the key is kept, for its user alone", os.stat(path).st_mode & 0o777, 0o600)
    c.hub.stop(signal.SIGKILL)
    c.hub.halves_gone()
    node.stop()
    r.check("a node that is down answers nothing", not echoed(node, key, "hub-1"))
    node.start()
    node.ready()
    r.check("started again without control: still answered", wait_until("an echo", lambda: echoed(node, key, "hub-1"), 10))
    r.check("and one with another key is not", not echoed(node, os.urandom(32), "hub-1"))
    node.stop()
    os.unlink(path)
    node.start()
    node.ready()
    time.sleep(0.5)
    r.check("it is the kept key that does it", not echoed(node, key, "hub-1"))
    c.hub.start()
    wait_until("control brings it again", lambda: echoed(node, key, "hub-1"), 20)
    r.check("and it is kept again", os.path.exists(path))


def unheard(c, r):
    """Probes that do not pass, as behind a firewall: the node listens at another port than the one that is asked."""
    node = c.nodes["fra-1"]
    path = os.path.join(node.data, "node.json")
    with open(path, encoding="utf-8") as f:
        whole = f.read()
    config = json.loads(whole)
    r.equal("probes pass: nothing is said", [c.get("status")["probes_unheard"], config["probe_port"]], [[], 7401])
    for port, want in ((7499, 1), (7401, 0)):
        node.stop()
        with open(path, "w", encoding="utf-8") as f:
            json.dump(dict(config, probe_port=port), f)
        node.start()
        wait_until("it beats", lambda: {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 20)
        at = time.monotonic()
        rows = wait_until(f"{want} pairs unheard", lambda: [x for x in [c.get("status")["probes_unheard"]] if len(x) == want], 30)[0]
        if want:
            r.check("unheard: not before 10 s", time.monotonic() - at > 9, time.monotonic() - at)
            r.equal("unheard: which", [rows[0]["sites"], sorted(rows[0]["nodes"])], [["fra", "hub"], ["fra-1", "hub-1"]])
            code, out, err = c.cli("status")
            r.check("status for people", "NO PROBES: fra - hub" in out and
                    "  fix: open UDP 7401 between fra and hub, both ways" in out, out)
            r.check("status: at most 100 columns", all(len(line) <= 100 for line in out.splitlines()), out)
            r.check("sites for people", "NO PROBES: fra - hub: open UDP 7401" in c.cli("sites")[1], c.cli("sites"))
            r.equal("unheard is not lost", c.get("status")["nodes_lost"], [])
    events = [e["what"] for e in c.get("events")["events"]]
    r.equal("unheard: one event", events.count("probes_unheard"), 1)
    r.equal("sites: nothing is said any more", "NO PROBES" in c.cli("sites")[1], False)


def early(c, r):
    """A hello while the state is still being read is asked to come again, and nobody is lost by it. Who is let in hears a ping;
    the assignment comes after its first beat, which nobody sends here."""
    node, path = c.nodes["fra-1"], os.path.join(c.hub.data, "control/state.db")
    own = (os.path.join(node.data, "identity/node.pem"), os.path.join(node.data, "identity/node.key"))
    with open(os.path.join(node.data, "node.json"), encoding="utf-8") as f:
        hello = frame(dict(HELLO, node="fra-1", incarnation=json.load(f)["incarnation"]))
    node.stop()
    r.equal("a hello", say(c, hello, cert=own), "ping")
    c.hub.stop()
    number = int(400000 / SLOW)  # of a kind that this version does not know: takes a while to read
    state = sqlite3.connect(path)
    state.executemany("INSERT INTO records VALUES (?, ?, 1, 1)",
                      ((f"/skerry/v1/zzz/{n:06}", '{"v":1,"filler":"' + "x" * 200 + '"}') for n in range(number)))
    state.commit()
    state.close()
    c.hub.start()
    said, deadline = [], time.monotonic() + 30 * SLOW
    while "ping" not in said and time.monotonic() < deadline:
        said.append(say(c, hello, cert=own))
    r.check("a hello too early: is told why", "error unavailable: the state is still being read; try again" in said, said[-20:])
    r.equal("and then is let in", said[-1], "ping")
    r.equal("nothing else is said", set(said) - {"", "ping", "error unavailable: the state is still being read; try again"}, set())
    c.hub.stop()
    state = sqlite3.connect(path)
    state.execute("DELETE FROM records WHERE key LIKE '/skerry/v1/zzz/%'")
    state.commit()
    state.close()
    c.hub.start()
    node.start()
    wait_until("all is well again", lambda: c.cli("status")[0] == 0 and
               {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 30)


def stop(r):
    with Cluster({"fra": ["fra-1"]}) as c:
        c.start()
        in_turn((clean, stuck, early, unheard, probe_key), c, r)


if __name__ == "__main__":
    main(stop)

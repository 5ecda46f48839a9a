#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Backup and restore of control's state on a living cluster, as docs/operations.md says it.

The state is copied while control runs, control's server is lost with its whole folder, and comes back from the copy:
nodes find it, their work is adopted, and nothing that the backup knew of is started anew.
"""
import json
import os
import shutil
import signal
import threading
import time

from cluster import PYTHON, SERVE, Api, Cluster, in_turn, main, wait_until
from vault import secret

APP = """name: shop
services:
  web:
    command: ["{python}", "{serve}"]
    stop_grace_period: 1s
    deploy: {{replicas: {replicas}, resources: {{limits: {{cpus: "0.10", memory: 64M}}}}}}
    x-skerry: {{survive: {{sites: 1}}}}
"""


def app(c, replicas):
    return c.file(f"app-{replicas}.yaml", APP.format(python=PYTHON, serve=SERVE, replicas=replicas))


def lose_control(c):
    """The control node's server burns: its processes and its whole folder are gone."""
    c.hub.stop(signal.SIGKILL)
    c.hub.halves_gone()
    shutil.rmtree(c.hub.data)


def back(c):
    c.hub.start()
    wait_until("control answers", lambda: c.cli("status")[0] == 0, 30)
    wait_until("all nodes are alive", lambda: {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 30)


def ids(c):
    return {i["replica"]: i["id"] for i in c.ps()}


def take(c, r, where):
    """Backup under load: the state changes all the while."""
    stop = threading.Event()

    def change():
        n = 0
        while not stop.is_set():
            n += 1
            c.cli("node", "set", "fra-1", "--label", f"turn=t{n}")

    changer = threading.Thread(target=change)
    changer.start()
    time.sleep(0.3)
    before = c.get("status")["revision"]
    code, out, err = c.cli("control", "backup", where)
    after = c.get("status")["revision"]
    stop.set()
    changer.join()
    r.equal("backup while it runs", (code, err), (0, ""))
    r.check("backup: says what it is worth", "recovery code alone opens it" in out, out)
    r.equal("backup: for its owner alone", os.stat(where).st_mode & 0o777, 0o600)
    with open(where, "rb") as f:
        text = f.read()
    head = json.loads(text[20:20 + int.from_bytes(text[16:20], "big")])
    r.equal("backup: its head", (text[:16], head["what"], head["cluster"], head["node"], head["store"]),
            (b"skerry-sealed/1\n", "backup", "skerry", "hub-1", before["store"]))
    r.check("backup: at least what was then", head["revision"] >= before["number"], (head, before))
    secrets = [b"PRIVATE KEY", b"/skerry/v1/", b"SQLite format", secret(c.hub.data, "cluster.key")]
    r.equal("backup: nothing of it can be read", [s for s in secrets if s in text], [])
    r.equal("backup over another one", c.cli("control", "backup", where)[0], 1)
    code, out, err = c.cli("control", "backup", where + "-offline", "--offline", "--json")
    r.equal("backup of the folder", (code, json.loads(out)["file"]), (0, where + "-offline"))
    node = c.nodes["fra-1"]
    for how in ((), ("--offline",)):
        code, out, err = c.local(node, "control", "backup", where + "-2", *how)
        r.check("backup of a server without control", code != 0 and ("no state" in err or "no daemon" in err) and
                not os.path.exists(where + "-2") and not os.path.exists(where + "-2.part"), (code, err))
    r.equal("nothing is left of it", [n for n in os.listdir(os.path.join(c.hub.data, "control")) if "snapshot" in n], [])
    return before, after


def refused(c, r, where):
    """Files that are no whole backup, and codes that are not its: nothing is restored, and the reason is said."""
    def no(name, path, words, stdin=None):
        code, out, err = c.local(c.hub, "control", "restore", path, stdin=stdin or c.code)
        r.check(f"restore of {name}", code != 0 and words in err and not os.path.exists(c.hub.data) and
                not [n for n in os.listdir(c.dir) if ".restore." in n], (code, err))
        r.check(f"restore of {name}: never shows the code", c.code not in out + err, err)
    no("nothing", where + "-none", "No such file")
    other = "00001-00002-00003-00004-00005-00006-00007-00008"
    no("it by another code", where, "not the recovery code", other)
    no("it by a slip", where, "group 1 is mistyped", ("A" if c.code[0] != "A" else "B") + c.code[1:])
    with open(where, "rb") as f:
        whole = f.read()
    size, front = len(whole), 20 + int.from_bytes(whole[16:20], "big") + 80 + 24
    for name, text, words in (
            ("one that is cut short", whole[:size // 2], "cut short"), ("one that lacks a byte", whole[:-1], "cut short"),
            ("all but its chunks", whole[:front], "cut short"), ("a head alone", whole[:100], "cut short"),
            ("one with a byte more", whole + b"x", "altered"), ("another file", b"#!/bin/sh\n" * 50, "no sealed file"),
            ("an empty file", b"", "empty"), ("one of a later version", whole.replace(b"/1\n", b"/2\n", 1), "later version"),
            ("one whose head was altered", whole.replace(b"hub-1", b"hub-2", 1), "altered"),
            *((f"one with byte {at} altered", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:], "")
              for at in (17, 19, 25, size // 3, size // 2, size - 1))):
        path = os.path.join(c.dir, "broken")
        with open(path, "wb") as f:
            f.write(text)
        no(name, path, words)


def burnt(c, r):
    """Control is lost with its folder and restored from a backup that knows all that runs."""
    path = app(c, 3)
    c.apply_ok(path)
    c.settled({"web": 3})
    where = os.path.join(c.dir, "backup")
    before, after = take(c, r, where)
    work, known, plan = c.workloads(), ids(c), c.get("status")["plan"]["id"]
    key = c.cli("key", "late", "--role", "viewer")[1].strip()  # after the backup
    stale = c.get("plan", path)["id"]
    lose_control(c)
    time.sleep(1)
    r.equal("control is gone: nothing stops", c.workloads(), work)
    r.check("no state, no answer", c.cli("status")[0] != 0)
    refused(c, r, where)
    code, out, err = c.local(c.hub, "control", "restore", where, stdin=c.code.lower().replace("-", " ") + "\n")
    r.equal("restore, after those that failed", (code, err), (0, ""))
    code, out, err = c.local(c.hub, "control", "restore", where, stdin=c.code)
    r.check("restore over a server", code == 1 and "holds server 'hub-1'" in err, (code, err))
    r.equal("restore leaves nothing beside it", [n for n in os.listdir(c.dir) if ".restore." in n], [])
    back(c)
    wait_until("all replicas are healthy", lambda: c.get("status")["replicas"]["healthy"] == 3, 30)
    time.sleep(3)
    status = c.get("status")
    r.equal("restored: nothing was started anew", c.workloads(), work)
    r.equal("restored: the same instances", ids(c), known)
    r.equal("restored: the plan in force", (status["plan"]["id"], status["replicas"]),
            (plan, {"wanted": 3, "healthy": 3, "moved": 0, "short": 0}))
    r.check("restored: another store", status["revision"]["store"] not in (before["store"], after["store"]) and
            before["store"] == after["store"], (before, after, status["revision"]))
    r.check("restored: its number goes on from the backup's", status["revision"]["number"] >= before["number"],
            (before, after, status["revision"]))
    r.equal("restored: nobody was lost meanwhile", [e["what"] for e in c.get("events")["events"] if "lost" in e["what"]], [])
    r.equal("restored: a key of after the backup is not known", Api(c).call("GET", "/v1/status", key)[0], 401)
    code, out, err = c.apply(path, "--plan", stale)
    r.check("restored: a plan of before is refused", code == 1 and "not what the state leads to" in err, (code, err))
    c.apply_ok(path)
    r.equal("restored: apply of the same moves nothing", (c.workloads(), ids(c)), (work, known))
    c.join("par-1", "par")
    wait_until("restored: a new server joins", lambda: "alive" in
               [n["state"] for n in c.get("nodes")["nodes"] if n["node"] == "par-1"], 20)
    work_now = c.workloads()
    for node in c.nodes.values():  # the identities are whole: everybody may start again
        node.stop()
        node.start()
    wait_until("restored: all start again", lambda: c.cli("status")[0] == 0 and
               {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 30)
    r.equal("restored: nothing stopped by that", c.workloads(), work_now)


def older(c, r):
    """By hand, from one that control made by itself; and what was applied after the backup is not known to it."""
    folder, where = os.path.join(c.hub.data, "control/backups"), os.path.join(c.dir, "older")
    c.hub.stop()
    shutil.rmtree(folder, ignore_errors=True)
    c.hub.start()
    mine = wait_until("one by itself", lambda: os.path.isdir(folder) and [n for n in os.listdir(folder) if n.endswith(".backup")], 30)
    r.equal("by itself: for its owner alone", (os.stat(folder).st_mode & 0o777, os.stat(os.path.join(folder, mine[0])).st_mode & 0o777),
            (0o700, 0o600))
    shutil.copy(os.path.join(folder, mine[0]), where)
    wait_until("all are back", lambda: c.get("status")["replicas"]["healthy"] == 3 and
               {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 30)
    known, work = ids(c), c.workloads()
    c.apply_ok(app(c, 5))
    c.settled({"web": 5})
    late = set(c.workloads()) - set(work)
    r.equal("two more since the backup", len(late), 2)
    c.join("late-1", "fra")
    wait_until("a server joined since", lambda: "late-1" in [n["node"] for n in c.get("nodes")["nodes"]], 20)
    c.hub.stop()
    for name in ("control", "identity", "node.json"):
        os.rename(os.path.join(c.hub.data, name), os.path.join(c.dir, "aside-" + name))
    code_file = c.file("code", c.code + "\n")
    r.equal("restore beside what is left of it", c.local(c.hub, "control", "restore", where, "--code-file", code_file)[0], 0)
    back(c)
    wait_until("what the backup does not know is stopped", lambda: set(c.workloads()) == set(work), 30)
    r.equal("what it knows goes on", (c.workloads(), ids(c)), (work, known))
    r.check("a server of after the backup is no node", "late-1" not in [n["node"] for n in c.get("nodes")["nodes"]])
    wait_until("it is told so", lambda: "not in the cluster" in c.nodes["late-1"].log_text(), 10)
    c.apply_ok(app(c, 5))
    c.settled({"web": 5})
    r.equal("applied again: the first ones still go on", {k: v for k, v in c.workloads().items() if k in work}, work)


def certificate(node):
    with open(os.path.join(node.data, "identity/node.pem"), encoding="utf-8") as f:
        return f.read()


def elsewhere(c, r):
    """Control comes back on another server with another address; another code was made before."""
    path = app(c, 5)
    c.apply_ok(path)
    c.settled({"web": 5})
    old = os.path.join(c.dir, "of-the-old-code")
    r.equal("backup", c.cli("control", "backup", old)[0], 0)
    first = c.code
    code, out, err = c.cli("control", "recovery", "new")
    c.code = out.strip()
    r.check("another code", code == 0 and len(c.code) == 47 and c.code != first and "former code" in err, (code, err))
    viewer = c.cli("key", "reader", "--role", "viewer")[1].strip()
    admin = c.cli("key", "chief", "--role", "admin")[1].strip()
    for what, method, where in (("backup", "GET", "/v1/control/backup"), ("another code", "POST", "/v1/control/recovery")):
        r.equal(f"{what} by a viewer", Api(c).call(method, where, viewer, {} if method == "POST" else None)[0], 403)
    where = os.path.join(c.dir, "elsewhere")
    key_file = c.file("chief.key", admin)
    remote = ["--server", c.hub.address, "--ca", os.path.join(c.hub.data, "identity/ca.pem"), "--token-file", key_file]
    code, out, err = c.cli("control", "backup", where, *remote)
    r.equal("backup from afar", (code, err), (0, ""))
    log = c.hub.log_text()
    r.check("who did it is in the log, the code is not", 'recovery code was made" who="root"' in log and
            'backup made" who="key:chief"' in log and c.code not in log and first not in log, log[-2000:])
    ca = os.path.join(c.dir, "ca.pem")
    shutil.copy(os.path.join(c.hub.data, "identity/ca.pem"), ca)
    plan, known = c.get("status")["plan"]["id"], ids(c)
    lose_control(c)
    work = c.workloads()
    r.equal("all goes on without control", len(work), 5)
    former = c.hub
    fresh = c.new_node("hub-1", "hub")  # the same name at another address, in a folder of its own
    fresh.address = c.block + ".99"
    fresh.data = os.path.join(c.dir, "fresh")
    c.hub = fresh
    where_args = ["--address", fresh.address, "--listen", fresh.address]
    code, out, err = c.local(fresh, "control", "restore", where, *where_args, stdin=first)
    r.check("the former code opens no newer backup", code == 1 and "not the recovery code" in err, (code, err))
    code, out, err = c.local(fresh, "control", "restore", old, "--address", "not an address", stdin=first)
    r.check("a bad address", code == 2 and "no IP address" in err and not os.path.exists(fresh.data + "/node.json"), (code, err))
    code, out, err = c.local(fresh, "control", "restore", where, *where_args, stdin=c.code)
    r.check("restored elsewhere", code == 0 and f"skerry rejoin {fresh.address}:7400" in out, (code, out, err))
    fresh.start()
    wait_until("control answers", lambda: c.cli("status")[0] == 0, 30)
    others = [n for n in c.nodes.values() if n.name in ("fra-1", "ams-1", "par-1")]
    code, out, err = c.local(others[0], "rejoin", f"{former.address}:7400", timeout=40)
    r.check("rejoin where nobody is", code == 1 and former.address in err, (code, err))
    for node in others:
        code, out, err = c.local(node, "rejoin", f"{fresh.address}:7400")
        r.equal(f"rejoin of {node.name}", (code, err), (0, ""))
        node.stop()
        node.start()
    wait_until("all nodes are alive", lambda: {n["state"] for n in c.get("nodes")["nodes"] if n["node"] != "late-1"} == {"alive"}, 40)
    wait_until("all replicas are healthy", lambda: c.get("status")["replicas"]["healthy"] == 5, 30)
    time.sleep(3)
    r.equal("restored elsewhere: the same processes", c.workloads(), work)
    r.equal("restored elsewhere: the same instances", ids(c), known)
    r.equal("restored elsewhere: the plan in force", c.get("status")["plan"]["id"], plan)
    r.equal("its record has the new address", {n["node"]: n["address"] for n in c.get("nodes")["nodes"]}["hub-1"], fresh.address)
    r.equal("keys of before work", [Api(c, ca).call("GET", "/v1/status", k)[0] for k in (viewer, admin)], [200, 200])
    token = c.token("fra")
    c.join("new-1", "fra", token)
    wait_until("a new server joins by it", lambda: "alive" in [n["state"] for n in c.get("nodes")["nodes"] if n["node"] == "new-1"], 20)
    c.apply_ok(path)
    r.equal("apply of the same moves nothing", c.workloads(), work)
    code, out, err = c.cli("control", "backup", where + "-again")
    r.equal("it can be backed up again", (code, err), (0, ""))


def restore(r):
    with Cluster({"fra": ["fra-1"], "ams": ["ams-1"]}) as c:
        c.start()
        in_turn((burnt, older, elsewhere), c, r)


if __name__ == "__main__":
    main(restore)

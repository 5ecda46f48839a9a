#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Backup and restore of control's state on a living cluster, as docs/operations.md says it.

The state is copied while control runs, control's server is lost with its whole folder, and comes back from the copy:
nodes find it, their work is adopted, and nothing that the backup knew of is started anew.
"""
import os
import shutil
import signal
import sqlite3
import threading
import time

from cluster import PYTHON, SERVE, Api, Cluster, in_turn, main, wait_until

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
    code, out, err = c.cli("backup", where)
    after = c.get("status")["revision"]
    stop.set()
    changer.join()
    r.equal("backup while it runs", (code, err), (0, ""))
    r.check("backup: says what it is worth", "keep it encrypted" in out, out)
    store = sqlite3.connect(os.path.join(where, "control/state.db"))
    r.equal("backup: a whole state", store.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
    store.close()
    modes = {name: os.stat(os.path.join(where, name)).st_mode & 0o777
             for name in ("", "control", "identity", "control/state.db", "control/unseal.key", "control/ca.key.sealed", "identity/node.key")}
    r.equal("backup: for its owner alone", {k: v for k, v in modes.items() if v & 0o077}, {})
    r.equal("backup over another one", c.cli("backup", where)[0], 1)
    node = c.nodes["fra-1"]
    code, out, err = c.local(node, "backup", where + "-2")
    r.check("backup of a server without control", code != 0 and "holds no state" in err and
            not os.path.exists(where + "-2"), (code, err))
    return before, after


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
    code, out, err = c.local(c.hub, "restore", where + "-none")
    r.check("restore of nothing", code != 0 and "no whole backup" in err and not os.path.exists(c.hub.data), (code, err))
    for name in ("control/state.db", "control/unseal.key"):
        broken = os.path.join(c.dir, "broken")
        shutil.copytree(where, broken)
        if name.endswith("db"):
            with open(os.path.join(broken, name), "wb") as f:
                f.write(b"no database at all" * 300)
        else:
            os.unlink(os.path.join(broken, name))
        code, out, err = c.local(c.hub, "restore", broken)
        r.check(f"restore of a backup with a broken {name}: says which", code == 1 and name in err and
                not os.path.exists(os.path.join(c.hub.data, "node.json")), (code, err))
        shutil.rmtree(broken)
    code, out, err = c.local(c.hub, "restore", where)
    r.equal("restore, after those that failed", (code, err), (0, ""))
    code, out, err = c.local(c.hub, "restore", where)
    r.check("restore over a server", code == 1 and "holds server 'hub-1'" in err, (code, err))
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
    """By hand, as with any copy of files; and what was applied after the backup is not known to it."""
    where = os.path.join(c.dir, "older")
    r.equal("backup", c.cli("backup", where)[0], 0)
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
    r.equal("restore beside what is left of it", c.local(c.hub, "restore", where)[0], 0)
    back(c)
    wait_until("what the backup does not know is stopped", lambda: set(c.workloads()) == set(work), 30)
    r.equal("what it knows goes on", (c.workloads(), ids(c)), (work, known))
    r.check("a server of after the backup is no node", "late-1" not in [n["node"] for n in c.get("nodes")["nodes"]])
    wait_until("it is told so", lambda: "not in the cluster" in c.nodes["late-1"].log_text(), 10)
    c.apply_ok(app(c, 5))
    c.settled({"web": 5})
    r.equal("applied again: the first ones still go on", {k: v for k, v in c.workloads().items() if k in work}, work)


def restore(r):
    with Cluster({"fra": ["fra-1"], "ams": ["ams-1"]}) as c:
        c.start()
        in_turn((burnt, older), c, r)


if __name__ == "__main__":
    main(restore)

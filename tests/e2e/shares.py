#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The unseal keys of three control nodes, each split among all of them: what one server's disk opens, how they start again,
and what the recovery code does.

The two further control nodes are made by hand: a certificate of that role, the files of the first, a copy of its state.
Each then leads a state of its own, which no cluster does; what is looked at here is below that, and no work runs.
"""
import json
import os
import shutil
import signal
import sqlite3
import time

from bad import issue
from cluster import Cluster, main, wait_until
from vault import read, secret

EXTENSIONS = ("keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
              "subjectAltName=URI:skerry://skerry/node/{0},URI:skerry://skerry/role/control\n")
KEY = "/skerry/v1/control"


def write(path, text, like):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    st = os.stat(like)
    os.chown(path, st.st_uid, st.st_gid)


def name_members(node, names):
    store = sqlite3.connect(os.path.join(node.data, "control/state.db"))
    value = {"v": 1, "store": "sqlite", "external": False, "members": [{"node": n, "state": "member"} for n in names]}
    with store:
        store.execute("UPDATE state SET revision = revision + 1")
        store.execute("INSERT OR REPLACE INTO records SELECT ?, ?, revision, revision FROM state", (KEY, json.dumps(value)))
    store.close()


def make_three(c, nodes):
    for node in nodes:
        node.stop()
    hub = c.hub
    where = [f"{n.address}:7400" for n in nodes]
    for node in nodes:
        if node is not hub:
            control = os.path.join(node.data, "control")
            shutil.copytree(os.path.join(hub.data, "control"), control, dirs_exist_ok=True)
            for path in [control] + [os.path.join(control, name) for name in os.listdir(control)]:
                st = os.stat(os.path.join(hub.data, "control"))
                os.chown(path, st.st_uid, st.st_gid)
            pem, key = issue(c, node.name + "-control", node.name, EXTENSIONS.format(node.name), 1, False)
            for path, name in ((key, "node.key"), (pem, "node.pem")):
                write(os.path.join(node.data, "identity", name), read(path) + "\n", control)
        config = json.loads(read(os.path.join(node.data, "node.json")))
        config.update(control=True, controls=where)
        write(os.path.join(node.data, "node.json"), json.dumps(config), node.data)
        name_members(node, [n.name for n in nodes])


def kill_all(nodes):
    for node in nodes:
        node.stop(signal.SIGKILL)
    for node in nodes:
        node.halves_gone()


def has(node, name):
    return os.path.exists(os.path.join(node.data, "control", name))


def public(node):
    return json.loads(read(os.path.join(node.data, "control/recovery.json")))["public"]


def answers(c, node):
    return c.local(node, "status")[0] == 0


def is_split(node):
    return has(node, "share.json") and not has(node, "unseal.key")


def shares(r):
    with Cluster({"ams": ["ams-1"], "par": ["par-1"]}) as c:
        c.start()
        ca_key = secret(c.hub.data, "ca.key")
        r.check("with one control node the key lies there", b"PRIVATE KEY" in ca_key)
        hub, ams, par = nodes = list(c.nodes.values())
        make_three(c, nodes)
        for node in (hub, ams):
            node.start()
        wait_until("two of three answer", lambda: answers(c, hub) and answers(c, ams), 30)
        time.sleep(2)
        r.check("a member that is away holds the split up", not is_split(hub) and not is_split(ams))
        par.start()
        wait_until("each has split its key", lambda: all(is_split(n) for n in nodes), 30)
        for node in nodes:
            r.equal(f"{node.name} keeps the others' shares", sorted(os.listdir(os.path.join(node.data, "control/held"))),
                    sorted(n.name + ".json" for n in nodes if n is not node))
        r.equal("keys on disk are for skerryd's user alone", {oct(os.stat(os.path.join(folder, name)).st_mode & 0o777)
                for node in nodes for folder in (os.path.join(node.data, "control"), os.path.join(node.data, "control/held"))
                for name in os.listdir(folder) if "share" in name or "sealed" in name or folder.endswith("held")}, {"0o600"})
        r.check("all of them answer", all(answers(c, n) for n in nodes))
        backup = os.path.join(c.dir, "backup")
        r.equal("a backup of one whose key is split", c.cli("control", "backup", backup)[0], 0)

        kill_all(nodes)  # one alone: what a thief of its disk has
        hub.start()
        wait_until("it says what it waits for", lambda: 'keys wait for the shares of other control nodes" have="1 of 2 shares"'
                   in hub.log_text(), 15)
        time.sleep(2)
        r.check("alone it opens nothing", not answers(c, hub) and hub.half("net") and "keys opened" not in hub.log_text())
        ams.start()
        wait_until("with a second one both open", lambda: answers(c, hub) and answers(c, ams), 20)
        r.check("by shares", all("keys opened by shares" in n.log_text() for n in (hub, ams)))

        kill_all(nodes)
        began = time.monotonic()
        for node in nodes:
            node.start()
        wait_until("all at once: all open", lambda: all(answers(c, n) for n in nodes), 20)
        print(f"   all three answer again after {time.monotonic() - began:.1f} s", flush=True)
        r.check("and stay split", all(is_split(n) for n in nodes))
        wait_until("the channel serves nodes again", lambda: {n["node"]: n["connected"] for n in c.get("nodes")["nodes"]}["par-1"], 20)

        former = public(hub)
        code = c.cli("control", "recovery", "new")[1].strip()
        wait_until("another code reaches every control node", lambda: {public(n) for n in nodes} == {public(hub)} != {former}, 10)

        kill_all(nodes)  # the two others are lost for good
        got = c.local(hub, "control", "recover", stdin=c.code)
        r.check("recover by the former code", got[0] == 1 and "not the recovery code" in got[2] and is_split(hub), got)
        r.equal("recover", c.local(hub, "control", "recover", stdin=code)[0], 0)
        r.check("its key is a file again", has(hub, "unseal.key") and not has(hub, "share.json"))
        r.equal("and opens what it opened", secret(hub.data, "ca.key"), ca_key)
        hub.start()
        wait_until("it answers alone", lambda: answers(c, hub), 20)

        fresh = c.new_node("hub-1", "hub")
        fresh.data = os.path.join(c.dir, "fresh")
        got = c.local(fresh, "control", "restore", backup, "--json", stdin=c.code)
        r.equal("the backup of before, by its own code", got[0], 0)
        r.equal("restored: one control node", (json.loads(got[1])["control"], secret(fresh.data, "ca.key")),
                (f"{hub.address}:7400", ca_key))
        store = sqlite3.connect(os.path.join(fresh.data, "control/state.db"))
        r.equal("restored: no members", store.execute("SELECT count(*) FROM records WHERE key = ?", (KEY,)).fetchone(), (0,))
        store.close()


if __name__ == "__main__":
    main(shares)

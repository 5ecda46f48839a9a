#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""From one control node to three and back, by the real binary with real members of etcd."""
import json
import os
import shutil
import sys
import threading
import time

from cluster import Cluster, kill, main, wait_until

ROUNDS = int(os.environ.get("SKERRY_ROUNDS", "6"))
OVER_S = 150  # what does not come to its end is taken back after 120 s
SPREAD_S = 3.0  # over which the kills of ten rounds are spread: about as long as it takes


def seats(c, node=None):
    """What a control node says of the control nodes; None while it does not answer."""
    code, out, _ = c.local(node or c.hub, "control", "seats", "--json")
    return json.loads(out) if code == 0 else None


def there_and_back(r):
    with Cluster({"fra": ["fra-1"], "ams": ["ams-1"]}) as c:
        c.start()
        code, out, err = c.cli("control", "grow", timeout=120)
        r.check("grow", code == 0, err)
        got = seats(c)
        r.equal("the state is in etcd", got["store"], "etcd")
        r.equal("three members", sorted(got["members"]), ["ams-1", "fra-1", "hub-1"])
        r.equal("as it ended", got["last"]["outcome"], "done")
        r.check("the file is out of the way", not os.path.exists(os.path.join(c.hub.data, "control/state.db")))
        for name in ["fra-1", "ams-1"]:
            wait_until(f"{name} answers", lambda n=c.nodes[name]: seats(c, n), 20)
        wait_until("each has split its key", lambda: all(c.local(n, "control", "status", "--json")[1].find(
            '"form":"split","shares":3,"needed":2') > 0 for n in c.nodes.values()), 20)
        r.check("said to people too", "split among 3 control nodes, 2 of them open" in c.cli("control", "status")[1])
        code, out, err = c.cli("control", "grow")
        r.equal("a second time is refused", code, 1)
        code, out, err = c.cli("control", "shrink", timeout=120)
        r.check("shrink", code == 0, err)
        r.equal("the state is in SQLite", seats(c)["store"], "sqlite")
        for name in ["fra-1", "ams-1"]:
            wait_until(f"nothing is left on {name}", lambda n=c.nodes[name]: not os.listdir(os.path.join(n.data, "control")))
        r.check("no etcd either", not os.path.exists(os.path.join(c.hub.data, "control/etcd")))
        r.equal("the key is a file again", c.get("control", "status")["keys"], {"form": "file", "shares": 0, "needed": 0})
        code, out, err = c.cli("status")
        r.check("all goes on", code == 0, err)
        time.sleep(2.5)  # who leaves must not fall silent meanwhile: two seconds of silence are a loss
        r.equal("nobody was judged lost", [e["text"] for e in c.get("events")["events"] if e["what"] in ("node_lost", "site_lost")], [])
        c.failed = bool(r.failures)


def answering(c):
    """A control node that answers, and what it says."""
    for node in c.nodes.values():
        if os.path.exists(os.path.join(node.data, "run/api.sock")):
            got = seats(c, node)
            if got:
                return node, got
    return None


class Writer(threading.Thread):
    """Sets labels of a node, numbered, without a pause; remembers which were acknowledged."""

    def __init__(self, c):
        super().__init__(daemon=True)
        self.c, self.acked, self.ended = c, {}, False

    def run(self):
        number = 0
        while not self.ended:
            number += 1
            key = f"t{number % 30}"
            for node in self.c.nodes.values():
                if not os.path.exists(os.path.join(node.data, "run/api.sock")):
                    continue
                if self.c.local(node, "node", "set", "fra-1", "--label", f"{key}=v{number}")[0] == 0:
                    self.acked[key] = number
                    break
            time.sleep(0.15)


def labels(c):
    node, _ = answering(c) or (None, None)
    code, out, _ = c.local(node, "nodes", "--json") if node else (1, "", "")
    return {n["node"]: n["labels"] for n in json.loads(out)["nodes"]}["fra-1"] if code == 0 else None


def all_alive(c, node):
    code, out, _ = c.local(node, "nodes", "--json")
    return code == 0 and all(n["state"] == "alive" and n["connected"] for n in json.loads(out)["nodes"])


def one_round(c, writer, number):
    node, got = wait_until("a control node answers", lambda: answering(c), 60)
    wait_until("all nodes are there", lambda: all_alive(c, node), 30)
    kind = "shrink" if got["store"] == "etcd" else "grow"
    began = time.monotonic()
    code, _, err = c.local(node, "control", kind, "--no-wait")
    if code != 0:
        return {"round": number, "kind": kind, "outcome": "not begun", "error": err}
    time.sleep(number % 10 / 10 * SPREAD_S)
    others = [n for n in c.nodes.values() if n is not node]
    victim = others[number % 2] if number % 3 == 2 else node
    row = {"round": number, "kind": kind, "killed": "member" if victim is not node else "leader",
           "after_s": round(time.monotonic() - began, 1)}
    pid = victim.half("net")
    if pid:
        kill(pid)

    def at_its_end():
        node, got = answering(c) or (None, None)
        return got if got and not got["operation"] else None

    over = wait_until(f"{kind} is over", at_its_end, OVER_S, 0.3)
    row.update(outcome=over["last"]["outcome"], error=over["last"]["error"], store=over["store"], seconds=round(time.monotonic() - began, 1))
    acked = dict(writer.acked)
    have = wait_until("the state is read", lambda: labels(c), 30)
    row["lost"] = [k for k, v in acked.items() if int(have.get(k, "v0")[1:]) < v]
    return row


def killed(r):
    """kill -9 of the leader's or a member's skerryd, spread over grow and shrink, while somebody writes."""
    with Cluster({"fra": ["fra-1"], "ams": ["ams-1"]}) as c:
        c.start()
        writer = Writer(c)
        writer.start()
        for number in range(ROUNDS):
            row = one_round(c, writer, number)
            print(json.dumps(row), flush=True)
            r.equal(f"round {number}: nothing acknowledged is lost", row.get("lost"), [])
            r.check(f"round {number}: whole", row["outcome"] in ("done", "undone"), row)
        writer.ended = True
        writer.join()
        r.check("it was written meanwhile", len(writer.acked) > 5, writer.acked)
        c.failed = bool(r.failures)


def two_sites(r):
    with Cluster({"fra": ["fra-1"]}) as c:
        c.start()
        code, out, err = c.cli("control", "grow")
        r.equal("refused as a policy", code, 3)
        r.check("says why", "neither of two can know" in err, err)
        r.check("and what helps", "--role control" in err, err)


if __name__ == "__main__":
    if not shutil.which("etcd"):
        print("skipped: etcd is not installed; apt-get install etcd-server")
        sys.exit(77)
    main(there_and_back, two_sites, killed)

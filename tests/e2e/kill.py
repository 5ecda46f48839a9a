#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the agent, of skerryd and of the supervisor at random moments while plans are being applied.

SKERRY_ROUNDS (default 20) rounds, SKERRY_SEED to repeat one. After each: no apply that was acknowledged is lost, what was
not to change was not touched (pids and their start times), no replica runs twice, no instance was ever started twice.
"""
import os
import random
import subprocess
import threading
import time

from cluster import SKERRY, SLOW, Cluster, Failed, alive, kill, main, started_at, wait_until

ROUNDS = int(os.environ.get("SKERRY_ROUNDS", "20"))
SEED = int(os.environ.get("SKERRY_SEED", str(random.SystemRandom().randint(1, 10**9))))
SITES = {"fra": ["fra-1"], "ams": ["ams-1"], "par": ["par-1"]}


def declaration(starts, churn):
    return f"""name: k
services:
  steady:
    command: ["/bin/sh", "-c", "echo $$SKERRY_INSTANCE >> {starts}; exec sleep 1000000"]
    stop_grace_period: 1s
    deploy: {{replicas: 3, resources: {{limits: {{cpus: "0.10", memory: 16M}}}}}}
  churn:
    command: ["/bin/sh", "-c", "echo $$SKERRY_INSTANCE >> {starts}; exec sleep 1000000"]
    stop_grace_period: 1s
    deploy: {{replicas: {churn}, resources: {{limits: {{cpus: "0.10", memory: 16M}}}}}}
"""


def kept(c):
    """{id: processes} of the service that never changes."""
    steady = {i["id"] for i in c.ps() if i["service"] == "steady"}
    return {k: v for k, v in c.workloads().items() if k in steady}


def strike(c, rng, struck):
    """One victim; returns what was killed. A killed supervisor takes its halves along and is started again.

    struck: {node: kills of its network half under this supervisor}. That half comes back after 0.2, 0.4, 0.8, 1.6 s and so on. Dark
    for 2 s its site would rightly be judged lost, and its work begun elsewhere, so after three the supervisor is the victim."""
    node = c.nodes[rng.choice(sorted(c.nodes))]
    what = rng.choice(["agent", "net", "supervisor"])
    if what == "net" and struck.get(node.name, 0) >= 3:
        what = "supervisor"
    struck[node.name] = 0 if what == "supervisor" else struck.get(node.name, 0) + (what == "net")
    if what == "supervisor":
        kill(node.pid)
        wait_until("the supervisor is gone", lambda: not alive(node.pid), 5)
        node.halves_gone()
        node.start()
        return f"supervisor of {node.name}"
    pid = node.half(what)
    if pid:
        kill(pid)
    return f"{what} of {node.name}"


def one_round(c, r, rng, struck, starts, number, want):
    path = c.file("k.yaml", declaration(starts, want))
    result = {}

    def apply():
        result["code"], result["out"], result["err"] = c.apply(path, timeout=150)

    worker = threading.Thread(target=apply)
    worker.start()
    time.sleep(rng.random() * 0.25 * SLOW)
    struck = [strike(c, rng, struck) for _ in range(rng.choice([1, 1, 2]))]
    worker.join()
    acked = result["code"] == 0
    label = f"round {number}, {want} wanted, {', '.join(struck)}, apply {'acked' if acked else 'not acked'}"
    if not acked:
        r.check(f"{label}: status 1 and one line", result["code"] == 1 and result["err"].startswith("skerry: "), result)

        def again():
            return c.apply(path, timeout=150)[0] == 0
        wait_until(f"{label}: apply is possible again", again, 30, 0.3)
    return label


def settled(c, want):
    def look():
        try:
            instances = c.ps()
        except (Failed, subprocess.TimeoutExpired):
            return False
        count = {"steady": 0, "churn": 0}
        for i in instances:
            if i["state"] != "running" or i["role"] != "active":
                return False
            count[i["service"]] += 1
        return count == {"steady": 3, "churn": want} and len(c.workloads()) == 3 + want
    wait_until(f"3 steady and {want} churn", look, 40, 0.1)
    return c.ps()


def read_starts(starts):
    try:
        with open(starts, encoding="utf-8") as f:
            return f.read().split()
    except FileNotFoundError:
        return []


def rounds(r):
    print(f"   seed {SEED}, {ROUNDS} rounds", flush=True)
    rng = random.Random(SEED)
    with Cluster(SITES) as c:
        c.start()
        starts = os.path.join(c.dir, "starts")
        c.apply_ok(c.file("k.yaml", declaration(starts, 2)))
        settled(c, 2)
        before, struck = kept(c), {}
        r.equal("three steady ones", len(before), 3)
        for number in range(ROUNDS):
            want = rng.randint(1, 6)
            try:
                label = one_round(c, r, rng, struck, starts, number, want)
                instances = settled(c, want)
            except Failed as e:
                c.failed = True
                r.check(f"round {number}", False, f"{e}; {c.cli('ps')[1]} {sorted(c.workloads())}")
                break
            r.equal(f"{label}: the steady ones were not touched", kept(c), before)
            replicas = [(i["service"], i["replica"]) for i in instances]
            r.equal(f"{label}: each replica once", len(set(replicas)), len(replicas))
            r.equal(f"{label}: what runs is what ps shows", sorted(c.workloads()), sorted(i["id"] for i in instances))
            lines = read_starts(starts)
            twice = {i for i in lines if lines.count(i) > 1}
            r.equal(f"{label}: no instance was started twice", twice, set())
            r.equal(f"{label}: every start is on record", {i["id"] for i in instances} - set(lines), set())
        c.failed = c.failed or bool(r.failures)


def exits(r):
    """What ended while its agent, or the whole daemon, was dead is reported as it ended."""
    with Cluster({"fra": ["fra-1"]}) as c:
        c.start()
        text = "name: e\nservices:\n"
        for code in (0, 7, 42):
            text += f"""  once{code}:
    command: ["/bin/sh", "-c", "while [ ! -e {c.dir}/go ]; do sleep 0.05; done; exit {code}"]
    restart: "no"
    deploy: {{resources: {{limits: {{cpus: "0.10", memory: 16M}}}}}}
"""
        code, _, err = c.apply(c.file("e.yaml", text))
        r.equal("apply", (code, err), (0, ""))
        wait_until("three run", lambda: len(c.workloads()) == 3, 15)
        for what in ("agent", "supervisor"):
            node = c.nodes["fra-1"]
            if what == "agent":
                kill(node.half("agent"))
                wait_until("the agent is back", lambda: node.half("agent"), 10)
            else:
                kill(node.pid)
                node.halves_gone()
        r.equal("they outlive the daemon", len(c.workloads()), 3)
        c.file("go", "")
        wait_until("all ended", lambda: not c.workloads(), 10)
        c.nodes["fra-1"].start()

        def ended():
            return {i["service"]: i.get("exit") for i in c.ps()} == {"once0": 0, "once7": 7, "once42": 42}
        wait_until("exit statuses are kept", ended, 15)
        r.equal("states", {i["service"]: i["state"] for i in c.ps()},
                {"once0": "exited", "once7": "failed", "once42": "failed"})


def control_restarts(r):
    """Control killed again and again while nodes run: nothing stops, nothing is lost, events stay."""
    with Cluster({"fra": ["fra-1"], "ams": ["ams-1"]}) as c:
        c.start()
        starts = os.path.join(c.dir, "starts")
        c.apply_ok(c.file("k.yaml", declaration(starts, 2)))
        settled(c, 2)
        before, status, events = c.workloads(), c.get("status"), c.get("events")["events"]
        for number in range(3):
            kill(c.hub.half("net"))
            time.sleep(0.3)
            wait_until("control is back", lambda: c.cli("status")[0] == 0, 20)
            settled(c, 2)
            r.equal(f"restart {number}: nothing was touched", c.workloads(), before)
            r.equal(f"restart {number}: the plan is in force", c.get("status")["plan"], status["plan"])
            r.equal(f"restart {number}: the same state", c.get("status")["revision"]["store"], status["revision"]["store"])
            now = {e["seq"]: e for e in c.get("events")["events"]}
            r.check(f"restart {number}: no event is lost", all(now.get(e["seq"]) == e for e in events))
        # and stopped for longer than any verdict takes: the nodes go on
        c.hub.stop()
        time.sleep(3)
        r.equal("without control: nothing stops", c.workloads(), before)
        victim = sorted(before)[0]
        kill(before[victim]["main"][0])

        def healed():
            now = c.workloads().get(victim)
            return now and now["main"] != before[victim]["main"]
        wait_until("without control: what ends is started again by its node", healed, 15)
        c.hub.start()
        wait_until("control is back", lambda: c.cli("status")[0] == 0, 20)
        settled(c, 2)
        after = c.workloads()
        r.equal("nothing else was touched", {k: v for k, v in after.items() if k != victim},
                {k: v for k, v in before.items() if k != victim})
        verdicts = [e["what"] for e in c.get("events")["events"] if e["what"] in ("node_lost", "site_lost", "failover")]
        r.equal("nobody was judged lost", verdicts, [])


def warden(r):
    """The helper itself: a test that is killed leaves no process and no folder."""
    script = ("import sys, time; sys.path.insert(0, sys.argv[1]); from cluster import Cluster\n"
              "c = Cluster({}); c.start_hub(); print(c.dir, c.hub.pid, c.warden.process.pid, flush=True); time.sleep(60)\n")
    p = subprocess.Popen(["/usr/bin/python3", "-c", script, os.path.dirname(os.path.abspath(__file__))],
                         stdout=subprocess.PIPE, text=True)
    folder, pid, keeper = p.stdout.readline().split()
    r.check("it runs", alive(int(pid)) and os.path.isdir(folder))
    p.kill()
    p.wait()
    wait_until("all of it is gone", lambda: not alive(int(pid)) and not os.path.exists(folder) and
               not alive(int(keeper)), 20)


def orphans(r):
    """A supervisor killed in its first moments, when its halves have hardly begun, leaves none of them."""
    rng = random.Random(SEED)
    with Cluster({}) as c:
        c.start_hub()
        c.hub.stop()
        for number in range(20):
            c.hub.start()
            time.sleep(rng.random() * 0.03 * SLOW)
            kill(c.hub.pid)
            wait_until("the supervisor is gone", lambda: not alive(c.hub.pid), 5)
            try:
                c.hub.halves_gone(2)
            except Failed as e:
                r.check(f"start {number}", False, e)
                return
        c.hub.start()
        wait_until("and it starts again", lambda: c.cli("status")[0] == 0)


def both_halves(r):
    """Both halves killed at the same time, more than once: the supervisor starts them again, and does not give up."""
    with Cluster({}) as c:
        c.start_hub()
        for number in range(4):
            pids = wait_until("both run", lambda: c.hub.half("net") and c.hub.half("agent") and
                              (c.hub.half("net"), c.hub.half("agent")))
            for pid in pids:
                kill(pid)
            time.sleep(0.1)
        r.check("the supervisor stays", alive(c.hub.pid), c.hub.log_text())
        wait_until("the API answers again", lambda: c.cli("status")[0] == 0)


if __name__ == "__main__":
    main(warden, orphans, both_halves, exits, control_restarts, rounds)

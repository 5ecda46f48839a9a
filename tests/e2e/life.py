#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The life of a cluster, from init to the removal of a node, through the command line and the API."""
import http.client
import json
import os
import re
import threading
import time

from cluster import PYTHON, SERVE, SLOW, Api, Cluster, Failed, in_turn, main, wait_until

SITES = {"fra": ["fra-1", "fra-2"], "ams": ["ams-1", "ams-2"], "par": ["par-1", "par-2"]}
FACTS = {"fra": ("eu", "DE", "50.11,8.68"), "ams": ("eu", "NL", "52.37,4.90"), "par": ("eu", "FR", "48.86,2.35")}


def app(replicas=3, version=1, more_env="", extra=""):
    return f"""name: shop
services:
  web:
    command: ["{PYTHON}", "{SERVE}"]
    environment: {{VERSION: "{version}"{more_env}}}
    healthcheck: {{test: ["CMD", "{PYTHON}", "-c",
      "import os,urllib.request as u; u.urlopen('http://%s:%s/' % (os.environ['HOST'], os.environ['PORT']), timeout=2)"],
      interval: 1s, timeout: 5s, retries: 2}}
    stop_grace_period: 1s
    deploy:
      replicas: {replicas}
      resources: {{limits: {{cpus: "0.50", memory: 64M}}}}
    x-skerry: {{route: {{host: shop.test, port: 8000}}}}
{extra}"""


JOB = """  job:
    command: ["/bin/sleep", "100000"]
    stop_grace_period: 1s
    deploy: {replicas: 2, resources: {limits: {cpus: "0.10", memory: 16M}}}
"""


def by_service(instances, name):
    return [i for i in instances if i["service"] == name]


def served_versions(c):
    import urllib.request
    found = []
    for i in by_service(c.ps(), "web"):
        with urllib.request.urlopen(f"http://{i['address']}:{i['port']}/", timeout=5) as answer:
            found.append(answer.read().decode().split()[-1])
    return found


def by_ingress(c, site):
    """What the ingress of a site answers; no second try."""
    node = {s["site"]: s["ingress"] for s in c.get("sites")["sites"]}[site]
    door = http.client.HTTPConnection(c.nodes[node].address, 8088, timeout=5)
    try:
        door.request("GET", "/", headers={"Host": "shop.test"})
        return door.getresponse().status
    except OSError as e:
        return str(e)
    finally:
        door.close()


def facts(c, r):
    for site, (region, country, at) in FACTS.items():
        code, _, err = c.cli("site", "set", site, "--region", region, "--country", country, "--at", at,
                             "--egress-per-gb", "0.001")
        r.equal(f"site set {site}", (code, err), (0, ""))
    for number, name in enumerate(c.nodes):
        code, _, err = c.cli("node", "set", name, "--price-hour", f"0.{10 + number}", "--label", f"rack=r{number}")
        r.equal(f"node set {name}", (code, err), (0, ""))
    sites = {s["site"]: s for s in c.get("sites")["sites"]}
    r.equal("sites: names", sorted(sites), ["ams", "fra", "hub", "par"])
    r.equal("sites: trust of the hub", sites["hub"]["trust"], "control")
    r.equal("sites: facts", [sites["fra"][k] for k in ("region", "country", "state", "nodes", "nodes_up")],
            ["eu", "DE", "alive", 2, 2])
    nodes = {n["node"]: n for n in c.get("nodes")["nodes"]}
    r.equal("nodes: names", sorted(nodes), sorted(c.nodes))
    r.equal("nodes: facts", [nodes["fra-1"][k] for k in ("site", "cpus_nano", "price_hour", "state", "connected")],
            ["fra", 4 * 10**9, 0.11, "alive", True])
    r.check("nodes: a prefix each", len({n["prefix"] for n in nodes.values()}) == 7, nodes)
    r.equal("nodes: labels", nodes["fra-1"]["labels"].get("rack"), "r1")
    code, _, err = c.cli("site", "set", "fra", "--region", "")
    r.equal("a fact is taken away", [code, {s["site"]: s["region"] for s in c.get("sites")["sites"]}["fra"]], [0, ""])
    c.cli("site", "set", "fra", "--region", "eu")
    code, _, err = c.cli("site", "set", "nowhere", "--region", "eu")
    r.equal("site set of an unknown site", code, 1)
    code, _, err = c.cli("node", "set", "fra-1", "--cpus", "-1")
    r.equal("node set of a wrong value", code, 2)
    # the exported inventory plans to the same as the live cluster
    inventory = c.file("inventory.yaml", c.cli("inventory")[1])
    path = c.file("app.yaml", app())
    live = c.get("plan", path)
    code, out, err = c.cli("plan", "--inventory", inventory, "--json", path)
    r.equal("plan beside the cluster", code, 0)
    r.equal("the exported inventory plans the same", json.loads(out)["placements"], live["placements"])
    r.equal("plan live: one row a site", [row["lost"] for row in live["losses"]], [["ams"], ["fra"], ["hub"], ["par"]])
    r.equal("plan live: the hub takes control with it", [row["control"] for row in live["losses"]],
            ["kept", "kept", "lost", "kept"])
    r.equal("plan changes nothing", c.ps(), [])


def apply_and_look(c, r):
    path = c.file("app.yaml", app(extra=JOB))
    out = c.apply_ok(path)
    r.equal("every ingress serves when apply --wait ends", [by_ingress(c, site) for site in SITES], [200, 200, 200])
    r.check("apply prints the plan and its end", "applied" in out and "IF LOST" in out, out)
    ps = c.settled({"web": 3, "job": 2})
    r.check("ps: no site holds all", len({i["site"] for i in by_service(ps, "web")}) > 1, ps)
    r.check("ps: nothing on the hub", all(i["site"] != "hub" for i in ps))
    r.equal("ps: replicas", sorted(i["replica"] for i in by_service(ps, "web")), [0, 1, 2])
    for i in ps:
        r.check("ps: ids", re.fullmatch("[0-9a-f]{32}", i["id"]), i["id"])
        r.equal("ps: ports of programs", [i["driver"], i["address"], 20000 <= i["port"] <= 29999],
                ["exec", c.nodes[i["node"]].address, True])
    r.equal("it serves", served_versions(c), ["1", "1", "1"])
    status = c.get("status")
    r.equal("status: lab is shown", status["lab"], True)
    r.equal("status: replicas", status["replicas"], {"wanted": 5, "healthy": 5, "moved": 0, "short": 0})
    r.equal("status: services", {s["service"]: s["state"] for s in status["services"]}, {"web": "ok", "job": "ok"})
    events = c.get("events")["events"]
    applies = [e for e in events if e["what"] == "apply"]
    r.equal("events: who and which plan", [(e["who"], e["plan"]) for e in applies], [(whoami(), status["plan"]["id"])])
    r.equal("events: in order", [e["seq"] for e in events], sorted(e["seq"] for e in events))
    r.equal("events: six joins", len([e for e in events if e["what"] == "node_joined"]), 6)
    after = c.get("events", "--after", str(applies[0]["seq"] - 1))["events"]
    r.equal("events --after", after[0]["seq"], applies[0]["seq"])
    why = c.get("why", "shop/web")
    r.equal("why: every replica", [x["replica"] for x in why["replicas"]], [0, 1, 2])
    r.equal("why: where it runs is what was planned", [x["node"] for x in why["replicas"]],
            [x["planned"] for x in why["replicas"]])
    r.check("why: the hub runs no services", any(n["node"] == "hub-1" and not n["allowed"] and n["why"]
                                                 for n in why["nodes"]), why["nodes"])
    code, _, err = c.cli("why", "shop/nothing")
    r.equal("why of an unknown service", code, 1)
    wait_until("log lines", lambda: c.cli("logs", "shop/web")[1].count("serving version 1") == 3, 10)
    r.equal("logs of one replica", c.cli("logs", "shop/web", "--replica", "0")[1].count("serving"), 1)
    r.equal("logs of nothing", c.cli("logs", "shop/nothing")[0], 1)
    for command in (["ps"], ["status"], ["events"], ["nodes"], ["sites"], ["why", "shop/web"], ["inventory"]):
        code, out, err = c.cli(*command)
        r.check(f"{command[0]} for people", code == 0 and out and not err, f"{code} {err}")
        if command[0] not in ("events", "inventory"):
            r.check(f"{command[0]}: at most 100 columns", all(len(line) <= 100 for line in out.splitlines()), out)
    # the same again is nothing new
    before = {i["id"] for i in c.ps()}
    c.apply_ok(path)
    r.equal("apply of the same stops nothing", {i["id"] for i in c.ps()}, before)


def whoami():
    return "root" if os.geteuid() == 0 else f"uid:{os.geteuid()}"


def stale_plan(c, r):
    path = c.file("app.yaml", app(extra=JOB))
    same = c.get("plan", path)["id"]
    code, out, err = c.apply(path, "--plan", same)
    r.equal("apply --plan of the present plan", (code, err), (0, ""))
    path = c.file("more.yaml", app(replicas=4, extra=JOB))
    old = c.get("plan", path)["id"]
    c.cli("node", "set", "par-2", "--price-hour", "9.99")
    before, plan = c.ps(), c.get("status")["plan"]["id"]
    code, out, err = c.apply(path, "--plan", old)
    r.equal("a stale plan: status", code, 1)
    r.check("a stale plan: one line and the fix", err.startswith("skerry: plan ") and "fix:" in err, err)
    r.equal("a stale plan changes nothing", [i["id"] for i in c.ps()], [i["id"] for i in before])
    r.equal("a stale plan: the plan in force stays", c.get("status")["plan"]["id"], plan)
    # and at the API itself, where no preview stands before it
    key = c.cli("key", "stale", "--role", "operator")[1].strip()
    project = c.get("plan", path) and json.loads(canonical(c, path))
    status, body = Api(c).call("POST", "/v1/apply", key, {"projects": [project], "plan": old})
    r.equal("a stale plan at the API", (status, json.loads(body)["error"]["code"]), (409, "conflict"))
    r.equal("still nothing changed", c.get("status")["plan"]["id"], plan)
    code, out, err = c.apply(path, "--plan", "sha256:0000")
    r.equal("a plan that never was", code, 1)


def canonical(c, path):
    """The declaration as the command line sends it: caught at a socket that answers nothing else."""
    import socket
    folder = os.path.join(c.dir, "catch", "run")
    os.makedirs(folder, exist_ok=True)
    server = socket.socket(socket.AF_UNIX)
    where = os.path.join(folder, "api.sock")
    if os.path.exists(where):
        os.unlink(where)
    server.bind(where)
    server.listen(4)
    caught = []

    def serve():
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            data = b""
            while b"\r\n\r\n" not in data:
                data += peer.recv(65536)
            head, body = data.split(b"\r\n\r\n", 1)
            size = re.search(rb"(?i)content-length: *(\d+)", head)
            while size and len(body) < int(size.group(1)):
                body += peer.recv(65536)
            if head.startswith(b"POST"):
                caught.append(json.loads(body)["projects"][0])
            answer = b'{"error":{"code":"not_found","text":"","fix":""}}'
            peer.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(answer) + answer)
            peer.close()

    threading.Thread(target=serve, daemon=True).start()
    c.cli("plan", path, "--json", "--data", os.path.join(c.dir, "catch"))
    server.close()
    if not caught:
        raise Failed("the declaration was not sent")
    return json.dumps(caught[0])


def scale(c, r):
    path = c.file("app.yaml", app(replicas=3, extra=JOB))
    c.apply_ok(path)
    first = {i["replica"]: i["id"] for i in by_service(c.settled({"web": 3, "job": 2}), "web")}
    c.apply_ok(c.file("app.yaml", app(replicas=6, extra=JOB)))
    ps = by_service(c.settled({"web": 6, "job": 2}), "web")
    r.equal("scale up keeps what runs", {k: v for k, v in ((i["replica"], i["id"]) for i in ps) if k < 3}, first)
    c.apply_ok(c.file("app.yaml", app(replicas=2, extra=JOB)))
    r.equal("scale down", len(by_service(c.settled({"web": 2, "job": 2}), "web")), 2)
    c.apply_ok(c.file("app.yaml", app(replicas=0, extra=JOB)))
    c.settled({"job": 2})
    c.apply_ok(c.file("app.yaml", app(replicas=3, extra=JOB)))
    c.settled({"web": 3, "job": 2})
    c.apply_ok(c.file("app.yaml", app(replicas=3)))
    ps = c.settled({"web": 3})
    r.equal("a service that left the file is gone", by_service(ps, "job"), [])
    r.equal("nothing is left in any agent's folder", len(c.workloads()), 3)


def rollout(c, r):
    path = c.file("app.yaml", app(replicas=3, version=1))
    c.apply_ok(path)
    old = {i["id"] for i in c.settled({"web": 3})}
    lowest, stop = [9], threading.Event()

    def watch():
        while not stop.is_set():
            try:
                healthy = len([i for i in c.ps() if i["service"] == "web" and i["healthy"] and i["state"] == "running"])
            except Failed:
                continue
            lowest[0] = min(lowest[0], healthy)
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    c.apply_ok(c.file("app.yaml", app(replicas=3, version=2)))
    new = {i["id"] for i in c.settled({"web": 3})}
    stop.set()
    watcher.join()
    r.equal("rollout: every replica is new", old & new, set())
    r.equal("rollout: the new version serves", served_versions(c), ["2", "2", "2"])
    r.check("rollout: never has fewer than asked", lowest[0] >= 3, lowest[0])
    # a version that never becomes healthy stops the rollout; the old one goes on
    bad = c.file("bad.yaml", app(replicas=3, version=3, more_env=', EXIT: "3"'))
    code, out, err = c.apply(bad, "--wait", "--timeout", "40s")
    r.equal("a bad version: status 1", code, 1)
    r.check("a bad version: says which and why", "shop/web" in err and "fix:" in err, err)
    state = wait_until("rollout stopped", lambda: [s for s in c.get("status")["services"]
                                                   if s["state"] == "rollout_stopped"], 90)
    r.check("the rollout stops", state, state)
    r.check("a stopped rollout is an event", any("rollout" in e["what"] for e in c.get("events")["events"]))
    healthy = [i for i in c.ps() if i["healthy"] and i["state"] == "running"]
    r.check("the old version goes on where it was not replaced", len({i["replica"] for i in healthy}) >= 2, c.ps())
    c.apply_ok(c.file("app.yaml", app(replicas=3, version=4)))
    c.settled({"web": 3})
    r.equal("a corrected version goes through", served_versions(c), ["4", "4", "4"])


def drain(c, r):
    c.apply_ok(c.file("app.yaml", app(replicas=3, version=4)))
    ps = c.settled({"web": 3})
    node = by_service(ps, "web")[0]["node"]
    code, out, err = c.cli("drain", node)
    r.equal("drain a node", (code, err), (0, ""))
    wait_until("drained node empty", lambda: all(i["node"] != node for i in c.ps()), 30)
    c.settled({"web": 3})
    r.equal("nodes: drained", [n["drained"] for n in c.get("nodes")["nodes"] if n["node"] == node], [True])
    r.equal("undrain", c.cli("undrain", node)[0], 0)
    r.equal("nodes: undrained", [n["drained"] for n in c.get("nodes")["nodes"] if n["node"] == node], [False])
    code, out, err = c.cli("drain", "ams", "--site")
    r.equal("drain a site", (code, err), (0, ""))
    wait_until("drained site empty", lambda: all(i["site"] != "ams" for i in c.ps()), 30)
    c.settled({"web": 3})
    r.equal("undrain a site", c.cli("undrain", "ams", "--site")[0], 0)
    r.equal("drain of an unknown node", c.cli("drain", "nothing")[0], 1)
    # what cannot be met is refused with 3, and changes nothing
    strict = c.file("strict.yaml", app(replicas=3, version=4).replace("x-skerry: {", "x-skerry: {survive: {sites: 2}, "))
    c.apply_ok(strict)
    c.settled({"web": 3})
    before = sorted(i["id"] for i in c.ps())
    code, out, err = c.cli("drain", "par", "--site")
    r.equal("a drain that breaks a policy", code, 3)
    r.check("it says so in one line", err.startswith("skerry: ") and "Traceback" not in err, err)
    r.equal("it changes nothing", sorted(i["id"] for i in c.ps()), before)
    code, out, err = c.cli("drain", "par", "--site", "--force")
    r.equal("but by force", (code, err), (0, ""))
    c.cli("undrain", "par", "--site")
    impossible = c.file("no.yaml", app(replicas=3, version=4).replace("x-skerry: {", "x-skerry: {residency: [us], "))
    code, out, err = c.apply(impossible)
    r.equal("apply of the impossible", code, 3)
    r.check("the fix is named", "fix" in out + err, out + err)
    c.apply_ok(c.file("app.yaml", app(replicas=3, version=4)))
    c.settled({"web": 3})


def rebalance(c, r):
    ps = c.settled({"web": 3})
    place = {i["replica"]: (i["node"], i["id"]) for i in ps}
    for node in c.nodes:
        if node != "hub-1":
            used = any(n == node for n, _ in place.values())
            c.cli("node", "set", node, "--price-hour", "9" if used else "0.01")
    plan = c.get("rebalance", "--dry-run")
    moves = len(plan["moves"])
    r.check("rebalance: what is dear would move", moves > 0, plan)
    code, out, err = c.cli("rebalance", "--dry-run")
    r.check("rebalance --dry-run for people", code == 0 and plan["id"][:19] in out and not err, (code, out, err))
    r.check("rebalance: at most 100 columns", all(len(line) <= 100 for line in out.splitlines()), out)
    code, out, err = c.cli("rebalance", "--budget", str(moves - 1))
    r.equal("rebalance over its budget: status", code, 3)
    r.check("rebalance over its budget: says how many", f"{moves} moves are needed" in err and
            f"fix: allow them: --budget {moves}" in err, err)
    code, out, err = c.cli("rebalance", "--plan", "sha256:" + "0" * 64)
    r.check("rebalance of a plan that is none", code == 1 and "rebalance --dry-run" in err, (code, err))
    r.equal("rebalance: a budget that is none", c.cli("rebalance", "--budget", "-1")[0], 2)
    r.equal("none of this moved anything", {i["replica"]: (i["node"], i["id"]) for i in c.ps()}, place)
    code, out, err = c.cli("rebalance", "--plan", plan["id"], "--budget", str(moves), "--wait")
    r.check("rebalance", code == 0 and f"{moves} move" in out and "3 of 3 healthy" in err, (code, out, err))
    after = {i["replica"]: (i["node"], i["id"]) for i in c.settled({"web": 3})}
    r.equal("rebalance: what moved is what was planned", {k for k in place if place[k] != after[k]},
            {m["replica"] for m in plan["moves"]})
    r.equal("rebalance: the plan in force", c.get("status")["plan"]["id"], plan["id"])
    again = c.get("rebalance")
    r.equal("rebalance again: nothing to do", again["plan"]["moves"], [])
    r.equal("rebalance again: nothing moved", {i["replica"]: (i["node"], i["id"]) for i in c.ps()}, after)


def remove(c, r):
    victim = "par-2"
    code, out, err = c.cli("remove", "node", victim)
    r.equal("a node that is neither drained nor lost is not removed", code, 1)
    r.equal("drain it", c.cli("drain", victim)[0], 0)
    wait_until("it is empty", lambda: all(i["node"] != victim for i in c.ps()), 30)
    at = time.monotonic()
    code, out, err = c.cli("remove", "node", victim)
    r.equal("remove a drained node", (code, err), (0, ""))
    log = c.nodes[victim].log_text
    wait_until("the removed node is refused", lambda: "control disconnected" in log(), 5)
    r.check("within 5 s", time.monotonic() - at < 5 * SLOW, time.monotonic() - at)
    r.check("it is no node any more", victim not in [n["node"] for n in c.get("nodes")["nodes"]])
    time.sleep(1)
    r.check("and does not come back", victim not in [n["node"] for n in c.get("nodes")["nodes"]])
    c.nodes[victim].stop()
    c.nodes[victim].start()  # its certificate is refused after a restart too
    time.sleep(1)
    r.check("nor after a restart", victim not in [n["node"] for n in c.get("nodes")["nodes"]])
    c.nodes[victim].stop()
    del c.nodes[victim]
    code, out, err = c.cli("remove", "project", "shop")
    r.equal("remove a project", (code, err), (0, ""))
    wait_until("nothing runs", lambda: not c.ps() and not c.workloads(), 30)


def life(r):
    with Cluster(SITES) as c:
        c.start()
        in_turn((facts, apply_and_look, stale_plan, scale, rollout, drain, rebalance, remove), c, r)


if __name__ == "__main__":
    main(life)

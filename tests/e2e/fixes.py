#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Following the printed fix of a refusal helps: random small worlds are planned, the fix of the first problem is applied to
the files as it is written, and the next plan is ok or has another problem. Usage: fixes.py [WORLDS [SEED]]"""
import collections
import copy
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile

SKERRY = os.environ["SKERRY_BIN"]
WORLDS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 1
ROUNDS_MAX = 12
GIB = 1 << 30


def world(rng):
    """A world that is a little too tight in one or two ways."""
    names = ["ams", "fra", "par", "nyc"][: rng.randint(1, 4)]
    sites = {s: {"region": "us" if s == "nyc" else "eu", "egress_per_gb": rng.choice([0, 0.01])} for s in names}
    nodes = {}
    for s in names:
        for i in range(rng.randint(1, 3)):
            nodes[f"{s}-{i}"] = {"site": s, "cpus": rng.choice([1, 2, 4]), "memory": rng.choice([1, 2, 4]) * GIB,
                                 "disk": rng.choice([0, 20, 50]) * GIB}
            if rng.random() < 0.95:
                nodes[f"{s}-{i}"]["price_hour"] = rng.choice([0.02, 0.05, 0.1])
    if rng.random() < 0.1:
        sites[rng.choice(names)]["drained"] = True
    users = {u: {"share": rng.randint(1, 3), "rtt_ms": {s: rng.choice([5, 20, 50, 90]) for s in names}} for u in ("a", "b")}
    services = {f"v{i}": service(rng) for i in range(rng.randint(1, 3))}
    return {"sites": sites, "nodes": nodes}, {"name": "p", "services": services, "x-skerry": {"users": users}}


def service(rng):
    replicas = rng.randint(1, 6)
    need = {"cpus": str(rng.choice([0.25, 0.5, 1])), "memory": rng.choice([128, 512, 1024]) << 20}
    own = {}
    if rng.random() < 0.5:
        own["survive"] = {k: v for k, v in (("sites", rng.randint(0, 2)), ("nodes", rng.randint(0, 2)),
                                            ("keep", rng.randint(0, replicas))) if rng.random() < 0.6}
    if rng.random() < 0.4:
        own["latency"] = {"share": rng.choice([0.5, 0.95]), "ms": rng.choice([10, 30, 60])}
        if rng.random() < 0.4 and own.get("survive", {}).get("sites", 1) > 0:
            own["latency"]["after_loss_ms"] = rng.choice([30, 60])
            if rng.random() < 0.3:
                del own["latency"]["ms"]
    if rng.random() < 0.2:
        own["residency"] = [rng.choice(["eu", "us"])]
    if rng.random() < 0.25:
        own["cost"] = {"month": rng.choice([1, 10, 40])}
    if rng.random() < 0.2:
        own["traffic"] = {"rps": rng.choice([100, 900]), "rps_per_replica": rng.choice([50, 200])}
    if rng.random() < 0.3:
        own["disk"] = rng.choice([5, 20]) * GIB
    return {"image": "i", "deploy": {"replicas": replicas, "resources": {"limits": need}}, "x-skerry": own}


def plan(folder, inv, app):
    for name, value in (("inv.json", inv), ("app.json", app)):
        with open(os.path.join(folder, name), "w") as f:
            json.dump(value, f)
    p = subprocess.run([SKERRY, "plan", "--json", "--inventory", os.path.join(folder, "inv.json"),
                        os.path.join(folder, "app.json")], capture_output=True, text=True, timeout=60)
    if p.returncode not in (0, 3):
        return {"error": p.stdout + p.stderr}
    return json.loads(p.stdout)


def set_in(map_, path, value):
    for key in path[:-1]:
        map_ = map_.setdefault(key, {})
    map_[path[-1]] = value


def follow_policy(fix, svc):
    """True if the sentence changes the service, and the change was made."""
    done = False
    for pattern, path, cast in (
            (r"set survive\.keep to (\d+)", ("x-skerry", "survive", "keep"), int),
            (r"set survive\.sites to (\d+)", ("x-skerry", "survive", "sites"), int),
            (r"set survive\.nodes to (\d+)", ("x-skerry", "survive", "nodes"), int),
            (r"set 'replicas' to (\d+)", ("deploy", "replicas"), int),
            (r"set latency\.ms to ([\d.]+)", ("x-skerry", "latency", "ms"), float),
            (r"set latency\.after_loss_ms to ([\d.]+)", ("x-skerry", "latency", "after_loss_ms"), float),
            (r"set latency\.share to ([\d.]+)", ("x-skerry", "latency", "share"), float),
            (r"set cost\.month to ([\d.]+)", ("x-skerry", "cost", "month"), float)):
        found = re.search(pattern, fix)
        if found:
            set_in(svc, path, cast(found[1]))
            done = True
    if "remove latency.after_loss_ms" in fix:
        del svc["x-skerry"]["latency"]["after_loss_ms"]
        done = True
    if "remove 'latency'" in fix:
        del svc["x-skerry"]["latency"]
        done = True
    return done


def follow(problem, inv, app, serial):
    """Changes the files as the fix says. False: the sentence is advice, and no single change."""
    fix = problem["fix"]
    svc = app["services"].get(problem["service"] or "")
    added = False
    if fix.startswith("add "):
        for count, like in re.findall(r"(\d+) nodes? with [^(]*\(like '([^']+)'\)", fix):
            for i in range(int(count)):
                inv["nodes"][f"new-{serial}-{like}-{i}"] = dict(inv["nodes"][like])
                added = True
    if added:
        return True
    if svc is not None and follow_policy(fix, svc):
        return True
    if "price_hour" in fix:
        for node in inv["nodes"].values():
            node.setdefault("price_hour", 0.02)
        return True
    if fix.startswith("undrain"):
        for site in inv["sites"].values():
            site.pop("drained", None)
        return True
    if fix.startswith("widen 'residency'") and svc is not None:
        svc["x-skerry"]["residency"] = ["eu", "us"]
        return True
    if fix.startswith("lower its ") and svc is not None:
        for name, value in re.findall(r"(cpus|memory|disk) to ([\d.]+[KMGT]?)", fix):
            if name == "disk":
                svc["x-skerry"]["disk"] = value
            else:
                svc["deploy"]["resources"]["limits"][name] = value
        return True
    return False


def identity(problem):
    return (problem["code"], problem["service"], problem["resource"], tuple(problem["lost"]))


def main():
    rng = random.Random(SEED)
    count = collections.Counter()
    bad = collections.Counter()
    show = os.environ.get("SKERRY_FIXES_SHOW")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(WORLDS):
            inv, app = world(rng)
            result = plan(folder, inv, app)
            if "error" in result or result["verdict"] == "ok":
                continue
            count["refusals"] += 1
            for turn in range(ROUNDS_MAX):
                problem = result["problems"][0]
                before = copy.deepcopy((inv, app))
                count["fixes"] += 1
                if not follow(problem, inv, app, turn):
                    count["advice"] += 1
                    bad["advice: " + problem["code"] + ": " + re.sub(r"[\d.]+", "N", problem["fix"])] += 1
                    break
                result = plan(folder, inv, app)
                if "error" in result:
                    count["bad input"] += 1
                    bad["bad input: " + problem["fix"] + ": " + result["error"]] += 1
                    break
                if result["verdict"] == "ok":
                    count["ok"] += 1
                    break
                same = [p for p in result["problems"] if identity(p) == identity(problem)]
                if same:
                    count["same problem"] += 1
                    bad["same problem: " + problem["code"] + ": " + re.sub(r"[\d.]+", "N", problem["fix"])] += 1
                    if show:
                        with open(os.path.join(show, f"{SEED}-{number}-{turn}.json"), "w") as f:
                            json.dump({"inv": before[0], "app": before[1], "problem": problem, "then": same}, f, indent=1)
                    break
                count["another problem"] += 1
    helped = count["ok"] + count["another problem"]
    print(f"{WORLDS} worlds, seed {SEED}: {dict(count)}; {helped} of {count['fixes']} fixes helped")
    for text, times in bad.most_common(20):
        print(f"  {times} x {text}")
    limit = math.floor(0.9 * count["fixes"])
    if count["refusals"] == 0 or count["bad input"] > 0 or helped < limit:
        print(f"0 passed, 1 failed: at least {limit} fixes must help, and none may be bad input")
        return 1
    print("1 passed, 0 failed")
    return 0


sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""How long `skerry plan` takes: wall time of the whole command, and what it says of its own parts.

usage: plan.py [RUNS]. Worlds are made by a fixed seed: sites on a grid over Europe, half to three quarters full, services of
3 to 9 replicas of which most ask in writing to survive any one site. The small world is the shop of examples/.
"""
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time

import common


def world(sites, nodes_each, services, replicas_all):
    rng = random.Random(20 * sites + services)
    inventory = {"currency": "EUR", "sites": {}, "nodes": {}, "links": []}
    for s in range(sites):
        name = f"s{s:02d}"
        inventory["sites"][name] = {"region": "eu", "country": ["DE", "NL", "FR", "PL"][s % 4], "provider": f"p{s % 3}",
                                    "at": [round(38 + 20 * rng.random(), 2), round(-8 + 30 * rng.random(), 2)]}
        inventory["nodes"][name + "-n"] = {"site": name, "cpus": 16, "memory": "64G", "disk": "500G", "count": nodes_each,
                                           "price_hour": round(0.2 + 0.2 * rng.random(), 3)}
    declared, left = {}, replicas_all
    for i in range(services):
        replicas = left // (services - i) if i == services - 1 else max(3, min(9, round(rng.gauss(left / (services - i), 1.5))))
        left -= replicas
        row = {"image": "example.com/a:1", "deploy": {"replicas": replicas, "resources": {"limits": {
            "cpus": str(rng.choice([0.25, 0.5, 1, 2])), "memory": rng.choice(["512M", "1G", "4G"])}}}}
        if i % 5:
            row["x-skerry"] = {"survive": {"sites": 1, "keep": replicas // 2}}
        if i % 3 == 0:
            row.setdefault("x-skerry", {})["latency"] = {"ms": 60, "share": "90%"}
        declared[f"svc{i:04d}"] = row
    users = {"london": {"at": [51.51, -0.13], "share": 0.4}, "berlin": {"at": [52.52, 13.4], "share": 0.3},
             "madrid": {"at": [40.42, -3.7], "share": 0.3}}
    return inventory, {"name": "big", "services": declared, "x-skerry": {"users": users}}, replicas_all - left


def once(inventory, project):
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    done = subprocess.run([common.SKERRY, "plan", "--inventory", inventory, "--json", project], capture_output=True,
                          text=True, check=False, timeout=600)
    wall = (time.monotonic() - start) * 1000
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (now.ru_utime - used.ru_utime + now.ru_stime - used.ru_stime) * 1000
    try:
        plan = json.loads(done.stdout)
    except ValueError:
        raise SystemExit(f"plan: status {done.returncode}: {done.stderr[:500]}") from None
    lost = [row for row in plan["losses"] if not row["ok"]]
    return {"wall_ms": round(wall, 2), "cpu_ms": round(cpu, 2), "status": done.returncode, "verdict": plan.get("verdict"),
            "gap": plan["cost"].get("gap"), "losses": len(plan["losses"]), "losses_not_ok": len(lost),
            "problems": len(plan["problems"]), **{k + "_ms": v for k, v in plan["timing_ms"].items()}}


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    shop = os.path.join(common.ROOT, "examples/shop")
    host = common.machine()
    rows = []
    with tempfile.TemporaryDirectory(prefix="skerry-bench-") as folder:
        worlds = [("3 sites, 6 nodes", os.path.join(shop, "inventory.yaml"), os.path.join(shop, "compose.yaml"), None)]
        for sites, each, services, want in ((20, 10, 150, 900), (20, 50, 1650, 10000)):
            inventory, project, replicas = world(sites, each, services, want)
            paths = [os.path.join(folder, f"{kind}-{want}.json") for kind in ("inventory", "project")]
            for path, value in zip(paths, (inventory, project)):
                with open(path, "w", encoding="utf-8") as f:
                    json.dump(value, f)
            worlds.append((f"{sites} sites, {sites * each} nodes", *paths, replicas))
        for name, inventory, project, replicas in worlds:
            for _ in range(runs):
                crowd = common.settle()
                row = once(inventory, project)
                rows.append({"world": name, "busy_before": crowd, "replicas": replicas or 9, **row})
                if row["wall_ms"] > 60000:
                    break
            print(name, [r["wall_ms"] for r in rows if r["world"] == name], rows[-1], flush=True)
    common.save("plan", rows, machine=host)


main()

# SPDX-License-Identifier: Apache-2.0
"""docs/benchmarks.md from docs/evidence/bench-*.json: medians of all runs there, goals, ratios, and what falls short."""
import json
import os

import common

PAGE = os.path.join(common.ROOT, "docs/benchmarks.md")


def load(name):
    try:
        with open(os.path.join(common.EVIDENCE, f"bench-{name}.json"), encoding="utf-8") as f:
            return json.load(f)
    except OSError:
        return None


def mid(rows, key):
    values = [r[key] for r in rows if r.get(key) is not None]
    return common.median(values) if values else None


def span(rows, key, unit, scale=1.0):
    values = [r[key] / scale for r in rows if r.get(key) is not None]
    if not values:
        return "not measured"
    shown = f"{common.median(values):,.{0 if max(values) >= 100 else 2 if max(values) < 10 else 1}f} {unit}".rstrip()
    return f"{shown} ({min(values):,.0f}-{max(values):,.0f}, n={len(values)})" if len(values) > 1 else shown


def judged(value, goal):
    return "-" if value is None or goal is None else "yes" if value <= goal else "**no**"


class Table:
    def __init__(self):
        self.rows, self.short = [], []

    def add(self, what, rows, key, unit, goal=None, scale=1.0):
        value = mid(rows, key)
        value = None if value is None else value / scale
        self.rows.append(f"| {what} | {span(rows, key, unit, scale)} | {f'<= {goal} {unit}' if goal else '-'} | {judged(value, goal)} |")
        if value is not None and goal is not None and value > goal:
            self.short.append(f"- {what}: {value:,.0f} {unit} where {goal} are the goal.")

    def text(self):
        return "\n".join(["| what | median (least-most, runs) | goal | reached |", "| --- | --- | --- | --- |", *self.rows])


def plans(table):
    data = load("plan")
    for world in dict.fromkeys(r["world"] for r in data["runs"]) if data else []:
        rows = [r for r in data["runs"] if r["world"] == world]
        what = f"`skerry plan`, {world}, {rows[0]['replicas']:,} replicas, wall"
        table.add(what, rows, "wall_ms", "ms", 50 if world == "3 sites, 6 nodes" else None)
        table.add("the same, processor time (what others do matters less)", rows, "cpu_ms", "ms")
    return data


def memory(table, runs):
    rows = []
    for run in runs:
        for state, groups in run["memory_kb"].items():
            for kind, members in groups.items():
                for member in members:
                    rows.append({"state": state, "kind": kind, **member})
    full = [r for r in rows if r["state"] == "full"]
    both = []
    for run in runs:
        halves = run["memory_kb"]["full"]
        both.append({"pss": sum(m["pss"] for k in ("net", "agent") for m in halves[k])})
    table.add("agent half with 50 containers, proportional (PSS)", [r for r in full if r["kind"] == "agent"], "pss", "MB", 15, 1024)
    table.add("agent half, resident (RSS)", [r for r in full if r["kind"] == "agent"], "rss", "MB", 15, 1024)
    table.add("control node: both halves, PSS", both, "pss", "MB", 30, 1024)
    table.add("skerry-shim, private", [r for r in full if r["kind"] == "shim"], "private", "MB", 1, 1024)
    table.add("beside it: each HAProxy process, PSS", [r for r in full if r["kind"] == "engine"], "pss", "MB", None, 1024)


def sizes(table):
    data = load("size")
    for row in data["runs"] if data else []:
        table.add(f"`{row['program']}`, stripped", [row], "stripped_bytes", "MB", 3 if row["program"] == "skerry" else None, 1 << 20)


def peer(ours, swarm):
    kill = [r for r in swarm["runs"] if r["how"] == "kill"]
    link = [r for r in swarm["runs"] if r["how"] == "link"]
    daemons = []
    for row in kill:
        parts = row["node_memory_kb"]
        daemons.append({"pss": sum(p["pss"] for p in parts.values())})
    lines = ["| what | skerry | Docker Swarm | ratio |", "| --- | --- | --- | --- |"]
    a, b = mid(ours, "all_healthy_ms"), mid(kill, "fifty_running_ms")
    lines.append(f"| 50 containers: skerry from `apply` to healthy on one machine, Swarm from `service create` to running on three nodes | "
                 f"{span(ours, 'all_healthy_ms', 'ms')} | {span(kill, 'fifty_running_ms', 'ms')} | {b / a:.1f} |")
    mine = [{"pss": sum(m["pss"] for k in ("net", "agent", "shim") for m in r["memory_kb"]["full"][k])} for r in ours]
    lines.append(f"| memory of one node (skerry: both halves and 50 shims; Swarm: dockerd, containerd and the shims of its third of 56), PSS | "
                 f"{span(mine, 'pss', 'MB', 1024)} | {span(daemons, 'pss', 'MB', 1024)} | {mid(daemons, 'pss') / mid(mine, 'pss'):.1f} |")
    lines.append(f"| 6 replicas run again after kill -9 of one node's processes, heartbeat 5 s (its default) | see `make demo` | {span(kill, 'failover_ms', 'ms')} | |")
    lines.append(f"| the same, its link down, heartbeat 1 s | see `make demo` | {span(link, 'failover_ms', 'ms')} | |")
    return "\n".join(lines)


def spills(data):
    """By round-trip time and build; runs whose load generator fell short are counted and left out."""
    lines = ["| round trip | configuration | failed of 900 | longest gap | p95 | p99 | full handshakes | resumed | handshakes a second before | "
             "beside a stuck user: failed of 900, p99 |", "|" + " --- |" * 10]
    for rtt, build in sorted({(r["rtt_ms"], r["build"]) for r in data["runs"]}):
        rows = [r for r in data["runs"] if (r["rtt_ms"], r["build"]) == (rtt, build) and r["valid"]]
        beside = [r["beside_stuck"] for r in rows if r["beside_stuck"]["valid"]]
        if rows and beside:
            lines.append(f"| {rtt:g} ms | {build} | {span(rows, 'failed', '')} | {span(rows, 'longest_gap_ms', 'ms')} | {span(rows, 'p95_ms', 'ms')} | "
                         f"{span(rows, 'p99_ms', 'ms')} | {span(rows, 'full_handshakes', '')} | {span(rows, 'resumed_handshakes', '')} | "
                         f"{mid(rows, 'quiet_handshakes_s'):g} | {mid(beside, 'failed'):g}, {mid(beside, 'p99_ms'):,.0f} ms |")
    invalid = sum(not r["valid"] for r in data["runs"])
    return "\n".join(lines) + (f"\n\n{invalid} runs are not valid: the load generator fell short." if invalid else "")


AGENTS = """## 10,000 agents

`bench/agents.py` (a part of the soak): a load program with a certificate, channel and datagram session for each node, on the two cores of the control node itself. Only the control
node's own processor time is its share (user and system, of one core); the load program's is beside it. Each run that was made is here, failed ones too; there is no median, since
no two are of the same code.

| nodes | code | control node | load program | beats a second: channel, datagram | all connected again after kill -9 | RSS | |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""
AGENTS_SHORT = """
Goals: 50 % of a core and 15 s with 10,000 nodes. **Neither is reached.** In the reconnect both programs want all of their core, so its time is of this machine with the load on it. The goal of 60 MB
for a control node with 1,000 nodes and 10,000 replicas is **not shown**: in the one run (commit b28929e) control was saturated (100.7 % of a core; 7,891 of 10,000 replicas running after 60 s, 438 of 1,000 nodes connected at the end), so its 70.8 MB tell little.
"""


def agents():
    try:
        with open(os.path.join(common.EVIDENCE, "agents.jsonl"), encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
    except OSError:
        return ""
    def cell(row, key, unit):
        return "-" if row.get(key) is None else f"{row[key]:,.{0 if unit == '' else 1}f}{unit and ' ' + unit}"
    lines = [f"| {r['agents']:,} | {r.get('commit', '?')}: {r.get('code', 'as committed')} | {cell(r, 'cpu_percent', '%')} | {cell(r, 'load_cpu_percent', '%')} "
             f"| {cell(r, 'beats_a_second', '')}, {cell(r, 'datagrams_a_second', '')} | {cell(r, 'cold_reconnect_s', 's')} "
             f"| {cell(r.get('memory', {}), 'rss_mb', 'MB')} | {r.get('failed', '')} |" for r in rows]
    return AGENTS + "\n".join(lines) + "\n" + AGENTS_SHORT


def main():
    table = Table()
    containers, swarm = load("containers"), load("swarm")
    data = plans(table)
    if containers:
        table.add("50 busybox containers from `apply` to healthy", containers["runs"], "all_healthy_ms", "ms", 1500)
        table.add("of it: until `apply` returned", containers["runs"], "apply_returned_ms", "ms")
        table.add("of it: until the first was healthy (image unpacked meanwhile)", containers["runs"], "first_healthy_ms", "ms")
        memory(table, containers["runs"])
    sizes(table)
    host = next(d["machine"] for d in (containers, data, load("size")) if d)
    crowds = []
    for d in filter(None, (data, containers, swarm)):
        share = mid(d["runs"], "busy_before")
        crowds.append(f"{d['name']} " + (f"load average {d['machine']['load_before'][0]}" if share is None else f"{100 * share:.0f} %"))
    parts = ["<!-- Made by bench/table.py from docs/evidence/bench-*.json: do not edit. -->", "# Measurements", "",
             f"{host['cpus']} cores ({host['model']}), {host['memory_mb'] // 1024} GB, {host['system']}, Linux {host['kernel']}; "
             f"skerry at {host['commit']}, {host['at']}. `make bench` repeats all of it; raw results are in `docs/evidence/`.", "",
             "Others used of the machine, just before a run (median): " + ", ".join(crowds) +
             ". What they used makes every time here longer.", "",
             table.text(), "", "MB are 2^20 bytes. The clock and the counts are the measuring program's own; memory is from the kernel (smaps_rollup).", ""]
    gaps = [r["gap"] for r in data["runs"] if r["replicas"] > 100 and r["gap"] is not None] if data else []
    if gaps:
        parts += [f"The large plans state a gap to their own lower bound of at most {100 * max(gaps):.1f} %.", ""]
    if containers and swarm:
        parts += ["## Beside Docker Swarm", "", f"{swarm['version']}, three managers in three network namespaces, same machine, same hour "
                  "(`bench/swarm.py` says how).", "", peer(containers["runs"], swarm), ""]
    spill = load("spill")
    if spill:
        parts += ["## The first 3 s of a spill", "", "A site's two replicas die under 300 requests a second; its users go through another site's "
                  "ingress (`bench/spill.py` says how; [ingress.md](ingress.md) what follows from it); `before` is dbb575e, `h2` the trial of HTTP/2 between the sites. Others used of the machine before a run: "
                  f"{100 * mid(spill['runs'], 'busy_before'):.0f} % (median).", "", spills(spill), ""]
    parts += [agents()] if agents() else []
    others = sorted(f for f in os.listdir(common.EVIDENCE) if f.startswith("bench-") and "-earlier" in f)
    if others:
        parts += ["## Earlier series", "", "Not in the medians above, and not left out:", ""]
        for name in others:
            with open(os.path.join(common.EVIDENCE, name), encoding="utf-8") as f:
                old = json.load(f)
            key = {"containers": "all_healthy_ms", "swarm": "fifty_running_ms"}.get(old["name"], "wall_ms")
            parts.append(f"- `{name}`, load average {old['machine']['load_before'][0]} at its start: {key} " +
                         ", ".join(f"{r[key]:,.0f}" for r in old["runs"] if key in r))
        parts.append("")
    parts += ["## What falls short", "", *(table.short or ["Nothing of what has a goal here."]), ""]
    with open(PAGE, "w", encoding="utf-8") as f:
        f.write("\n".join(parts))
    print(f"table: {os.path.relpath(PAGE, common.ROOT)}", flush=True)


main()

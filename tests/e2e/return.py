#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A site returns: what moves back is shown first, held, let go piece by piece, and no copy is missing meanwhile."""
import os
import signal
import time

from cluster import PYTHON, SERVE, Cluster, main, wait_until

SITES = {"fra": ["fra-1"], "ams": ["ams-1"], "par": ["par-1"]}
# keep 4 of 6 needs three sites: after a return two replicas must go back.
DECLARATION = f"""name: shop
services:
  web:
    command: ["{PYTHON}", "{SERVE}"]
    stop_grace_period: 1s
    deploy: {{replicas: 6, resources: {{limits: {{cpus: "0.10", memory: 64M}}}}}}
    x-skerry: {{survive: {{sites: 1, keep: 4}}}}
"""


def in_fra(c):
    return len([i for i in c.ps() if i["site"] == "fra" and i["role"] == "active" and i["state"] == "running"])


def away_and_back(c):
    """fra's daemon is gone long enough for a verdict; its programs go on under their shims, and are stopped at its return."""
    c.nodes["fra-1"].stop(signal.SIGKILL)
    c.nodes["fra-1"].halves_gone()
    wait_until("the verdict", lambda: "fra" in c.get("status")["sites_lost"], 15)
    wait_until("all runs elsewhere", lambda: len([i for i in c.ps() if i["site"] != "fra" and i["state"] == "running"]) == 6)
    c.nodes["fra-1"].start()
    wait_until("the return", lambda: not c.get("status")["sites_lost"], 15)


def state(c, want, seconds=30):
    return wait_until(f"the return is {want}", lambda: (lambda a: a["state"] == want and a)(c.get("return")), seconds, 0.2)


def by_itself(c, r):
    r.equal("nothing waits", c.get("return")["state"], "none")
    r.equal("nothing in the status", c.get("status")["return"], None)
    away_and_back(c)
    waits = state(c, "waiting", 15)
    r.check("it is shown before it begins", waits["begins_in_ms"] > 0 and len(waits["moves"]) == 2, waits)
    r.check("from where to where, and why", all(m["to_site"] == "fra" and m["from_site"] != "fra" and m["why"]
                                               for m in waits["moves"]), waits)
    r.equal("nothing has moved yet", in_fra(c), 0)
    code, out, _ = c.cli("status")
    r.check("status says so", code == 0 and "RETURN: 2 replicas would move back to fra; begins in " in out and
            "skerry return --hold" in out, out)
    code, out, _ = c.cli("return")
    r.check("return shows the moves", code == 0 and out.count("(fra)") == 2 and "shop/web." in out, out)
    r.check("return: at most 100 columns", all(len(line) <= 100 for line in out.splitlines()), out)
    least = 6

    def done():
        nonlocal least
        healthy = len([i for i in c.ps() if i["state"] == "running" and i["role"] != "stopping"])
        least = min(least, healthy)
        return c.get("return")["state"] == "done"
    wait_until("it is done", done, 40, 0.1)
    r.equal("two are in fra again", in_fra(c), 2)
    r.check("never a copy less", least >= 6, least)
    r.check("return says that it is done", "the last return ended with 2 moves" in c.cli("return")[1], c.cli("return"))
    seen = [e["what"] for e in c.get("events")["events"]]
    r.equal("events: planned, begun, done", [seen.count(w) for w in ("return_planned", "return_begun", "return_done")],
            [1, 1, 1])


def held(c, r):
    r.equal("a longer delay", c.cli("return", "--delay", "1m")[0], 0)
    away_and_back(c)
    state(c, "waiting", 15)
    key = c.cli("key", "ann", "--role", "operator")[1].strip()
    path = c.file("ann.key", key)
    ca = os.path.join(c.hub.data, "identity/ca.pem")
    code, out, err = c.cli("return", "--hold", "--server", c.hub.address, "--ca", ca, "--token-file", path)
    r.check("held by a key", code == 0 and "held" in out, (code, out, err))
    c.cli("return", "--delay", "1s")
    c.hub.stop(signal.SIGTERM)
    c.hub.halves_gone()
    c.hub.start()
    wait_until("control is back", lambda: c.cli("status")[0] == 0 and
               {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 30)
    got = state(c, "held")
    r.equal("held over a restart, who is known", got["held_by"], "key:ann")
    r.check("since when is known", abs(got["held_wall_ms"] / 1000 - time.time()) < 120, got)
    r.check("status says so", "RETURN HELD: 2 replicas would move back to fra" in c.cli("status")[1], c.cli("status"))
    time.sleep(3)
    r.equal("nothing moves", in_fra(c), 0)
    code, out, _ = c.cli("return", "--go", "--max-moves", "1")
    r.check("one may go", code == 0 and "begins now" in out, out)
    wait_until("one went", lambda: in_fra(c) == 1 and c.get("return")["state"] == "held" and
               len(c.get("return")["moves"]) == 1, 30)
    r.equal("the rest may go", c.cli("return", "--go")[0], 0)
    state(c, "done")
    r.equal("two are in fra again", in_fra(c), 2)
    r.equal("who said so is on record", [e["who"] for e in c.get("events")["events"] if e["what"] == "return_begun"][-1],
            "root")


def refused(c, r):
    for name, args in (("both", ("--hold", "--go")), ("a bound without go", ("--max-moves", "3")), ("no number", ("--go",
                       "--max-moves", "0")), ("neither on nor off", ("--auto", "maybe")), ("no time", ("--delay", "soon"))):
        code, out, err = c.cli("return", *args)
        r.check(f"refused: {name}", code == 2 and err and not out, (code, out, err))
    r.equal("off", c.cli("return", "--auto", "off")[0], 0)
    r.check("off is shown", "skerry return --auto on" in c.cli("return")[1], c.cli("return"))
    r.equal("on", c.cli("return", "--auto", "on")[0], 0)


def returns(r):
    with Cluster(SITES) as c:
        c.start()
        c.apply_ok(c.file("shop.yaml", DECLARATION))
        for part in (by_itself, held, refused):
            at = time.monotonic()
            part(c, r)
            print(f"   {part.__name__}: {time.monotonic() - at:.1f} s", flush=True)
        c.failed = bool(r.failures)


if __name__ == "__main__":
    main(returns)

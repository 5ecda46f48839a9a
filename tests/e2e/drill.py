#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Drills: a site is taken away for real under load, measured and given back, whatever happens to command and control.

`soft` runs on loopback (any user), `hard` and `row` in network namespaces (root). SKERRY_ROUNDS: so many drills in a row under 300
requests a second (part `row`; 2 unless told), SKERRY_PARTS: which parts, SKERRY_RAW: where their reports go, one a line.
"""
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import cut
from cluster import LAB, PYTHON, ROOT, SERVE, SKERRY, SLOW, Cluster, Failed, alive, kill, main, wait_until

HOST = "shop.test"
PATH = "/.profile" if shutil.which("busybox") else "/"
SITES = ("fra", "ams", "par")


def declaration(extra=""):
    """busybox where there is one: 300 requests a second are a lot for a server in Python."""
    serve = 'exec busybox httpd -f -p $$HOST:$$PORT -h /etc/skel' if shutil.which("busybox") else f"exec {PYTHON} {SERVE}"
    return f"""name: shop
services:
  web:
    command: ["/bin/sh", "-c", "{serve}"]
    stop_grace_period: 1s
    deploy: {{replicas: 6, resources: {{limits: {{cpus: "0.60", memory: 64M}}}}}}
    x-skerry: {{survive: {{sites: 1, keep: 4}}, route: {{host: {HOST}, port: 8000}}}}
{extra}"""


EXCLUSIVE = f"""  batch:
    command: ["{PYTHON}", "-c", "import time; time.sleep(1e6)"]
    stop_grace_period: 1s
    deploy: {{replicas: 1, resources: {{limits: {{cpus: "0.40", memory: 64M}}}}}}
    x-skerry: {{exclusive: true, survive: {{sites: 1}}}}
"""


class Users(threading.Thread):
    """Asks each site's ingress in turn, 60 times a second, and counts what is not answered with 200."""

    def __init__(self, addresses):
        super().__init__(daemon=True)
        self.addresses, self.going, self.asked, self.failed = addresses, True, 0, []

    def run(self):
        due = time.monotonic()
        while self.going:
            address = self.addresses[self.asked % len(self.addresses)]
            self.asked += 1
            try:
                connection = http.client.HTTPConnection(address, 8088, timeout=2 * SLOW)
                connection.request("GET", PATH, headers={"Host": HOST, "Connection": "close"})
                status = connection.getresponse().status
                connection.close()
                if status != 200:
                    self.failed.append((address, status))
            except OSError as e:
                self.failed.append((address, repr(e)))
            due += 1 / 60
            time.sleep(max(0, due - time.monotonic()))

    def end(self):
        self.going = False
        self.join()


def calm(c):
    status = c.get("status")
    return (status["drill"] is None and status["replicas"]["moved"] == 0 and not status["sites_lost"] and
            all(s["state"] == "ok" for s in status["services"]))


def report_of(c, number):
    return json.loads(c.local(c.hub, "drill", "--show", str(number), "--json")[1])


def phases(report):
    return [p["phase"] for p in report["phases"]]


def drilled(c, site, *more, seconds=120):
    code, out, err = c.cli("drill", site, "--json", *more, timeout=seconds)
    return code, json.loads(out) if out.strip().startswith("{") else {}, err


def sound(report):
    """All that does not depend on how fast this machine is just now."""
    return (report.get("aborted") == "" and report.get("result") in ("survived", "differs") and report["errors"]["agrees"] and
            all(x["agrees"] for x in report["kept"] + report["short"]) and
            all(x["observed"] and x["observed"]["node"] == x["predicted"]["node"] for x in report["replaced"]))


def begin(c):
    c.start()
    c.apply_ok(c.file("shop.yaml", declaration(EXCLUSIVE)))
    wait_until("all as planned", lambda: calm(c), 40)


def soft(r):
    with Cluster({site: [site + "-1"] for site in SITES}) as c:
        begin(c)
        users = Users([c.nodes[site + "-1"].address for site in SITES])
        users.start()
        wait_until("users are served", lambda: users.asked > 60 and users.asked - len(users.failed) > 30, 20)
        users.failed.clear()
        for part in (whole, refusals, command_killed, control_killed, ended_early):
            part(c, r)
            wait_until(f"{part.__name__}: all as planned again", lambda: calm(c), 90)
        users.end()
        r.check("users hardly noticed", len(users.failed) <= users.asked * 0.01, (users.asked, users.failed[:10]))
        print(f"   {users.asked} requests, {len(users.failed)} failed", flush=True)
        c.failed = bool(r.failures)


def fits_schema(r, report):
    try:
        import jsonschema  # pylint: disable=import-outside-toplevel
    except ImportError:
        return
    with open(os.path.join(ROOT, "docs/schema/drill.json"), encoding="utf-8") as f:
        schema = json.load(f)
    errors = [e.message for e in jsonschema.Draft202012Validator(schema).iter_errors(report)]
    r.equal("the report is as its schema says", errors, [])


def whole(c, r):
    code, report, err = drilled(c, "fra", "--for", "12s")
    r.check("soft: as predicted", sound(report), (code, err, report))
    r.equal("soft: status by its result", code, 0 if report["result"] == "survived" else 1)
    r.equal("soft: its phases", phases(report), ["traffic", "work", "hold", "return"])
    r.check("soft: it was seen at work", report["errors"]["requests"] > 300, report["errors"])
    r.check("soft: all was re-placed elsewhere", report["replaced"] and all(
        x["observed"] and x["observed"]["site"] != "fra" for x in report["replaced"]), report["replaced"])
    fits_schema(r, report)
    print(f"   traffic off {report['traffic_off']}, all replaced {report['all_replaced']}", flush=True)
    code, out, _ = c.cli("drill", "--show", "1")
    r.check("soft: the report for people", "as predicted" in out and "kept shop/web" in out, out)


def refusals(c, r):
    r.equal("no such site: status 2", c.cli("drill", "nowhere")[0], 2)
    r.equal("nothing there: status 3", c.cli("drill", "hub")[0], 3)
    r.equal("too short: status 2", c.cli("drill", "fra", "--for", "1s")[0], 2)
    r.equal("no rule: status 2", c.cli("drill", "fra", "--abort-if", "boredom")[0], 2)
    code, _, err = c.cli("drill", "fra", "--hard")
    r.check("hard, on one machine: status 3, names the node", code == 3 and "fra-1" in err, (code, err))
    r.equal("nothing was touched", c.get("status")["drill"], None)
    r.equal("none to abort: status 1", c.cli("drill", "--abort")[0], 1)


def command_killed(c, r):
    p = subprocess.Popen([SKERRY, "drill", "ams", "--for", "10s", "--data", c.hub.data], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    wait_until("it works", lambda: (c.get("status")["drill"] or {}).get("phase") in ("work", "hold"), 15)
    p.kill()
    p.wait()
    r.equal("another: status 3", c.cli("drill", "par")[0], 3)
    code, _, err = c.apply(os.path.join(c.dir, "shop.yaml"))
    r.check("an apply meanwhile: status 1, names the drill", code == 1 and "drill" in err, (code, err))
    p = subprocess.Popen([SKERRY, "drill", "--status", "--data", c.hub.data], stdout=subprocess.PIPE)
    r.check("status", b"ams" in p.communicate()[0])
    wait_until("it ends by itself", lambda: c.get("status")["drill"] is None, 90)
    r.check("command killed: as predicted all the same", sound(report_of(c, 2)), report_of(c, 2))


def control_killed(c, r):
    p = subprocess.Popen([SKERRY, "drill", "par", "--for", "14s", "--json", "--data", c.hub.data], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL)
    wait_until("it holds", lambda: (c.get("status")["drill"] or {}).get("phase") in ("work", "hold"), 15)
    kill(c.hub.half("net"))
    out = p.communicate(timeout=120 * SLOW)[0]
    report = json.loads(out) if out else {}
    r.check("control killed: the command stays with it", report.get("number") == 3, (p.returncode, out[:300]))
    r.check("control killed: it says so", report.get("restarts", 0) >= 1 and report.get("aborted") == "", report)


def ended_early(c, r):
    code, out, _ = c.cli("drill", "fra", "--for", "5m", "--detach", "--json")
    r.equal("detached", (code, json.loads(out)["phase"]), (0, "traffic"))
    wait_until("it holds", lambda: (c.get("status")["drill"] or {}).get("phase") == "hold", 30)
    p = subprocess.Popen([SKERRY, "drill", "ams", "--data", c.hub.data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    r.equal("refused meanwhile", p.wait(), 3)
    at = time.monotonic()
    r.equal("abort", c.cli("drill", "--abort")[0], 0)
    wait_until("it ends", lambda: c.get("status")["drill"] is None, 90)
    r.check("given back long before its time", time.monotonic() - at < 90 * SLOW)
    r.equal("its result", report_of(c, 4)["result"], "aborted")


class Wan(cut.Lab):
    """The same in namespaces, and one more for the users."""

    def __init__(self):
        cut.SITES["users"] = ["berlin"]
        super().__init__()
        del self.layout["users"]

    def load(self, seconds):
        ingress = [{"site": site, "address": self.nodes[site + "-1"].address, "port": 8088} for site in SITES]
        config = {"rate": 300, "seconds": seconds, "seed": 1, "host": HOST, "path": PATH, "keep_alive": False, "next_ms": 300,
                  "timeout_ms": 1000, "csv": os.path.join(self.dir, "load.csv"), "control": os.path.join(self.dir, "load.sock"),
                  "populations": [{"name": "berlin", "share": 1, "ingress": ingress}]}
        self.load_out = os.path.join(self.dir, "load.out")
        self.load_pid = self.warden.ask(spawn=[LAB, "exec", "--dir", self.lab, "berlin", LAB, "load",
                                               self.file("load.json", json.dumps(config))], log=self.load_out)["pid"]

    def load_end(self):
        kill(self.load_pid, signal.SIGTERM)
        wait_until("end of the load", lambda: not alive(self.load_pid), 20)
        with open(self.load_out, encoding="utf-8") as f:
            return [json.loads(line) for line in f if line.startswith("{")]


def table(c, name):
    return subprocess.run([LAB, "exec", "--dir", c.lab, name, "nft", "list", "table", "inet", "skerry_drill"],
                          capture_output=True, check=False).returncode == 0


def hard(r):
    if os.geteuid() != 0 or not os.access(LAB, os.X_OK):
        print("hard: needs root, for network namespaces")
        return
    with Wan() as c:
        begin(c)
        inside = cut.on_node(c, "fra-1")
        code, report, err = drilled(c, "fra", "--hard", "--for", "15s")
        r.check("hard: as predicted", sound(report), (code, err, report))
        r.equal("hard: its phases", phases(report), ["cut", "hold", "return"])
        r.check("hard: judged by the ordinary verdict", 1000 < report["verdict"]["observed_ms"] < 3000 * SLOW, report["verdict"])
        print(f"   verdict {report['verdict']}, all replaced {report['all_replaced']}", flush=True)
        r.check("hard: something ran there", inside)
        wait_until("its tables are gone", lambda: not table(c, "fra-1") and not table(c, "fra-2"), 20)
        seen = [e["what"] for e in c.get("events")["events"]]
        r.equal("hard: lost once, returned once", (seen.count("site_lost"), seen.count("site_returned")), (1, 1))

        # everything of the cut node dies: the kernel gives the site back all the same
        wait_until("all as planned again", lambda: calm(c), 60)
        r.equal("hard, again", c.cli("drill", "ams", "--hard", "--for", "12s", "--detach")[0], 0)
        wait_until("it is cut", lambda: table(c, "ams-1"), 10)
        at = time.monotonic()
        node = c.nodes["ams-1"]
        agent, net = node.half("agent"), node.half("net")
        for pid in (node.pid, agent, net):
            kill(pid)
        node.halves_gone()
        node.pid = None
        r.equal("abort of a hard one", c.cli("drill", "--abort")[0], 0)
        node.start()
        wait_until("it is back when its time is over", lambda: c.get("status")["drill"] is None, 90)
        r.check("not before", time.monotonic() - at > 8, time.monotonic() - at)
        r.equal("its result", report_of(c, 2)["result"], "aborted")
        wait_until("its table is gone", lambda: not table(c, "ams-1"), 20)
        wait_until("all as planned again", lambda: calm(c), 60)
        c.failed = bool(r.failures)


def row(r):
    if os.geteuid() != 0 or not os.access(LAB, os.X_OK):
        print("row: needs root, for network namespaces")
        return
    rounds = int(os.environ.get("SKERRY_ROUNDS", "2"))
    length = os.environ.get("SKERRY_FOR", "10s")
    raw = os.environ.get("SKERRY_RAW")
    timed = "SKERRY_ROUNDS" in os.environ  # a soak has the machine to itself; elsewhere times are not judged
    with Wan() as c:
        begin(c)
        c.load(0)
        time.sleep(3)
        good = 0
        for k in range(rounds):
            wait_until("all as planned", lambda: calm(c), 60)
            hard_one = k % 4 == 3
            code, report, err = drilled(c, SITES[k % 3], "--for", length, *(["--hard"] if hard_one else []))
            good += r.check(f"drill {k + 1}: as predicted", code == 0 if timed else sound(report), (code, err, report))
            if raw and report:
                with open(raw, "a", encoding="utf-8") as f:
                    f.write(json.dumps(report) + "\n")
            print(f"drill {k + 1} {report.get('mode')} {report.get('site')}: {report.get('result')}, off {report.get('traffic_off')}, "
                  f"verdict {report.get('verdict')}, replaced {report.get('all_replaced')}, errors {report.get('errors')}", flush=True)
        lines = c.load_end()
        summary = [x for x in lines if x.get("event", x.get("type")) == "summary"]
        print(f"{rounds} drills, {good} as predicted; users: {json.dumps(summary[-1] if summary else lines[-1:])}", flush=True)
        c.failed = bool(r.failures)


if __name__ == "__main__":
    wanted = os.environ.get("SKERRY_PARTS", "soft hard row").split()
    main(*[part for part in (soft, hard, row) if part.__name__ in wanted])

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The offline commands as a user runs them: the real binary, real files, what is printed, the exit status."""
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.environ["SKERRY_SOURCE_ROOT"]
SKERRY = os.environ["SKERRY_BIN"]
failures = []
checks = 0


def run(*args, stdin=None, env=None, cwd=None):
    full = dict(os.environ, **(env or {}))
    p = subprocess.run([SKERRY, *args], input=stdin, capture_output=True, text=True, env=full, cwd=cwd, timeout=60)
    return p.returncode, p.stdout, p.stderr


def check(name, ok, detail=""):
    global checks
    checks += 1
    if not ok:
        failures.append(name)
        print(f"FAIL {name}: {detail}")


INV = """currency: EUR
sites:
  fra: {region: eu, country: DE, at: [50.11, 8.68], provider: one, egress_per_gb: 0.001}
  ams: {region: eu, country: NL, at: [52.37, 4.90], provider: two, egress_per_gb: 0.002}
  par: {region: eu, country: FR, at: [48.86, 2.35], provider: three, egress_per_gb: 0.003}
nodes:
  fra: {site: fra, cpus: 4, memory: 8G, price_hour: 0.09, count: 2}
  ams: {site: ams, cpus: 4, memory: 8G, price_hour: 0.10, count: 2}
  par: {site: par, cpus: 4, memory: 8G, price_hour: 0.11, count: 2}
"""
APP = """name: shop
services:
  web:
    image: shop/web:1
    deploy: {replicas: 6, resources: {limits: {cpus: "0.50", memory: 256M}}}
    x-skerry: {survive: {sites: 1, keep: 4}, latency: {ms: 60, after_loss_ms: 120}, residency: [eu]}
x-skerry:
  users: {london: {at: [51.51, -0.13], share: 0.4}, madrid: {at: [40.42, -3.70], share: 0.6}}
"""


class Folder:
    def __init__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="skerry-cli-")

    def put(self, name, text):
        path = os.path.join(self.dir.name, name)
        with open(path, "w") as f:
            f.write(text)
        return path


def good_plan(folder):
    inv, app = folder.put("inv.yaml", INV), folder.put("app.yaml", APP)
    code, out, err = run("plan", "--inventory", inv, app)
    check("plan: status 0", code == 0, f"{code} {err}")
    check("plan: at most 100 columns", all(len(line) <= 100 for line in out.splitlines()),
          max(out.splitlines(), key=len, default=""))
    check("plan: at most 40 lines", len(out.splitlines()) <= 40, str(len(out.splitlines())))
    check("plan: verdict in the last line", "ok" in out.splitlines()[-1], out[-200:])
    for site in ("fra", "ams", "par"):
        check(f"plan: a row for the loss of {site}", re.search(rf"^\s*{site}\s+yes", out, re.M), out)
    code, out, err = run("plan", "--inventory", inv, "--json", app)
    plan = json.loads(out)
    check("plan --json: format", plan["format"] == "skerry.plan/1")
    check("plan --json: six replicas", len(plan["placements"]) == 6)
    check("plan --json: one row a site", [row["lost"] for row in plan["losses"]] == [["ams"], ["fra"], ["par"]])
    t = plan["timing_ms"]
    check("plan --json: the time of the losses is measured", t["losses"] > 0 and t["plan"] > 0 and t["read"] > 0, t)
    check("plan --json: the parts are disjoint", abs(t["read"] + t["plan"] + t["losses"] - t["total"]) < 1e-6, t)
    again = json.loads(run("plan", "--inventory", inv, "--json", "--threads", "2", app)[1])
    plan.pop("timing_ms"), again.pop("timing_ms")
    check("plan --json: the same at two threads", plan == again)
    saved = folder.put("plan.json", out)
    code, out, err = run("verify", "--inventory", inv, "--plan", saved, app)
    check("verify: ok", code == 0 and out == "ok\n", f"{code} {out} {err}")
    broken = json.loads(open(saved).read())
    broken["placements"][0]["node"] = "par-2" if broken["placements"][0]["node"] != "par-2" else "par-1"
    code, out, err = run("verify", "--inventory", inv, "--plan", folder.put("broken.json", json.dumps(broken)), app)
    check("verify: a moved replica is found, status 3", code == 3 and len(out) > 0, f"{code} {out}")
    code, out, err = run("plan", "--inventory", inv, "--current", saved, "--json", app)
    check("plan --current: nothing moves", code == 0 and json.loads(out)["moves"] == [], err)
    as_json = folder.put("app.json", json.dumps({"name": "shop", "services": {"web": {"image": "a", "deploy": {"replicas": 1}}}}))
    code, out, err = run("plan", "--inventory", inv, "--json", as_json)
    check("plan: JSON is read too", code == 0, err)
    code, out, err = run("plan", "--inventory", inv, "--json", "-", stdin=APP)
    check("plan: standard input is read", code == 0, err)


def impossible(folder):
    """An impossible policy names service, lost site, resource, shortfall and fix; following the fix makes it pass."""
    inv = folder.put("inv.yaml", INV)
    app = folder.put("tight.yaml", APP.replace('cpus: "0.50"', 'cpus: "3"'))
    code, out, err = run("plan", "--inventory", inv, app)
    check("impossible: status 3", code == 3, f"{code} {out} {err}")
    check("impossible: has a fix", "fix:" in out, out)
    check("impossible: at most 100 columns", all(len(line) <= 100 for line in out.splitlines()), out)
    check("impossible: the text names service, lost site, resource and shortfall",
          re.search(r"^problem: shop/web: without [a-z]+: .*; short\s+of [\d.]+ cpus \(proven\) fix: ", out.replace("\n    ", " "), re.M), out)
    slim = folder.put("slim.yaml", APP.replace("keep: 4", "keep: 5"))
    code, out, err = run("plan", "--inventory", inv, slim)
    check("impossible: keep that no spread gives", code == 3 and "fix: set survive.keep to 4" in out, out)
    plan = json.loads(run("plan", "--inventory", inv, "--json", app)[1])
    problem = plan["problems"][0]
    check("impossible: names the service", problem["service"] == "web", str(problem))
    check("impossible: names resource and shortfall", problem["resource"] and problem["short"], str(problem))
    check("impossible: names the lost site", problem["lost"], str(problem))


def bad(folder):
    """Each bad input: one clear line, the right status, nothing on standard output; its good twin is good_plan()."""
    inv, app = folder.put("inv.yaml", INV), folder.put("app.yaml", APP)

    def refuse(name, status, pattern, *args, **kw):
        code, out, err = run(*args, **kw)
        lines = [line for line in err.splitlines() if not line.startswith("  fix: ")]
        check(f"bad: {name}: status {status}", code == status, f"{code}: {err}")
        check(f"bad: {name}: one line", len(lines) == 1, err)
        check(f"bad: {name}: says {pattern}", re.search(pattern, err), err)
        check(f"bad: {name}: nothing on standard output", out == "", out)

    def refuse_app(name, pattern, text, status=2):
        path = folder.put("bad.yaml", text)
        refuse(name, status, r"bad\.yaml:\d+:\d+: .*" + pattern, "plan", "--inventory", inv, path)

    def refuse_inv(name, pattern, text):
        path = folder.put("badinv.yaml", text)
        refuse(name, 2, r"badinv\.yaml:\d+:\d+: .*" + pattern, "plan", "--inventory", path, app)

    refuse("no such command", 2, "unknown command 'plam'.*\n.*did you mean 'skerry plan'", "plam")
    refuse("no such option", 2, "--inventry.*\n.*did you mean '--inventory'", "plan", "--inventry", inv, app)
    refuse("option without value", 2, "'--inventory' needs a value", "plan", app, "--inventory")
    refuse("option twice", 2, "given twice", "plan", "--inventory", inv, "--inventory", inv, app)
    refuse("no file", 2, "needs FILE", "plan", "--inventory", inv)
    refuse("no inventory and no cluster", 1, "(?s)no daemon answers.*--inventory", "plan", app,
           env={"SKERRY_DATA": folder.dir.name})
    refuse("no project in verify", 2, "needs --inventory", "verify", app)
    refuse("file that is not there", 2, r"nothere\.yaml", "plan", "--inventory", inv, "nothere.yaml")
    refuse("a folder for a file", 1, "regular file|directory", "plan", "--inventory", inv, folder.dir.name)
    refuse("bad number of threads", 2, "--threads", "plan", "--inventory", inv, "--threads", "x", app)
    refuse("negative move price", 2, "--move-price", "plan", "--inventory", inv, "--move-price", "-1", app)
    refuse_app("YAML that is none", "", "name: shop\nservices: {web: [\n")
    refuse_app("duplicate key", "duplicate key 'web'", "name: shop\nservices:\n  web: {image: a}\n  web: {image: b}\n")
    refuse_app("tab in indentation", "", "name: shop\nservices:\n\tweb: {image: a}\n")
    refuse_app("unknown key", "did you mean|unknown key 'imge'", "name: shop\nservices:\n  web: {imge: a}\n")
    refuse_app("known key that is not supported", "build", "name: shop\nservices:\n  web: {build: .}\n")
    refuse_app("unknown policy", "surive", "name: shop\nservices:\n  web: {image: a, x-skerry: {surive: {sites: 1}}}\n")
    refuse_app("keep above replicas", "keep",
               "name: shop\nservices:\n  web: {image: a, deploy: {replicas: 2}, x-skerry: {survive: {sites: 1, keep: 3}}}\n")
    refuse_app("replicas that are no number", "replicas", "name: shop\nservices:\n  web: {image: a, deploy: {replicas: many}}\n")
    refuse_app("cpus that are none", "cpus",
               "name: shop\nservices:\n  web: {image: a, deploy: {resources: {limits: {cpus: lots}}}}\n")
    refuse_app("latency without users", "users", "name: shop\nservices:\n  web: {image: a, x-skerry: {latency: {ms: 10}}}\n")
    refuse_app("near nobody", "nobody", "name: shop\nservices:\n  web: {image: a, x-skerry: {near: [nobody]}}\n")
    refuse_app("depends on nobody", "nobody", "name: shop\nservices:\n  web: {image: a, depends_on: [nobody]}\n")
    refuse_app("depends on itself", "", "name: shop\nservices:\n  a: {image: a, depends_on: [b]}\n  b: {image: b, depends_on: [a]}\n")
    refuse_app("bad constraint", "constraint",
               'name: shop\nservices:\n  web: {image: a, deploy: {placement: {constraints: ["node.colour == red"]}}}\n')
    refuse_app("exclusive with two replicas", "exclusive",
               "name: shop\nservices:\n  web: {image: a, deploy: {replicas: 2}, x-skerry: {exclusive: true}}\n")
    refuse_app("variable that must be set", "TAG", "name: shop\nservices:\n  web: {image: 'a:${TAG:?set TAG}'}\n")
    refuse_app("env_file that is not there", "gone.env", "name: shop\nservices:\n  web: {image: a, env_file: gone.env}\n")
    refuse_app("billion laughs", "",
               "name: shop\nx-a: &a [1,1,1,1,1,1,1,1,1,1]\n" +
               "".join(f"x-{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefgh", "bcdefghi")))
    refuse_inv("node in no site", "nowhere", INV + "  lost: {site: nowhere, cpus: 1, memory: 1G}\n")
    refuse_inv("node without cpus", "cpus", INV + "  lost: {site: fra, cpus: 0, memory: 1G}\n")
    refuse_inv("name clash by count", "fra-1", INV + "  fra-1: {site: fra, cpus: 1, memory: 1G}\n")
    refuse_inv("coordinates off the globe", "", INV.replace("[50.11, 8.68]", "[95, 8.68]"))
    refuse_inv("link to nowhere", "nowhere", INV + "links: [{between: [fra, nowhere], rtt_ms: 1}]\n")
    refuse_inv("negative price", "price", INV.replace("price_hour: 0.09", "price_hour: -1"))
    refuse("the same project twice", 2, "shop", "plan", "--inventory", inv, app, folder.put("app2.yaml", APP))
    refuse("a plan that is no plan", 2, r"app\.yaml", "verify", "--inventory", inv, "--plan", app, app)


def help_teaches():
    code, out, err = run("help")
    check("help: status 0", code == 0)
    commands = json.loads(run("help", "--json")[1])["commands"]
    for command in commands:
        name = command["name"]
        code, out, err = run("help", name)
        check(f"help {name}: usage and examples", code == 0 and "usage: skerry " + name in out and "Examples" in out, out)
        code, out2, err = run(name, "--help")
        check(f"{name} --help is help {name}", code == 0 and out2 == out)
        code, out, err = run("help", "--man", name)
        check(f"man page of {name}", code == 0 and "# SYNOPSIS" in out)
        if os.path.exists("/usr/bin/scdoc"):
            p = subprocess.run(["scdoc"], input=out, capture_output=True, text=True)
            check(f"man page of {name}: scdoc takes it", p.returncode == 0, p.stderr)
    code, out, err = run("version", "--json")
    check("version --json", code == 0 and json.loads(out)["format"] == "skerry.version/1")
    code, out, err = run("help", "--bash-completion")
    p = subprocess.run(["bash", "-n"], input=out, capture_output=True, text=True)
    check("completion is bash", p.returncode == 0, p.stderr)
    code, out, err = run("plan", "--json", "--inventory", "gone.yaml", "gone.yaml")
    check("--json error is JSON", json.loads(out)["error"]["code"] == "bad_input", out)


def main():
    good_plan(Folder())
    impossible(Folder())
    bad(Folder())
    help_teaches()
    print(f"{checks - len(failures)} passed, {len(failures)} failed")
    return 1 if failures else 0


sys.exit(main())

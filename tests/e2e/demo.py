# SPDX-License-Identifier: Apache-2.0
"""The demo as a person starts it: a site dies, and what was predicted is what is seen; a wrong prediction is flagged.

As root: once in namespaces with containers, and once more as an ordinary user (nobody) on loopback with programs, against a
plan that was falsified. Otherwise only the latter, as oneself. Figures of time are printed, and judged by bench and soak
runs, which have a machine of their own: here a busy machine must not fail.
"""
import copy
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import termios
import time

ROOT = os.environ["SKERRY_SOURCE_ROOT"]
SKERRY = os.environ["SKERRY_BIN"]
SLOW = float(os.environ.get("SKERRY_SLOW", "1"))
SHOP = ROOT + "/examples/shop"
failures = []


def check(name, ok, detail=""):
    if not ok:
        failures.append(name)
        print(f"FAIL {name}: {str(detail)[:3000]}", flush=True)


def reachable(prefix, folder):
    """The program where that user may run it: a clone below /root is closed to others, so what the demo needs is copied then."""
    if not prefix or subprocess.run([*prefix, "test", "-x", SKERRY], check=False).returncode == 0:
        return SKERRY
    os.chmod(folder, 0o755)
    os.makedirs(folder + "/build")
    for name in ("skerry", "skerry-shim", "skerry-lab"):
        shutil.copy(os.path.join(os.path.dirname(SKERRY), name), folder + "/build")
    shutil.copytree(SHOP, folder + "/examples/shop")
    return folder + "/build/skerry"


def demo(*flags, prefix=()):
    # From a folder that only its owner may enter, as a home is: daemons and engines of other users must not care.
    # With a user's PATH, which does not lead to haproxy and nft.
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as copy_of:
        program = [*prefix, "env", "PATH=/usr/local/bin:/usr/bin:/bin", reachable(prefix, copy_of), "demo"]
        done = subprocess.run([*program, "--exit", "--json", "--seed", "7", *flags], capture_output=True, text=True,
                              timeout=150 * SLOW, cwd=home)
    data = None
    try:
        data = json.loads(done.stdout)
    except ValueError:
        check("answer is JSON", False, done.stdout + done.stderr)
    print(f"status {done.returncode}: {done.stdout}", flush=True)
    return done, data or {}


def left_behind():
    out = []
    for pid in os.listdir("/proc"):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                line = f.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "/tmp/skerry-demo-" in line:
            out.append(line)
    return out


def judge(name, data, network):
    check(name + " format", data.get("format") == "skerry.demo/1", data)
    check(name + " network", data.get("network") == network, data)
    check(name + " sites", data.get("sites") == ["ams", "fra", "hub", "par"], data)
    check(name + " killed", data.get("killed") == "fra", data)
    check(name + " requests", data.get("requests", 0) > 2000 and data.get("generator_errors") == 0, data)
    check(name + " lost replicas run elsewhere", (data.get("replaced_ms") or 0) > 0, data)
    check(name + " detected before", 0 < (data.get("detected_ms") or 0) <= (data.get("replaced_ms") or 0) + 10, data)
    check(name + " kept as asked", data.get("observed", {}).get("kept") == [{"service": "web", "count": 4}], data)
    check(name + " nothing short", data.get("observed", {}).get("short") == 0, data)


def falsified():
    """The shop's plan, with what fra's loss does to web moved to where it will not happen."""
    made = subprocess.run([SKERRY, "plan", "--json", "--inventory", SHOP + "/inventory.yaml", SHOP + "/compose.yaml"],
                          capture_output=True, text=True, check=True)
    plan = copy.deepcopy(json.loads(made.stdout))
    for loss in plan["losses"]:
        for row in loss["replaced"]:
            row["site"], row["node"] = "hub", "hub-1"
    return json.dumps(plan)


def on_terminal():
    """As a person has it: on a terminal it stays up with its users, a lost site's included, until Ctrl-C, and then leaves nothing."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(SKERRY, [SKERRY, "demo", "--seconds", "4"])
    termios.tcsetwinsize(terminal, (40, 100))
    seen, asked, after, end = "", None, "", time.monotonic() + 120 * SLOW
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            text = os.read(terminal, 65536).decode(errors="replace")
        except OSError:
            break  # the other end is closed: it has ended
        seen += text
        if "It stays up" in seen:
            after += text.split("It stays up")[-1]
        if after and asked is None:
            rates = re.findall(r"(\d+)/s", after)
            if any(int(rate) > 200 for rate in rates):
                os.write(terminal, b"\x03")
                asked = time.monotonic()
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    check("terminal: stays up with its users", asked is not None, seen[-3000:])
    check("terminal: no old news", "the loss is detected" not in after, after[-3000:])
    check("terminal: ends well by Ctrl-C", status == 0 and "taking it down" in seen, (status, seen[-3000:]))
    check("terminal: leaves nothing", left_behind() == [], left_behind())


def main():
    on_terminal()
    if os.geteuid() == 0:
        done, data = demo("--seconds", "12")
        judge("namespaces", data, "namespaces")
        check("prediction agrees", data.get("agrees") is True and data.get("differences") == [], data)
        check("status of agreement", done.returncode == 0, done.stderr)
        prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env", "HOME=/tmp"]
    else:
        prefix = []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as plan:
        plan.write(falsified())
        plan.flush()
        os.chmod(plan.name, 0o644)
        done, data = demo("--seconds", "12", "--expect", plan.name, prefix=prefix)
    judge("loopback", data, "loopback")
    check("wrong prediction is flagged", data.get("agrees") is False and len(data.get("differences", [])) == 1, data)
    check("wrong prediction's words", "re-placed: predicted web 2 on hub-1; observed web " in "".join(data.get("differences", [])), data)
    check("status of disagreement", done.returncode == 1, done.returncode)
    check("people are told too", "DIFFERS" in done.stderr and "the prediction was wrong" in done.stderr, done.stderr)
    done = subprocess.run([SKERRY, "demo", "--exit", "--kill", "nowhere"], capture_output=True, text=True, timeout=100 * SLOW)
    check("unknown site", done.returncode == 2 and "no site 'nowhere'" in done.stderr, done.stderr)
    check("nothing is left behind", left_behind() == [], left_behind())
    print("failed:", len(failures), flush=True)
    return 1 if failures else 0


sys.exit(main())

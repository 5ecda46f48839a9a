# SPDX-License-Identifier: Apache-2.0
"""The hard cut of a drill in a network namespace of its own: who is cut off, for how long, and what is refused. Root, nft."""
import os
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *  # noqa: E402,F403

PEERS = [{"node": "n1", "site": "s1", "address": "10.77.0.1", "prefix": "10.210.1.0/24", "alive": True},
         {"node": "n2", "site": "s1", "address": "10.77.0.2", "prefix": "10.210.2.0/24", "alive": True},
         {"node": "far", "site": "s2", "address": "10.77.0.3", "prefix": "10.210.3.0/24", "alive": True},
         {"node": "far6", "site": "s2", "address": "fd77::3", "prefix": "10.210.3.0/24", "alive": True},
         {"node": "bad", "site": "s3", "address": "0/0 } ; flush ruleset", "prefix": "0.0.0.0/0", "alive": True}]


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def answered(a, number, op):
    a.wait(lambda x: any(f["type"] == "drilled" and f["number"] == number and f["op"] == op for f in x.history), 10, op)
    return [f for f in a.history if f["type"] == "drilled" and f["number"] == number and f["op"] == op][-1]


def reaches(netns, address):
    code = f"""import socket
s = socket.socket(); s.settimeout(0.3)
try: s.connect(("{address}", 9))
except ConnectionRefusedError: print("yes")
except OSError: print("no")"""
    return run("nsenter", "--net=/run/netns/" + netns, sys.executable, "-c", code).stdout.strip() == "yes"


def ask(a, number, op, ms, **more):
    a.send({"type": "drill", "number": number, "op": op, "ms": ms, **more})
    return answered(a, number, op)


def table(netns):
    return run("nsenter", "--net=/run/netns/" + netns, "nft", "list", "table", "inet", "skerry_drill").stdout


def refused(a, frame):
    """A frame that is not as it must be ends the connection."""
    a.send(dict({"type": "drill"}, **frame))
    a.sock.settimeout(5)
    data = b""
    while True:
        more = a.sock.recv(65536)
        if not more:
            break
        data += more
    a.connect()
    return b'"error"' in data and b"a drill needs" in data


def main():
    if os.geteuid() != 0 or not shutil.which("nft"):
        skip("needs root and nft")
    netns = "skd-" + new_id()[:8]
    if run("ip", "netns", "add", netns).returncode != 0:
        skip("needs network namespaces")
    a = None
    try:
        inside = ["nsenter", "--net=/run/netns/" + netns]
        run(*inside, "ip", "link", "set", "lo", "up")
        for address in ("10.77.0.1/32", "10.77.0.2/32", "10.77.0.3/32"):
            run(*inside, "ip", "address", "add", address, "dev", "lo")
        a = Agent(netns=netns)
        answer = ask(a, 1, "check", 5000)
        assert not answer["can"] and "not assigned anything" in answer["why"], answer
        a.send({"type": "assign", "rev": 1, "instances": [], "peers": PEERS})
        answer = ask(a, 2, "check", 5000)
        assert answer["can"], answer
        assert table(netns) == "", "a check touches nothing"
        for frame in ({}, {"number": 0, "op": "cut", "ms": 1000}, {"number": 3, "op": "burn", "ms": 1000},
                      {"number": 3, "op": "cut", "ms": 0}, {"number": 3, "op": "cut", "ms": 900001},
                      {"number": 3, "op": "cut"}, {"number": -1, "op": "end", "ms": 0}):
            assert refused(a, frame), frame

        began = time.monotonic()
        assert ask(a, 4, "cut", 4000)["can"]
        shown = table(netns)
        assert "10.77.0.3" in shown and "fd77::3" in shown and "10.210.3.0/24" in shown, shown
        assert "10.77.0.2" not in shown and "0.0.0.0" not in shown, "its own site is left alone: " + shown
        assert not reaches(netns, "10.77.0.3") and reaches(netns, "10.77.0.2")
        time.sleep(1)
        assert ask(a, 4, "cut", 4000)["can"], "asked again: it is cut"
        a.kill()  # the kernel gives it back by itself
        while not reaches(netns, "10.77.0.3"):
            assert time.monotonic() - began < 12, "still cut"
        took = time.monotonic() - began
        assert 3.5 < took < 9, took
        a.start()
        until = time.monotonic() + 5
        while table(netns):
            assert time.monotonic() < until, "the next agent removes the empty table"
            time.sleep(0.05)

        assert ask(a, 5, "cut", 60000)["can"]
        assert not reaches(netns, "10.77.0.3")
        assert ask(a, 5, "end", 0)["can"]
        assert reaches(netns, "10.77.0.3") and table(netns) == ""

        assert ask(a, 8, "check", 5000, term=7)["can"]
        for term in (6, 0):  # a deposed leader's: nothing comes of it
            a.send({"type": "drill", "term": term, "number": 9, "op": "cut", "ms": 60000})
        assert ask(a, 10, "check", 5000, term=7)["can"]
        assert table(netns) == "" and not [f for f in a.history if f["type"] == "drilled" and f["number"] == 9]
        assert ask(a, 11, "cut", 60000, term=8)["can"]
        a.send({"type": "drill", "term": 7, "number": 11, "op": "end", "ms": 0})
        assert ask(a, 12, "check", 5000)["can"], "without a term: of a version that had none"
        assert not reaches(netns, "10.77.0.3")
        assert ask(a, 11, "end", 0, term=8)["can"] and reaches(netns, "10.77.0.3")

        a.send({"type": "assign", "rev": 2, "instances": [], "peers": [p for p in PEERS if p["site"] != "s2"]})
        answer = ask(a, 6, "check", 5000)
        assert not answer["can"] and "no server of another site" in answer["why"], answer
        lone = [dict(PEERS[0], address="127.0.0.1")] + PEERS[2:3]
        a.send({"type": "assign", "rev": 3, "instances": [], "peers": lone})
        answer = ask(a, 7, "check", 5000)
        assert not answer["can"] and "loopback" in answer["why"], answer
        print("ok")
    finally:
        if a:
            a.close()
        run("ip", "netns", "del", netns)


main()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Keys of a declaration whose way goes through the whole cluster, from the file to the running program and its users."""
import os
import shutil
import socket
import sys
import urllib.request

from cluster import PYTHON, SERVE, Cluster, main, wait_until

PUBLISHED = 18123
APP = f"""name: shop
services:
  web:
    command: ["{PYTHON}", "{SERVE}"]
    env_file: [first.env, {{path: second.env, required: true}}, {{path: none.env, required: false}}]
    environment: {{VERSION: own}}
    labels: {{team: shop}}
    ports: ["{PUBLISHED}:8000"]
    stop_grace_period: 1s
    deploy: {{replicas: 2}}
  show:
    entrypoint: /bin/sh -c
    command: ["env; exec sleep 100000"]
    env_file: first.env
    environment: ["TAKEN"]
    working_dir: /usr
    expose: ["9000"]
    healthcheck: {{test: ["CMD-SHELL", "test $$(pwd) = /usr && test -n $$PORT"], interval: 1s}}
    stop_grace_period: 1s
"""


def fetch(address, port):
    with urllib.request.urlopen(f"http://{address}:{port}/", timeout=3) as answer:
        return answer.read().decode().split(), answer.headers.get("X-Skerry-Ingress")


def reached(address, port):
    """Both replicas have answered behind one published port."""
    seen = set()
    for _ in range(8):
        try:
            seen.add(tuple(fetch(address, port)[0]))
        except OSError:
            return None
    return seen if len(seen) == 2 else None


def through_a_cluster(r):
    with Cluster({"fra": ["fra-1", "fra-2"]}) as c:
        c.start()
        c.file("first.env", "# comment\nFIRST=one\nVERSION=first\nBOTH=first\nQUOTED='a  b'\n")
        c.file("second.env", "export BOTH=second\nVERSION=second\n")
        os.environ["TAKEN"] = "from the caller"
        c.apply_ok(c.file("app.yaml", APP))
        ps = c.settled({"web": 2, "show": 1})
        wait_until("the environment in the log", lambda: "SKERRY_NODE=" in c.cli("logs", "shop/show")[1], 10)
        lines = [line.split("| ")[-1].strip() for line in c.cli("logs", "shop/show")[1].splitlines()]
        text = c.cli("logs", "shop/show")[1]
        for want in ("FIRST=one", "VERSION=first", "QUOTED=a  b", "TAKEN=from the caller", "PWD=/usr"):
            r.check(f"env_file, environment: {want}", any(line.endswith(want) for line in lines), text)
        versions = {fetch(i["address"], i["port"])[0][-1] for i in ps if i["service"] == "web"}
        r.equal("environment wins over env_file", versions, {"own"})
        for i in (i for i in ps if i["service"] == "web"):
            pid = c.workloads()[i["id"]]["main"][0]
            with open(f"/proc/{pid}/environ", encoding="utf-8") as f:
                own = dict(pair.split("=", 1) for pair in f.read().split("\0") if pair)
            r.equal("the later env_file wins", [own.get("BOTH"), own.get("FIRST"), own.get("TAKEN")], ["second", "one", None])
        if not shutil.which("haproxy"):
            print("   published ports: skipped, haproxy is not installed", flush=True)
            return
        doors = [n.address for n in c.nodes.values() if n.site == "fra"]
        door = wait_until("the published port at the site's ingress",
                          lambda: [a for a in doors if reached(a, PUBLISHED)], 20)
        r.equal("one ingress a site", len(door), 1)
        r.equal("who answers are the replicas", {words[0] for words in reached(door[0], PUBLISHED)},
                {i["id"] for i in ps if i["service"] == "web"})
        with socket.socket() as s:  # a published port is any TCP, not HTTP alone
            s.settimeout(3)
            s.connect((door[0], PUBLISHED))
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            r.check("bytes go through as they are", s.recv(100).startswith(b"HTTP/1.0 200"))
        c.apply_ok(c.file("app.yaml", APP.replace(f"{PUBLISHED}:8000", f"{PUBLISHED + 1}:8000")))
        wait_until("another published port", lambda: reached(door[0], PUBLISHED + 1), 20)

        def closed():
            with socket.socket() as s:
                s.settimeout(1)
                return s.connect_ex((door[0], PUBLISHED)) != 0
        wait_until("the former one to be closed", closed, 20)


if __name__ == "__main__":
    main(through_a_cluster)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Asks every copy of a service in turn, at a steady rate, from inside a namespace, until its standard input ends.
usage: asker.py RATE HOST:PORT...   On standard output, at its end: {"count": N, "failed": [[what, why], ...]}

In a test: `with Asker(node, doors, 50) as load: ...`, then load.count, load.failed.
"""
import http.client
import json
import os
import select
import subprocess
import sys
import time

from cluster import PYTHON, SLOW


class Asker:
    def __init__(self, node, doors, rate):
        argv = node.prefix_argv + [PYTHON, os.path.abspath(__file__), str(rate / SLOW), *(f"{h}:{p}" for h, p in doors)]
        self.count, self.failed = 0, []
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        try:
            out, _ = self.process.communicate(timeout=30 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, _ = self.process.communicate()
        if not kind:
            got = json.loads(out)
            self.count, self.failed = got["count"], got["failed"]
        return False


def ask(door):
    """What is wrong with the answer; None: nothing."""
    host, port = door.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=5 * SLOW)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        response.read()
        return None if response.status == 200 else f"status {response.status}"
    except OSError as e:
        return repr(e)
    finally:
        connection.close()


def run(rate, doors):
    count, failed, due = 0, [], time.monotonic()
    while not select.select([0], [], [], max(0.0, due - time.monotonic()))[0]:
        why = ask(doors[count % len(doors)])
        count += 1
        if why:
            failed.append([doors[(count - 1) % len(doors)], why])
        due = max(due + 1 / rate, time.monotonic() - 1)
    print(json.dumps({"count": count, "failed": failed[:20]}))


if __name__ == "__main__":
    run(float(sys.argv[1]), sys.argv[2:])

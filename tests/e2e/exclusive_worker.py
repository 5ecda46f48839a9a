#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What exclusive.py runs as exclusive work: appends who it is, and goes on saying so. usage: exclusive_worker.py FILE"""
import json
import os
import sys
import time


def work(path):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    what = "start"
    while True:
        line = {"t": time.monotonic_ns(), "epoch": int(os.environ["SKERRY_EPOCH"]), "node": os.environ["SKERRY_NODE"],
                "pid": os.getpid(), "what": what}
        os.write(fd, (json.dumps(line) + "\n").encode())
        os.fsync(fd)
        what = "alive"
        time.sleep(0.04)


if __name__ == "__main__":
    work(sys.argv[1])

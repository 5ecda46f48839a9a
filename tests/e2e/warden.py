#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Owns every process and folder of one end-to-end test, so that nothing is left when the test ends in any way.

Started by cluster.py with a pipe as standard input. Each line is one JSON request; each answer is one line:
    {"spawn": [argv], "log": path, "env": {}}  ->  {"pid": N}
    {"folder": path}                           ->  {}      removed at the end, and the control groups of agents below it
    {"undo": [argv]}                           ->  {}      run at the end, last one first
It is the reaper of all its descendants: a daemon that is killed leaves its shims to it. At the end of the pipe (the test
ended, was killed, or asks for it) it kills each descendant by its pid until none is left, and removes the folders.
"""
import ctypes
import glob
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def children_of_all():
    children = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as f:
                stat = f.read()
        except OSError:
            continue
        fields = stat[stat.rindex(b")") + 2:].split()
        children.setdefault(int(fields[1]), []).append((int(name), fields[0]))
    return children


def descendants(root):
    children, found, todo = children_of_all(), [], [root]
    while todo:
        for pid, state in children.get(todo.pop(), []):
            todo.append(pid)
            if state != b"Z":
                found.append(pid)
    return found


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def spawn(request):
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0), os.dup2(log, 1), os.dup2(log, 2)
        os.closerange(3, 256)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execvpe(request["spawn"][0], request["spawn"], dict(os.environ, **request.get("env", {})))
    except BaseException as e:  # the child must never return into the loop below
        os.write(2, f"warden: {e}\n".encode())
    os._exit(127)


def end_all():
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        reap()
        alive = descendants(os.getpid())
        if not alive:
            return True
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.02)
    return False


def remove_groups(level):
    """True once none is left. One whose last process is just ending cannot go yet."""
    left = False
    for pattern in ("/sys/fs/cgroup/*" + level, "/sys/fs/cgroup" + level):
        for group in glob.glob(pattern + "/*/") + glob.glob(pattern):
            try:
                os.rmdir(group)
            except OSError:
                left = True
    return not left


def forget_groups(folder):
    """The control groups of the agents in this folder: nobody is left who would remove them."""
    for agent in glob.glob(os.path.join(glob.escape(os.path.realpath(folder)), "*", "agent")):
        level = "/skerry/" + hashlib.sha256(agent.encode()).hexdigest()[:12]
        deadline = time.monotonic() + 2
        while not remove_groups(level) and time.monotonic() < deadline:
            time.sleep(0.02)


def main():
    folders, undo, buffered = [], [], b""
    # blocked, not ignored: a child that is told to end before it has become its program must not lose that
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        sys.exit("warden: cannot become a reaper")
    while True:
        ready, _, _ = select.select([0], [], [], 0.05)
        reap()
        if not ready:
            continue
        part = os.read(0, 65536)
        if not part:
            break
        buffered += part
        while b"\n" in buffered:
            line, buffered = buffered.split(b"\n", 1)
            request, answer = json.loads(line), {}
            if "spawn" in request:
                answer["pid"] = spawn(request)
            elif "folder" in request:
                folders.append(request["folder"])
            elif "undo" in request:
                undo.append(request["undo"])
            os.write(1, json.dumps(answer).encode() + b"\n")
    clean = end_all()
    for argv in reversed(undo):
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       timeout=60, check=False)
    for folder in folders:
        forget_groups(folder)
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if clean else 1)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""What the agent's integration tests share: an agent process in a folder of its own, and its socket."""
import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

AGENTD, SHIM = sys.argv[1:3] if len(sys.argv) > 2 else ("", "")


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def new_id():
    return secrets.token_hex(16)


def free_port():
    """Below the ports that the kernel gives to whoever connects: nobody else comes to it by chance."""
    while True:
        port = 10000 + secrets.randbelow(10000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError as e:
                if e.errno != errno.EADDRINUSE:
                    raise


class Agent:
    def __init__(self, prefix="", log_bytes=0, netns=None, data=None, node="n1", site="s1", image_keep_ms=0):
        self.data = data or tempfile.mkdtemp(prefix="skerry-agent-")
        self.args = [AGENTD, self.data, SHIM, node, site, prefix, str(log_bytes), str(image_keep_ms)]
        if netns:
            self.args = ["nsenter", "--net=/run/netns/" + netns] + self.args
        self.rev = 0
        self.sock = None
        self.frames = b""
        self.seen = {}
        self.logs = {}
        self.history = []
        self.start()

    def start(self):
        self.log = open(os.path.join(self.data, "agent.log"), "ab")
        began = os.path.getsize(self.log.name)
        self.proc = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                     start_new_session=True)
        # Not before it says so. The agent before it may have died between a fork and its exec; for that moment the child
        # holds the old listening socket, which takes a connection and then resets it.
        until = time.time() + 20
        while b"agent ready" not in self.log_from(began):
            if time.time() > until or self.proc.poll() is not None:
                raise AssertionError("the agent did not come up: " + self.own_log())
            time.sleep(0.005)
        self.connect()

    def connect(self):
        path = os.path.join(self.data, "run", "agent.sock")
        until = time.time() + 20
        while True:
            try:
                s = socket.socket(socket.AF_UNIX)
                s.connect(path)
                break
            except OSError:
                s.close()
                if time.time() > until or self.proc.poll() is not None:
                    raise AssertionError("the agent did not come up: " + self.own_log())
                time.sleep(0.005)
        self.sock, self.frames, self.seen = s, b"", {}

    def log_from(self, offset):
        with open(self.log.name, "rb") as f:
            f.seek(offset)
            return f.read()

    def own_log(self):
        return open(os.path.join(self.data, "agent.log")).read()[-4000:]

    def kill(self, signum=signal.SIGKILL):
        self.proc.send_signal(signum)
        self.proc.wait()
        if self.sock:
            self.sock.close()

    def restart(self, signum=signal.SIGKILL):
        self.kill(signum)
        self.start()

    def send(self, frame):
        body = json.dumps(dict({"v": 1}, **frame)).encode()
        self.sock.sendall(struct.pack(">I", len(body)) + body)

    def assign(self, instances, prefetch=()):
        self.rev += 1
        self.send({"type": "assign", "rev": self.rev, "instances": instances, "prefetch": list(prefetch)})

    def pump(self, seconds=0.05):
        self.sock.settimeout(seconds)
        try:
            data = self.sock.recv(1 << 20)
            if not data:
                raise AssertionError("the agent closed the connection: " + self.own_log())
            self.frames += data
        except socket.timeout:
            return
        while len(self.frames) >= 4:
            n = struct.unpack(">I", self.frames[:4])[0]
            if len(self.frames) < 4 + n:
                break
            self.take(json.loads(self.frames[4:4 + n]))
            self.frames = self.frames[4 + n:]

    def take(self, frame):
        self.history.append(frame)
        if frame["type"] == "observe":
            if frame["full"]:
                self.seen = {}
            for one in frame["instances"]:
                self.seen[one["id"]] = one
        elif frame["type"] == "log":
            self.logs.setdefault(frame["stream"], []).append(frame)

    def wait(self, what, seconds=10, why=""):
        until = time.time() + seconds
        while not what(self):
            if time.time() > until:
                raise AssertionError("waited %s s for %s; seen: %s; agent: %s" %
                                     (seconds, why or "it", json.dumps(self.seen)[:3000], self.own_log()))
            self.pump()

    def wait_state(self, iid, state, healthy=None, seconds=10):
        self.wait(lambda a: a.seen.get(iid, {}).get("state") == state and
                  (healthy is None or a.seen[iid]["healthy"] == healthy), seconds,
                  "%s to be %s (healthy %s)" % (iid, state, healthy))
        return self.seen[iid]

    def shim_status(self, iid):
        return json.load(open(os.path.join(self.data, "agent", "instances", iid, "status")))

    def stop_all(self, seconds=20):
        """Ends everything that was started, by what the agent itself knows."""
        if self.proc.poll() is not None:
            self.start()
        self.assign([])
        self.wait(lambda a: all(i["state"] in ("exited", "failed", "pending") for i in a.seen.values()) and
                  any(f["type"] == "observe" and f["assign_rev"] == a.rev for f in a.history), seconds,
                  "everything to end")

    def close(self):
        try:
            self.stop_all()
        finally:
            self.kill(signal.SIGTERM)
            self.log.close()
            assert self.proc.returncode == 0, (self.proc.returncode, self.own_log())
            assert levels_of(self.data) == [], (levels_of(self.data), groups_of(self.data))
            shutil.rmtree(self.data, ignore_errors=True)


def exec_instance(command, spec=None, port=0, want="run", iid=None, address="127.0.0.1", replica=0, generation=1):
    body = {"command": command}
    body.update(spec or {})
    return {"id": iid or new_id(), "project": "shop", "service": "web", "replica": replica, "generation": generation,
            "spec_hash": "sha256:" + "0" * 64, "want": want, "driver": "exec", "image": {"ref": "", "digest": ""},
            "address": address, "port": port, "spec": body}


def level_of(data):
    """The agent's own level of control groups."""
    return "/skerry/" + hashlib.sha256(os.path.join(os.path.realpath(data), "agent").encode()).hexdigest()[:12]


def groups_of(data):
    """Every group that the agent of this folder has, in any hierarchy."""
    level = level_of(data)
    return glob.glob("/sys/fs/cgroup/*" + level + "/*/") + glob.glob("/sys/fs/cgroup" + level + "/*/")


def levels_of(data):
    return glob.glob("/sys/fs/cgroup/*" + level_of(data)) + glob.glob("/sys/fs/cgroup" + level_of(data))


def alive(pid):
    try:
        return open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


def rounds(otherwise):
    return int(os.environ.get("SKERRY_ROUNDS", otherwise))


def evidence(name, **row):
    """One line of raw results, where they are asked for: SKERRY_EVIDENCE/NAME.jsonl."""
    if os.environ.get("SKERRY_EVIDENCE"):
        with open(os.path.join(os.environ["SKERRY_EVIDENCE"], name + ".jsonl"), "a") as f:
            f.write(json.dumps(dict({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}, **row)) + "\n")


def run(tests):
    """Every function named test_*, in the order written; TAP."""
    chosen = [(n, f) for n, f in tests.items() if n.startswith("test_") and callable(f)]
    only = os.environ.get("ONLY")
    failed = 0
    print("1..%d" % len(chosen))
    for number, (name, function) in enumerate(chosen, 1):
        if only and only not in name:
            continue
        begin = time.time()
        try:
            function()
            print("ok %d - %s # %.2f s" % (number, name, time.time() - begin), flush=True)
        except Exception:  # with all it came after: an end that goes wrong would hide what began it
            failed += 1
            print("not ok %d - %s\n# %s" % (number, name, traceback.format_exc().rstrip().replace("\n", "\n# ")), flush=True)
    sys.exit(1 if failed else 0)

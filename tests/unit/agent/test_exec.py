# SPDX-License-Identifier: Apache-2.0
"""The agent with programs of the host: needs no privilege."""
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *  # noqa: E402,F403

SERVER = ["busybox", "httpd", "-f", "-p", "127.0.0.1:%d", "-h", "/usr/share"]


def server(port, **kw):
    return exec_instance([part % port if "%d" in part else part for part in SERVER], port=port, **kw)


def with_agent(function):
    def wrapped(*args):
        agent = Agent(log_bytes=int(getattr(function, "log_bytes", 0)))
        try:
            function(agent)
        finally:
            agent.close()
    wrapped.__name__ = function.__name__
    return wrapped


@with_agent
def test_start_health_stop(a):
    one = server(free_port())
    a.assign([one])
    seen = a.wait_state(one["id"], "running", True)
    assert seen["restarts"] == 0 and seen["reason"] == "", seen
    pid = a.shim_status(one["id"])["pid"]
    assert alive(pid)
    one["want"] = "stop"
    a.assign([one])
    seen = a.wait_state(one["id"], "exited")
    assert seen["signal"] == signal.SIGTERM, seen
    assert not alive(pid)
    assert a.shim_status(one["id"])["state"] == "exited"


@with_agent
def test_unlisted_is_stopped(a):
    one, two = server(free_port()), server(free_port())
    a.assign([one, two])
    a.wait_state(one["id"], "running", True)
    a.wait_state(two["id"], "running", True)
    a.assign([two])
    a.wait_state(one["id"], "exited")
    assert a.seen[two["id"]]["state"] == "running"


@with_agent
def test_stop_of_what_never_was(a):
    one = exec_instance(["true"], want="stop")
    a.assign([one])
    a.wait_state(one["id"], "exited")


@with_agent
def test_environment(a):
    one = exec_instance(["sh", "-c", "env | sort; id -u; pwd; sleep 100"], {"environment": {"MODE": "prod"}},
                        port=20123, replica=4)
    one["spec"]["working_dir"] = "/tmp"
    one["spec"]["healthcheck"] = {"test": ["CMD", "true"]}
    a.assign([one])
    a.wait_state(one["id"], "running", True)
    a.send({"type": "logs", "stream": 1, "id": one["id"], "tail": 100, "follow": True})
    a.wait(lambda x: "/tmp" in [line for f in x.logs.get(1, []) for line in f["lines"]])
    lines = [line for f in a.logs[1] for line in f["lines"]]
    for want in ("MODE=prod", "HOST=127.0.0.1", "PORT=20123", "SKERRY_REPLICA=4", "SKERRY_SERVICE=web",
                 "SKERRY_PROJECT=shop", "SKERRY_NODE=n1", "SKERRY_SITE=s1", "SKERRY_INSTANCE=" + one["id"], "/tmp"):
        assert want in lines, (want, lines)


@with_agent
def test_exit_codes_and_policies(a):
    never = exec_instance(["sh", "-c", "exit 7"], {"restart": "no"})
    done = exec_instance(["true"], {"restart": "on-failure"})
    again = exec_instance(["sh", "-c", "echo last words; exit 9"], {"restart": "always"})
    thrice = exec_instance(["sh", "-c", "exit 1"], {"restart": "on-failure:2"})
    a.assign([never, done, again, thrice])
    seen = a.wait_state(never["id"], "failed")
    assert seen["exit"] == 7 and seen["restarts"] == 0 and seen["reason"] == "exited with status 7", seen
    seen = a.wait_state(done["id"], "exited")
    assert seen["exit"] == 0 and seen["restarts"] == 0, seen
    a.wait(lambda x: x.seen.get(again["id"], {}).get("restarts", 0) >= 2)
    seen = a.wait_state(again["id"], "failed")
    assert seen["exit"] == 9 and seen["log_tail"][-1] == "last words", seen
    a.wait(lambda x: x.seen.get(thrice["id"], {}).get("restarts") == 2)
    a.wait_state(thrice["id"], "failed")
    time.sleep(1)
    a.pump()
    assert a.seen[thrice["id"]]["restarts"] == 2, a.seen[thrice["id"]]
    assert a.seen[never["id"]]["restarts"] == 0


@with_agent
def test_backoff_grows(a):
    one = exec_instance(["sh", "-c", "date +%s.%N; exit 1"])
    a.assign([one])
    a.wait(lambda x: x.seen.get(one["id"], {}).get("restarts", 0) >= 4, 10)
    a.send({"type": "logs", "stream": 1, "id": one["id"], "tail": 100, "follow": False})
    a.wait(lambda x: x.logs.get(1) and x.logs[1][-1]["end"])
    times = [float(line) for f in a.logs[1] for line in f["lines"]]
    gaps = [b - c for b, c in zip(times[1:], times)]
    for i, gap in enumerate(gaps[:4]):
        assert 0.1 * 2 ** i <= gap < 0.1 * 2 ** i + 0.4, gaps


@with_agent
def test_refusals(a):
    missing = exec_instance(["/no/such/program"])
    user = exec_instance(["true"], {"user": "nosuchuser"})
    tmpfs = exec_instance(["true"], {"tmpfs": ["/x"]})
    folder = exec_instance(["true"], {"working_dir": "/no/such/folder"})
    a.assign([missing, user, tmpfs, folder])
    for one, words in ((missing, "start program '/no/such/program': No such file"),
                       (user, "user 'nosuchuser' does not exist"), (tmpfs, "'tmpfs' needs an image"),
                       (folder, "change to folder '/no/such/folder'")):
        seen = a.wait_state(one["id"], "failed")
        assert words in seen["reason"], seen


@with_agent
def test_port_taken(a):
    port = free_port()
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))
        s.listen()
        one = server(port)
        a.assign([one])
        seen = a.wait_state(one["id"], "failed")
        assert "exited with status" in seen["reason"] and "in use" in seen["log_tail"][-1], seen
    a.wait_state(one["id"], "running", True)  # the port is free now: the next try makes it


@with_agent
def test_checks(a):
    port = free_port()
    http = server(port)
    http["spec"]["healthcheck"] = {"test": ["CMD-SHELL", "busybox wget -qO- http://127.0.0.1:$PORT/ | grep -q zzz || exit 0"]}
    never = exec_instance(["sleep", "100"], {"healthcheck": {"test": ["CMD", "false"], "interval": "200ms", "retries": 2}})
    a.assign([http, never])
    a.wait_state(http["id"], "running", True)
    a.wait(lambda x: x.seen.get(never["id"], {}).get("reason", "").startswith("its check fails"), 5)
    assert a.seen[never["id"]]["healthy"] is False
    seen = a.wait_state(never["id"], "failed", seconds=15)
    assert "its check fails: 'false' exited with 1" in seen["reason"], seen


@with_agent
def test_grace_then_kill(a):
    one = exec_instance(["sh", "-c", "trap '' TERM; (setsid sleep 1000 &) ; while :; do sleep 0.05; done"],
                        {"stop_grace_period": "300ms"})
    a.assign([one])
    a.wait_state(one["id"], "running", True)
    begin = time.time()
    one["want"] = "stop"
    a.assign([one])
    seen = a.wait_state(one["id"], "exited")
    assert 0.25 < time.time() - begin < 2, time.time() - begin
    assert seen["signal"] == signal.SIGKILL, seen


@with_agent
def test_changed_generation_replaces(a):
    one = server(free_port())
    a.assign([one])
    a.wait_state(one["id"], "running", True)
    pid = a.shim_status(one["id"])["pid"]
    one["generation"] = 2
    a.assign([one])
    a.wait(lambda x: x.seen[one["id"]]["restarts"] == 1 and x.seen[one["id"]]["healthy"])
    assert a.shim_status(one["id"])["pid"] != pid and not alive(pid)


def test_log_rotation():
    a = Agent(log_bytes=8192)
    try:
        one = exec_instance(["sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i of a log; i=$((i+1)); done; sleep 100"])
        a.assign([one])
        a.wait_state(one["id"], "running", True)
        a.send({"type": "logs", "stream": 1, "id": one["id"], "tail": 5, "follow": False})
        a.wait(lambda x: x.logs.get(1) and x.logs[1][-1]["end"])
        assert a.logs[1][0]["lines"] == ["line %d of a log" % i for i in range(1995, 2000)], a.logs
        folder = os.path.join(a.data, "agent", "instances", one["id"])
        files = sorted(f for f in os.listdir(folder) if f.startswith("log"))
        assert files == ["log", "log.1", "log.2"], files
        for f in files:
            assert os.path.getsize(os.path.join(folder, f)) <= 8192 + 16384, f
    finally:
        a.close()


@with_agent
def test_log_follow(a):
    one = exec_instance(["sh", "-c", "echo first; sleep 0.7; echo second; printf half; sleep 100"])
    a.assign([one])
    a.wait_state(one["id"], "running")
    a.send({"type": "logs", "stream": 5, "id": one["id"], "tail": 10, "follow": True})
    a.wait(lambda x: "second" in [line for f in x.logs.get(5, []) for line in f["lines"]])
    assert not a.logs[5][-1]["end"]
    a.send({"type": "logs_end", "stream": 5})
    a.send({"type": "logs", "stream": 6, "id": "ffffffff", "tail": 10, "follow": True})
    a.wait(lambda x: x.logs.get(6))
    assert a.logs[6][0]["end"] and "no instance" in a.logs[6][0]["error"]


def kill_agent(a, rng, steady, pids, number):
    """Kills the agent at a random moment of a short job's life; says what became of the job and of those that go on."""
    extra = exec_instance(["sh", "-c", "sleep 0.0%d; exit %d" % (rng.randrange(1, 9), 10 + number % 240)], {"restart": "no"})
    a.assign(steady + [extra])
    after, away = rng.random() * 0.06, rng.random() * 0.05
    time.sleep(after)
    a.kill()
    time.sleep(away)
    a.start()
    a.assign(steady + [extra])
    seen = a.wait_state(extra["id"], "failed")
    kept = True
    for one in steady:
        went_on = a.wait_state(one["id"], "running", True)
        kept = kept and a.shim_status(one["id"])["pid"] == pids[one["id"]] and alive(pids[one["id"]]) and went_on["restarts"] == 0
    return {"killed": "agent", "after_ms": round(after * 1000, 1), "away_ms": round(away * 1000, 1), "exit": seen["exit"],
            "restarts": seen["restarts"], "others_kept": kept}


@with_agent
def test_kill_agent(a):
    """kill -9 at random moments, SKERRY_ROUNDS times, while work starts, runs, ends: adopted, never twice, exit statuses kept."""
    rng = random.Random(7)
    steady = [server(free_port(), replica=i) for i in range(3)]
    a.assign(steady)
    for one in steady:
        a.wait_state(one["id"], "running", True)
    pids = {one["id"]: a.shim_status(one["id"])["pid"] for one in steady}
    for number in range(rounds(20)):
        try:
            seen = kill_agent(a, rng, steady, pids, number)
            ok = seen["exit"] == 10 + number % 240 and seen["restarts"] == 0 and seen["others_kept"]
        except AssertionError as e:
            seen, ok = {"killed": "agent", "error": str(e)}, False
        evidence("kill-agent", round=number, ok=ok, **seen)
        assert ok, (number, seen)


@with_agent
def test_cached_assignment(a):
    one = server(free_port())
    a.assign([one])
    a.wait_state(one["id"], "running", True)
    pid = a.shim_status(one["id"])["pid"]
    a.kill()
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    a.start()  # nobody sends an assignment: it restarts the work from what it kept
    seen = a.wait_state(one["id"], "running", True)
    assert seen["restarts"] == 1, seen


def fill(path):
    with open(path, "wb", buffering=0) as filler:
        try:
            while filler.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass


def test_assignment_that_cannot_be_kept():
    """On a full disk the one kept before must not outlive the one that could not be kept: it would stop what runs."""
    if os.geteuid() != 0:
        print("# no root to mount a small disk: not tried")
        return
    data = tempfile.mkdtemp(prefix="skerry-agent-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", data], check=True)
    try:
        a = Agent(data=data)
        try:
            one = server(free_port())
            a.assign([])
            a.assign([one])
            a.wait_state(one["id"], "running", True)
            pid = a.shim_status(one["id"])["pid"]
            fill(os.path.join(data, "filler"))
            a.assign([one, exec_instance(["true"], want="stop")])
            a.wait(lambda x: "assignment not kept" in x.own_log(), 5, "the write to fail")
            assert not os.path.exists(os.path.join(data, "agent", "assignment.json"))
            os.unlink(os.path.join(data, "filler"))
            a.kill()
            a.start()
            a.pump(0.5)
            assert alive(pid)
            a.assign([one])
            assert a.wait_state(one["id"], "running", True)["restarts"] == 0
        finally:
            a.stop_all()
            a.kill(signal.SIGTERM)
            a.log.close()
    finally:
        subprocess.run(["umount", "-l", data], check=True)
        os.rmdir(data)


@with_agent
def test_exit_while_agent_is_away(a):
    one = exec_instance(["sh", "-c", "sleep 0.3; exit 42"], {"restart": "no"})
    a.assign([one])
    a.wait_state(one["id"], "running")
    a.kill()
    time.sleep(0.6)
    a.start()
    seen = a.wait_state(one["id"], "failed")
    assert seen["exit"] == 42, seen


@with_agent
def test_shim_killed(a):
    one = server(free_port())
    a.assign([one])
    a.wait_state(one["id"], "running", True)
    status = a.shim_status(one["id"])
    os.kill(status["shim_pid"], signal.SIGKILL)
    a.wait(lambda x: x.seen[one["id"]]["restarts"] == 1 and x.seen[one["id"]]["healthy"])
    assert not alive(status["pid"])


@with_agent
def test_deposed_leader(a):
    """A lower term than one that was taken moves nothing, also after a restart of the agent."""
    one, two = server(free_port()), server(free_port())

    def told(term, instances):
        a.rev += 1
        a.send({"type": "assign", "rev": a.rev, "term": term, "instances": instances})

    def taken():
        return [(f["term"], f["assign_rev"]) for f in a.history if f["type"] == "observe"][-1:]

    told(4, [one])
    a.wait_state(one["id"], "running", True)
    told(5, [one, two])
    a.wait_state(two["id"], "running", True)
    rev = a.rev
    told(4, [])
    a.pump(0.5)
    assert taken() == [(5, rev)] and "a deposed leader is not heard" in a.own_log(), (a.history[-3:], a.own_log())
    a.restart()
    told(4, [])
    a.pump(1)
    assert taken() == [(5, rev)], a.history[-3:]
    told(6, [one])
    a.wait_state(two["id"], "exited")
    assert a.seen[one["id"]]["restarts"] == 0


class Leader:
    """Answers the agent's asks as control would."""

    def __init__(self, agent):
        self.a, self.epoch, self.renews, self.asked, self.term = agent, 0, True, [], 7
        self.done = 0

    def pump(self):
        self.a.pump(0.02)
        new = [f for f in self.a.history[self.done:] if f["type"] == "lease"]
        self.done = len(self.a.history)
        for frame in new:
            answers = []
            for ask in frame["asks"]:
                self.asked.append((ask["ask"], ask["epoch"]))
                if ask["ask"] == "grant":
                    self.epoch = max(self.epoch, ask["epoch"]) + 1
                    answers.append({"id": ask["id"], "epoch": self.epoch, "held": True})
                elif ask["ask"] == "release" or self.renews:
                    answers.append({"id": ask["id"], "epoch": ask["epoch"], "held": ask["ask"] == "renew"})
            self.a.send({"type": "leased", "from": frame["from"], "seq": frame["seq"], "answers": answers, "term": self.term})

    def until(self, what, seconds=10, why=""):
        end = time.time() + seconds
        while not what():
            assert time.time() < end, (why, self.asked[-9:], self.a.seen)
            self.pump()


@with_agent
def test_deposed_leader_renews(a):
    """Its renewals are none: the work ends with the lease."""
    one = exec_instance(["sleep", "60"], spec={"x-skerry": {"exclusive": True}})
    leader = Leader(a)
    a.assign([one])
    leader.until(lambda: a.seen.get(one["id"], {}).get("state") == "running")
    pid = a.shim_status(one["id"])["pid"]
    leader.term = 6
    leader.until(lambda: not alive(pid), 6)
    leader.until(lambda: ("grant", 1) in leader.asked and a.seen[one["id"]]["state"] != "running")


@with_agent
def test_lease(a):
    """Starts under a grant, lives by renewals, also of the next agent, and ends without them."""
    marker = "33%06d" % os.getpid()
    file = os.path.join(a.data, "epochs")
    one = exec_instance(["sh", "-c", "echo $SKERRY_EPOCH >> %s; setsid sleep %s & exec sleep %s" % (file, marker, marker)],
                        spec={"x-skerry": {"exclusive": True}})
    epochs = lambda: open(file).read().split() if os.path.exists(file) else []
    leader = Leader(a)
    a.assign([one])
    leader.until(lambda: epochs() == ["1"] and a.seen[one["id"]]["state"] == "running")
    before = time.time()
    leader.until(lambda: time.time() > before + 4)
    assert epochs() == ["1"] and leader.asked[-1] == ("renew", 1), leader.asked
    a.restart()
    leader.done = len(a.history)
    before = time.time()
    leader.until(lambda: time.time() > before + 4)
    assert epochs() == ["1"] and leader.asked[-1] == ("renew", 1), leader.asked
    leader.renews, before = False, time.time()
    pid = a.shim_status(one["id"])["pid"]
    leader.until(lambda: not alive(pid), 6)
    assert time.time() - before < 4
    leader.until(lambda: epochs() == ["1", "2"], why="it asks anew, whatever its restart policy")
    assert ("grant", 1) in leader.asked

    # a killed shim: nothing of the run is left when the next one is asked for
    leader.renews = True
    leader.until(lambda: a.seen[one["id"]]["state"] == "running")
    leader.asked = []
    os.kill(a.shim_status(one["id"])["shim_pid"], signal.SIGKILL)
    leader.until(lambda: ("grant", 2) in leader.asked)
    if os.geteuid() == 0 and "not enforced" not in a.own_log():
        left = [p for p in os.popen("pgrep -f '^sleep %s'" % marker).read().split()]
        assert len(left) <= 2, left  # those of the run that has begun since, at most
    leader.until(lambda: epochs() == ["1", "2", "3"])

    # agent and shim killed: the next agent does not know that the run is over, and does not say so
    leader.until(lambda: a.seen[one["id"]]["state"] == "running")
    leader.asked = []
    status = a.shim_status(one["id"])
    a.kill()
    os.kill(status["shim_pid"], signal.SIGKILL)
    leader.epoch += 1  # control waits for the lease to run out, then grants
    a.start()
    leader.done = len(a.history)
    leader.until(lambda: leader.asked)
    assert leader.asked[0] == ("grant", 0), leader.asked
    leader.until(lambda: epochs() == ["1", "2", "3", "5"])
    leader.asked = []
    one["want"] = "stop"
    a.assign([one])
    leader.until(lambda: ("release", 5) in leader.asked and a.seen[one["id"]]["state"] == "exited")


@with_agent
def test_bad_frames(a):
    good = server(free_port())
    bad = dict(server(1), spec={"command": ["x"], "nosuchthing": 1, "healthcheck": {"test": 3}})
    a.assign([good, bad])
    a.wait_state(good["id"], "running", True)
    seen = a.wait_state(bad["id"], "failed")
    assert "test" in seen["reason"], seen
    for payload in (b"\xff\xff\xff\xff", struct.pack(">I", 3) + b"{x}", struct.pack(">I", 0)):
        a.connect()
        a.sock.sendall(payload)
        a.sock.settimeout(5)
        data = b""
        while True:
            got = a.sock.recv(65536)
            if not got:
                break
            data += got
        assert b'"error"' in data, data
    a.connect()
    a.assign([dict(good, id="../../etc")])
    a.wait(lambda x: any(f["type"] == "error" for f in x.history))
    a.connect()
    a.wait_state(good["id"], "running", True)


run(globals())

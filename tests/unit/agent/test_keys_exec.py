# SPDX-License-Identifier: Apache-2.0
"""What each key of a declaration does to a program of the host: one test a key. What needs root is left out without it."""
import os
import signal
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import limits  # noqa: E402
from harness import *  # noqa: E402,F403

ROOT = os.geteuid() == 0


def with_agent(function):
    def wrapped():
        agent = Agent()
        try:
            function(agent)
        finally:
            agent.close()
    wrapped.__name__ = function.__name__
    return wrapped


def shell(script, spec=None, **kw):
    return exec_instance(["sh", "-c", script], spec, **kw)


def lines_of(a, one, number, enough):
    a.wait(lambda x: os.path.exists(os.path.join(x.data, "agent/instances", one["id"], "log")))
    a.send({"type": "logs", "stream": number, "id": one["id"], "tail": 100, "follow": True})
    get = lambda: [line for f in a.logs.get(number, []) for line in f["lines"]]  # noqa: E731
    a.wait(lambda x: enough(get()), 10, "the log of " + one["id"])
    return get()


@with_agent
def test_user(a):
    if not ROOT:
        print("# skipped: to become somebody else needs root")
        return
    cases = [("nobody", "65534 65534"), ("1234", "1234 1234"), ("1234:4321", "1234 4321"), ("nobody:daemon", "65534 1"),
             ("0", "0 0")]
    ones = [shell("echo $(id -u) $(id -g) $(id -G); sleep 100", {"user": user}) for user, _ in cases]
    bad, bad_group = shell("true", {"user": "nosuch"}), shell("true", {"user": "nobody:nosuch"})
    a.assign(ones + [bad, bad_group])
    for number, (one, (user, want)) in enumerate(zip(ones, cases), 1):
        lines = lines_of(a, one, number, lambda got: got)
        assert lines == [want + " " + want.split(" ")[1]], (user, lines)
    for one, words in ((bad, "user 'nosuch' does not exist on this node"), (bad_group, "group 'nosuch' does not exist on this node")):
        seen = a.wait_state(one["id"], "failed")
        assert seen["reason"].endswith(words) and "\n" not in seen["reason"], seen


@with_agent
def test_working_dir(a):
    ones = [shell("pwd; sleep 100"), shell("pwd; sleep 100", {"working_dir": "/usr"})]
    a.assign(ones)
    got = [lines_of(a, one, number, lambda got: got) for number, one in enumerate(ones, 1)]
    assert got == [["/"], ["/usr"]], got


@with_agent
def test_limits(a):
    one = shell(limits.GREEDY, limits.LIMITS)
    greedy = shell("exec tail /dev/zero", {"restart": "no", "deploy": {"resources": {"limits": {"memory": "16M"}}}})
    free = shell("sleep 100")
    a.assign([one, free] + ([greedy] if ROOT else []))
    seen = a.wait_state(one["id"], "running")
    assert "warning" not in a.wait_state(free["id"], "running"), a.seen
    if seen.get("warning"):
        print("# no cgroup here: " + seen["warning"])
        assert "memory, cpus, pids" in seen["warning"], seen
        return
    limits.check(a, one["id"], lines_of(a, one, 1, lambda got: "filled" in got))
    seen = a.wait_state(greedy["id"], "failed")
    assert seen["signal"] == signal.SIGKILL and "memory limit of 16M" in seen["reason"], seen


@with_agent
def test_entrypoint_and_command(a):
    cases = [({"command": ["echo", "a  b"]}, "a  b"), ({"entrypoint": ["echo", "x"], "command": ["y"]}, "x y"),
             ({"entrypoint": "echo 'a b'", "command": "c \"d  e\""}, "a b c d  e"), ({"entrypoint": ["echo", "alone"]}, "alone")]
    ones = []
    for spec, _ in cases:
        one = exec_instance([], {"restart": "no"})
        del one["spec"]["command"]
        one["spec"].update(spec)
        ones.append(one)
    a.assign(ones)
    for number, (one, (spec, want)) in enumerate(zip(ones, cases), 1):
        assert lines_of(a, one, number, lambda got: got) == [want], spec


TRAPS = "for s in TERM USR1 QUIT; do trap \"echo got $s; exit 3\" $s; done; echo armed; while :; do sleep 0.05; done"


@with_agent
def test_stop_signal(a):
    cases = [({}, "TERM"), ({"stop_signal": "SIGUSR1"}, "USR1"), ({"stop_signal": "QUIT"}, "QUIT"), ({"stop_signal": "10"}, "USR1")]
    ones = [shell(TRAPS, dict(spec, stop_grace_period="5s")) for spec, _ in cases]
    a.assign(ones)
    for number, one in enumerate(ones, 1):
        lines_of(a, one, number, lambda got: "armed" in got)
        one["want"] = "stop"
    a.assign(ones)
    for number, (one, (_, name)) in enumerate(zip(ones, cases), 100):
        seen = a.wait_state(one["id"], "exited")
        lines = lines_of(a, one, number, lambda got: any("got" in line for line in got))
        assert seen["exit"] == 3 and "got " + name in lines, (name, seen, lines)


@with_agent
def test_stop_signal_names(a):
    """Every way of writing one that a declaration takes."""
    cases = [("IO", 29), ("SIGPOLL", 29), ("SIGRTMIN", 34), ("RTMIN+3", 37), ("SIGRTMAX-2", 62), ("64", 64)]
    ones = [exec_instance(["sleep", "100"], {"stop_signal": name, "stop_grace_period": "5s"}) for name, _ in cases]
    a.assign(ones)
    for one in ones:
        a.wait_state(one["id"], "running", True)
        one["want"] = "stop"
    a.assign(ones)
    for one, (name, number) in zip(ones, cases):
        assert a.wait_state(one["id"], "exited")["signal"] == number, (name, a.seen[one["id"]])


@with_agent
def test_http_check(a):
    with tempfile.TemporaryDirectory() as pages:
        page = os.path.join(pages, "healthz")
        open(page, "w").close()
        os.chmod(pages, 0o755)

        def site(path):
            port = free_port()
            return exec_instance(["busybox", "httpd", "-f", "-p", "127.0.0.1:%d" % port, "-h", pages],
                                 {"x-skerry": {"check": {"http": {"path": path, "port": port}}},
                                  "healthcheck": {"interval": "200ms", "retries": 2}}, port=port)
        good, bad = site("/healthz"), site("/none")
        a.assign([good, bad])
        a.wait_state(good["id"], "running", True)
        a.wait(lambda x: "the answer was HTTP 404" in x.seen[bad["id"]].get("reason", ""), 15)
        assert a.seen[bad["id"]]["healthy"] is False, a.seen[bad["id"]]
        os.rename(page, page + ".away")
        a.wait(lambda x: x.seen[good["id"]]["healthy"] is False, 10, "the check to fail")
        os.rename(page + ".away", page)
        a.wait_state(good["id"], "running", True)


@with_agent
def test_expose_and_ports(a):
    late = "sleep 0.6; echo open; exec busybox httpd -f -p 127.0.0.1:$PORT"
    exposed, shut = shell(late, {"expose": ["8000"]}, port=free_port()), shell("sleep 100", {"expose": ["8000"]}, port=free_port())
    ported = shell(late, {"ports": [{"target": 8000, "protocol": "tcp"}]}, port=free_port())
    plain = shell("sleep 100", port=free_port())
    a.assign([exposed, ported, shut, plain])
    a.wait_state(plain["id"], "running", True)
    for number, one in enumerate((exposed, ported), 1):
        a.wait_state(one["id"], "running", True)
        assert "open" in lines_of(a, one, number, lambda got: got)
    assert a.seen[shut["id"]]["healthy"] is not True, a.seen[shut["id"]]


run(globals())

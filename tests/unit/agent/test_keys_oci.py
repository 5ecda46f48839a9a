# SPDX-License-Identifier: Apache-2.0
"""What each key of a declaration does to a container: one test a key."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import limits  # noqa: E402
from containers import *  # noqa: E402,F403

STAY = "; echo end; exec sleep 100"


def shell(host, script, spec=None, **kw):
    """Runs a script, then stays."""
    return container(host, dict({"entrypoint": ["/bin/sh", "-c", script + STAY]}, **(spec or {})), port=0, **kw)


def output(a, one, number):
    a.wait_state(one["id"], "running")
    lines = lines_of(a, one["id"], number, lambda got: "end" in got)
    return lines[:lines.index("end")]


@with_agent
def test_tmpfs(a, ns):
    """A size that holds, a mode, no devices or setuid; gone with the run; and nothing but places of its own."""
    script = ("grep ' /small ' /proc/mounts | cut -d' ' -f3,4; stat -c '%a %u' /small; ls /small; "
              "head -c 2000000 /dev/zero >/small/x; wc -c </small/x; stat -c %a /plain; echo fine >/plain/y; cat /plain/y")
    one = shell(5, script + " 2>&1", {"tmpfs": ["/small:size=1m,mode=0750,uid=7", "/plain"]})
    bad = [container(10 + i, {"tmpfs": [entry]}) for i, entry in enumerate(("/proc/x", "/dev", "/a/../b", "/x:suid", "/x:mode=0788"))]
    a.assign([one] + bad)
    for number in (1, 2):
        lines = output(a, one, number)[-6:]
        options = lines[0].split(" ")[1].split(",")
        assert lines[0].startswith("tmpfs ") and "nosuid" in options and "nodev" in options and "size=1024k" in options, lines
        assert lines[1] == "750 7" and lines[-3:] == [str(1 << 20), "1777", "fine"], lines
        one["generation"] += 1
        a.assign([one] + bad)
        a.wait(lambda x: x.seen[one["id"]]["restarts"] == number and x.seen[one["id"]]["state"] == "running")
    for one in bad:
        seen = a.wait_state(one["id"], "failed")
        assert "tmpfs" in seen["reason"] and "\n" not in seen["reason"], seen


@with_agent
def test_user(a, ns):
    """By name, uid, uid:gid, name:group; the image's own where none is written; one clear line for who is not there."""
    image = variant("user", "--config.user=nobody")
    cases = [("nobody", "65534 65534"), ("1234", "1234 0"), ("1234:4321", "1234 4321"), ("root:nogroup", "0 65534"),
             ("65534", "65534 65534")]
    ones = [shell(10 + i, "echo $(id -u) $(id -g)", {"user": user}) for i, (user, _) in enumerate(cases)]
    own = shell(30, "echo $(id -u) $(id -g)", **image)
    over = shell(31, "echo $(id -u) $(id -g)", {"user": "5"}, **image)
    bad = shell(32, "true", {"user": "nosuch"})
    bad_group = shell(33, "true", {"user": "nobody:nosuch"})
    a.assign(ones + [own, over, bad, bad_group])
    for number, (one, (user, want)) in enumerate(zip(ones, cases), 1):
        assert output(a, one, number) == [want], (user, output(a, one, number + 100))
    assert output(a, own, 50) == ["65534 65534"] and output(a, over, 51) == ["5 0"]
    for one, words in ((bad, "user 'nosuch' does not exist in the image"), (bad_group, "group 'nosuch' does not exist in the image")):
        seen = a.wait_state(one["id"], "failed")
        assert seen["reason"].endswith(words) and "\n" not in seen["reason"], seen


@with_agent
def test_working_dir(a, ns):
    """The declaration's, else the image's, else /; one that is not there is made, as Docker does."""
    plain = variant("nodir", "--config.workingdir=")
    ones = [shell(10, "pwd", {"working_dir": "/tmp"}), shell(11, "pwd"), shell(12, "pwd", **plain),
            shell(13, "pwd", {"working_dir": "/made/for/it"})]
    a.assign(ones)
    got = [output(a, one, number) for number, one in enumerate(ones, 1)]
    assert got == [["/tmp"], ["/app"], ["/"], ["/made/for/it"]], got


@with_agent
def test_limits(a, ns):
    """Memory, processes and processor time: set as declared, and holding; a sibling without limits is not held."""
    one = container(10, dict({"entrypoint": ["/bin/sh", "-c", limits.GREEDY]}, **limits.LIMITS), port=0)
    free = container(11, {"entrypoint": ["/bin/sh", "-c", limits.GREEDY.replace("while :; do :; done", "sleep 100")]}, port=0)
    greedy = container(12, {"entrypoint": ["/bin/sh", "-c", "exec tail /dev/zero"], "restart": "no",
                            "deploy": {"resources": {"limits": {"memory": "16M"}}}}, port=0)
    a.assign([one, free, greedy])
    seen = a.wait_state(one["id"], "running")
    if seen.get("warning"):
        print("# no cgroup here: " + seen["warning"])
        assert "memory, cpus, pids" in seen["warning"], seen
        return
    limits.check(a, one["id"], lines_of(a, one["id"], 1, lambda got: "filled" in got))
    lines = lines_of(a, free["id"], 2, lambda got: "filled" in got)
    assert lines == ["filled"], lines
    seen = a.wait_state(greedy["id"], "failed")
    assert seen["signal"] == signal.SIGKILL and "memory limit of 16M" in seen["reason"], seen


@with_agent
def test_entrypoint_and_command(a, ns):
    """Docker's rules: an own entrypoint drops the image's command, an own command only replaces it."""
    image = variant("cmd", "--config.entrypoint=/bin/echo", "--config.entrypoint=image", "--config.cmd=image-command",
                    "--config.cmd=two words")
    shown = [({}, "image image-command two words"), ({"command": ["own", "a  b"]}, "image own a  b"),
             ({"command": []}, "image"), ({"entrypoint": ["/bin/echo", "mine"]}, "mine"),
             ({"entrypoint": ["/bin/echo", "mine"], "command": ["own"]}, "mine own"),
             ({"entrypoint": "/bin/echo 'a b' c", "command": "x \"y  z\""}, "a b c x y  z")]
    ones = [container(10 + i, dict(spec, restart="no"), port=0, **image) for i, (spec, _) in enumerate(shown)]
    nothing = container(30, {"entrypoint": []}, **image)
    a.assign(ones + [nothing])
    for number, (one, (spec, want)) in enumerate(zip(ones, shown), 1):
        a.wait_state(one["id"], "exited")
        assert lines_of(a, one["id"], number, lambda got: got) == [want], (spec, want, a.logs)
    seen = a.wait_state(nothing["id"], "failed")
    assert "neither the image nor the service says what to run" in seen["reason"], seen


TRAPS = "for s in TERM USR1 USR2 QUIT; do trap \"echo got $s; exit 3\" $s; done; echo armed; while :; do sleep 0.05; done"


def stopped_by(a, one, number):
    a.wait_state(one["id"], "running")
    lines_of(a, one["id"], number, lambda got: "armed" in got)
    one["want"] = "stop"


@with_agent
def test_stop_signal(a, ns):
    """The declaration's, else the image's own, else TERM."""
    own, bad = variant("sig", "--config.stopsignal=SIGUSR1"), variant("nosig", "--config.stopsignal=NONSENSE")
    trap = {"entrypoint": ["/bin/sh", "-c", TRAPS], "stop_grace_period": "5s"}
    cases = [(container(10, trap), "TERM"), (container(11, trap, **own), "USR1"),
             (container(12, dict(trap, stop_signal="SIGQUIT"), **own), "QUIT"), (container(13, trap, **bad), "TERM"),
             (container(14, dict(trap, stop_signal="12")), "USR2")]
    for one, _ in cases:
        one["port"] = 0
    ones = [one for one, _ in cases]
    a.assign(ones)
    warned = a.wait_state(ones[3]["id"], "running")
    assert "the image's STOPSIGNAL 'NONSENSE' is no signal" in warned["warning"], warned
    for number, one in enumerate(ones, 1):
        stopped_by(a, one, number)
    a.restart()  # what the next agent knows of the image it reads in the instance's own record
    a.assign(ones)
    for number, (one, name) in enumerate(cases, 100):
        seen = a.wait_state(one["id"], "exited")
        lines = lines_of(a, one["id"], number, lambda got: any("got" in line for line in got))
        assert seen["exit"] == 3 and "got " + name in lines, (name, seen, lines)


@with_agent
def test_real_time_stop_signal(a, ns):
    """What images of init systems say."""
    one = container(10, {"entrypoint": ["/bin/sh", "-c", "trap 'echo got 37; exit 3' 37; echo armed; while :; do sleep 0.05; done"],
                         "stop_grace_period": "5s"}, port=0, **variant("rt", "--config.stopsignal=SIGRTMIN+3"))
    a.assign([one])
    stopped_by(a, one, 1)
    a.assign([one])
    assert a.wait_state(one["id"], "exited")["exit"] == 3


@with_agent
def test_stop_grace_period(a, ns):
    """Who ignores the signal is killed when the time is over, and not before."""
    one = container(10, {"entrypoint": ["/bin/sh", "-c", "trap '' TERM; echo armed; while :; do sleep 0.05; done"],
                         "stop_grace_period": "700ms"}, port=0)
    a.assign([one])
    stopped_by(a, one, 1)
    begin = time.time()
    a.assign([one])
    seen = a.wait_state(one["id"], "exited")
    assert seen["signal"] == signal.SIGKILL and 0.65 < time.time() - begin < 3, (seen, time.time() - begin)


@with_agent
def test_restart(a, ns):
    never = shell(10, "exit 7", {"restart": "no"})
    twice = shell(11, "exit 1", {"restart": "on-failure:2"})
    done = shell(12, "exit 0", {"restart": "on-failure"})
    always = shell(13, "exit 0", {"restart": "always"})
    unless = shell(14, "exit 4", {"restart": "unless-stopped"})
    a.assign([never, twice, done, always, unless])
    assert a.wait_state(never["id"], "failed")["exit"] == 7
    a.wait_state(done["id"], "exited")
    a.wait(lambda x: x.seen[twice["id"]]["restarts"] == 2 and x.seen[twice["id"]]["state"] == "failed")
    for one in (always, unless):
        a.wait(lambda x: x.seen[one["id"]]["restarts"] >= 2, 10)
    assert [a.seen[one["id"]]["restarts"] for one in (never, twice, done)] == [0, 2, 0], a.seen


@with_agent
def test_expose_and_ports(a, ns):
    """A port that is declared is what makes it healthy; without one, running is enough."""
    script = "sleep 0.6; echo open; exec httpd -f -p 8000"
    exposed = container(10, {"entrypoint": ["/bin/sh", "-c", script], "expose": ["8000"]})
    ported = container(11, {"entrypoint": ["/bin/sh", "-c", script], "ports": [{"target": 8000, "protocol": "tcp"}]})
    shut = container(12, {"entrypoint": ["/bin/sh", "-c", "sleep 100"], "expose": ["8000"]})
    plain = container(13, {"entrypoint": ["/bin/sh", "-c", "sleep 100"]})
    a.assign([exposed, ported, shut, plain])
    a.wait_state(plain["id"], "running", True)
    for number, one in enumerate((exposed, ported), 1):
        a.wait_state(one["id"], "running", True)
        assert "open" in lines_of(a, one["id"], number, lambda got: got)
    assert a.seen[shut["id"]]["healthy"] is not True, a.seen[shut["id"]]


@with_agent
def test_http_check(a, ns):
    """A GET in the container's own network: 2xx and 3xx are healthy, and it follows what the page does."""
    spec = {"x-skerry": {"check": {"http": {"path": "/healthz", "port": 8000}}},
            "healthcheck": {"interval": "200ms", "retries": 2}}
    good, bad, nobody = container(10, spec), container(11, {**spec, "x-skerry": {"check": {"http": {"path": "/none", "port": 8000}}}}), \
        container(12, {**spec, "entrypoint": ["/bin/sh", "-c", "sleep 100"]})
    a.assign([good, bad, nobody])
    a.wait_state(good["id"], "running", True)
    for one, words in ((bad, "the answer was HTTP 404"), (nobody, "refused")):
        a.wait(lambda x: words in x.seen[one["id"]].get("reason", ""), 15, words)
        assert a.seen[one["id"]]["healthy"] is False, a.seen[one["id"]]
    page = os.path.join(a.data, "agent/instances", good["id"], "upper/app/run", good["id"], "healthz")
    pid = a.shim_status(good["id"])["pid"]
    inside = "/proc/%d/root/app/run/%s/healthz" % (pid, good["id"])
    assert os.path.exists(page) and os.path.exists(inside)
    os.rename(inside, inside + ".away")
    a.wait(lambda x: x.seen[good["id"]]["healthy"] is False, 10, "the check to fail")
    os.rename(inside + ".away", inside)
    a.wait_state(good["id"], "running", True)


run(globals())

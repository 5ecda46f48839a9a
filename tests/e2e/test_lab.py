# SPDX-License-Identifier: Apache-2.0
"""The lab does what it says: delay, jitter, loss, rate, cuts, every verb, and nothing of it stays behind."""
import errno
import glob
import json
import os
import select
import signal
import statistics
import subprocess
import sys
import time

import pytest

from lab import LAB, SLOW, Lab, LabError, processes_of, wait_until

PAIR = {"sites": {"fra": {"hosts": 2}, "ams": {"hosts": 1}}, "gso": False}
CLUSTER = {"sites": {"hub": {"hosts": 1, "control": True, "disk": "64M"}, "fra": {"hosts": 1, "disk": "64M"}, "ams": {"hosts": 1}},
           "default": {"rtt_ms": 4}}


@pytest.fixture(scope="module")
def pair():
    with Lab(PAIR) as lab:
        yield lab


@pytest.fixture(scope="module")
def cluster():
    with Lab(CLUSTER) as lab:
        yield lab.start()


# ---- the network ----

def typical(took):
    """A delay is a floor under every packet, and what a busy machine adds is above it: the lower quartile shows the delay beside
    other tests too, where the median may show them."""
    return statistics.quantiles(took, n=4)[0]


@pytest.mark.parametrize("rtt", [0, 10, 40, 100])
def test_rtt_is_what_was_set(pair, rtt):
    pair.link("fra", "ams", rtt_ms=rtt, jitter_ms=0, loss=0, rate=0)
    took = pair.ping("fra-1", "ams-1", count=40)
    assert None not in took
    print(f"set {rtt} ms, measured {typical(took):.3f} ms, median {statistics.median(took):.3f}")
    # that the delay is right to 0.3 ms is measured on an idle machine (docs/lab.md); here others work beside it
    assert rtt <= typical(took) <= rtt + max(0.02 * rtt, 2 * SLOW)


def test_one_way_delay_changes_one_way(pair):
    pair.link("fra", "ams", rtt_ms=20, jitter_ms=0)
    pair.link("fra", "ams", one_way=True, delay_ms=30)
    assert 40 <= typical(pair.ping("fra-1", "ams-1")) < 40 + 2 * SLOW
    assert {(x["from"], x["delay_ms"]) for x in pair.show()["links"]} == {("fra", 30), ("ams", 10)}


def test_jitter_is_uniform_in_its_bounds(pair):
    pair.link("fra", "ams", rtt_ms=20, jitter_ms=10, loss=0)
    took = pair.ping("fra-1", "ams-1", count=100, every=0.012)
    pair.link("fra", "ams", jitter_ms=0)
    assert None not in took and min(took) >= 20
    # two times uniform in 0..5: mean 5, deviation 2.04; bounds of five standard errors, and what a busy machine adds, in front of which
    # the upper tail says nothing
    assert 23.5 < statistics.median(took) < 26.5 + 2 * SLOW
    assert statistics.quantiles(took, n=10)[-1] - statistics.quantiles(took, n=10)[0] > 2.5
    assert statistics.quantiles(took, n=10)[-1] < 30 + 2 * SLOW  # nearly all: the machine may hold some up


@pytest.mark.parametrize("loss", [2, 20])
def test_loss_is_within_binomial_bounds(pair, loss):
    count = 1000
    pair.link("fra", "ams", rtt_ms=2, jitter_ms=0)
    pair.link("fra", "ams", one_way=True, loss=loss)
    lost = pair.ping("fra-1", "ams-1", count=count, every=0.001, wait=0.5).count(None)
    pair.link("fra", "ams", loss=0)
    p = loss / 100
    print(f"set {loss} %, lost {lost} of {count}")
    assert abs(lost - count * p) <= 4.5 * (count * p * (1 - p)) ** 0.5


def test_rate_is_what_was_set(pair):
    pair.link("fra", "ams", rtt_ms=2, rate=20)
    size, got, first, last = 1200, 0, None, None
    with pair.socket("fra-1") as out, pair.socket("ams-1") as into:
        into.bind((pair.hosts["ams-1"]["address"], 0))
        end = time.monotonic() + 1.0
        while time.monotonic() < end or select.select([into], [], [], 0.3)[0]:
            if time.monotonic() < end:
                for _ in range(8):
                    out.sendto(b"x" * size, into.getsockname())
                time.sleep(0.002)  # about twice what passes
            while select.select([into], [], [], 0)[0]:
                into.recv(2048)
                last = time.monotonic()
                first = first or last
                got += size + 28
    pair.link("fra", "ams", rate=0)
    mbit = got * 8 / (last - first) / 1e6
    print(f"set 20 Mbit/s, measured {mbit:.1f}")
    assert 18.5 / SLOW < mbit < 21.5


def both(lab, a, b):
    return lab.reaches(a, b), lab.reaches(b, a)


def test_cuts_are_silent_and_heal(pair):
    pair.link("fra", "ams", rtt_ms=2, jitter_ms=0, loss=0, rate=0)
    assert both(pair, "fra-1", "ams-1") == (True, True)
    pair.cut("fra", "ams", one_way=True)
    assert both(pair, "fra-1", "ams-1") == (False, True)
    pair.heal("fra", "ams", one_way=True)
    pair.cut("fra", "ams")
    assert both(pair, "fra-1", "ams-1") == (False, False)
    pair.heal("fra", "ams")
    pair.cut("fra")
    assert both(pair, "fra-1", "ams-1") == (False, False) and pair.reaches("fra-1", "fra-2")
    pair.cut("fra-2")
    assert [h["name"] for h in pair.show()["hosts"] if h["cut"]] == ["fra-2"]
    assert both(pair, "fra-1", "fra-2") == (False, False)
    pair.heal()
    assert both(pair, "fra-1", "ams-1") == (True, True) and both(pair, "fra-1", "fra-2") == (True, True)


@pytest.mark.parametrize("args, says", [
    (("frobnicate",), "'frobnicate' is no command"), (("cut", "nowhere"), "no site or host 'nowhere'"), (("kill", "x-1"), "no host 'x-1'"),
    (("cut", "fra", "--one-way"), "two sites"), (("link", "fra", "ams", "rtt=3"), "'rtt' is none of"),
    (("link", "fra", "ams", "loss=101"), "loss: '101' is not a number from 0 to 100"), (("slow-disk", "fra-1", "x"), "'x' is not a number"),
    (("fill-disk", "fra-1"), "no disk of its own"), (("show", "--colour"), "wrong flags"), (("exec", "fra-1"), "exec"),
])
def test_mistakes_are_one_line_and_status_2(pair, args, says):
    p = subprocess.run([LAB, args[0], "--dir", pair.dir, *args[1:]], capture_output=True, text=True, check=False)
    assert p.returncode == 2
    lines = [x for x in p.stderr.splitlines() if not x.startswith("fix: ")]
    assert len(lines) == 1 and says in lines[0], p.stderr


def test_a_topology_is_refused_with_its_place():
    with pytest.raises(LabError, match=r"status 2: .*-:2:19: unknown key 'sites.fra.discs'"):
        Lab("sites:\n  fra: {hosts: 1, discs: 3}\n")


def test_labs_side_by_side(pair, lab):
    other = lab(PAIR)
    other.cut("fra")
    assert not other.reaches("fra-1", "ams-1") and pair.reaches("fra-1", "ams-1")
    other.down()
    assert pair.reaches("fra-1", "ams-1")


# ---- hosts ----

def test_start_makes_a_cluster(cluster):
    assert cluster.states() == {"hub-1": "alive", "fra-1": "alive", "ams-1": "alive"}
    assert cluster.get("status")["sites_lost"] == []
    assert {h["power"] for h in cluster.show()["hosts"]} == {"running"}
    with pytest.raises(LabError, match="runs already"):
        cluster.do("start", "fra-1")


def test_kill_is_all_of_it_and_start_brings_it_back(cluster):
    before = os.stat(os.path.join(cluster.data("ams-1"), "identity")).st_ino
    sleeper = subprocess.Popen(cluster.argv("ams-1", "sleep", "1000"))
    cluster.kill("ams-1")  # perhaps before any witness heard it: then it is lost after 20 s rather than 2
    assert processes_of(cluster.data("ams-1")) == []
    assert sleeper.wait(timeout=5) == -signal.SIGKILL
    host = cluster.host("ams-1")
    assert (host["power"], host["processes"], host["daemon"]) == ("off", 0, False)
    wait_until("it is lost", lambda: cluster.states()["ams-1"] == "lost", 40)
    cluster.start("ams-1")
    wait_until("it is alive", lambda: cluster.states()["ams-1"] == "alive", 15)
    assert os.stat(os.path.join(cluster.data("ams-1"), "identity")).st_ino == before


def test_pause_stops_every_process(cluster):
    cluster.pause("fra-1")
    host = cluster.host("fra-1")
    assert host["power"] == "paused" and host["processes"] > 3
    wait_until("it is lost", lambda: cluster.states()["fra-1"] == "lost", 40)
    cluster.resume("fra-1")
    assert cluster.host("fra-1")["power"] == "running"
    wait_until("it is alive", lambda: cluster.states()["fra-1"] == "alive", 15)


def commit_ms(cluster):
    """How long a command takes that the control node's disk must hold."""
    began = time.monotonic()
    cluster.skerry("token", "--site", "fra")
    return (time.monotonic() - began) * 1000


def test_slow_disk_slows_each_flush(cluster):
    normal = min(commit_ms(cluster) for _ in range(3))
    cluster.slow_disk("hub-1", 300)
    assert cluster.host("hub-1")["slow_ms"] == 300
    slow = min(commit_ms(cluster) for _ in range(2))
    cluster.slow_disk("hub-1", 0)
    print(f"a commit takes {normal:.0f} ms, {slow:.0f} ms with 300 ms a flush")
    assert slow > 300 and slow - normal > 250
    cluster.slow_disk("ams-1", 7)
    cluster.kill("ams-1")
    cluster.start("ams-1")
    assert cluster.host("ams-1")["slow_ms"] == 7  # the disk is the same
    cluster.slow_disk("ams-1", 0)
    assert min(commit_ms(cluster) for _ in range(3)) < 300 * SLOW


def test_a_full_disk_is_full(cluster):
    path = os.path.join(cluster.data("fra-1"), "mine")
    cluster.fill_disk("fra-1")
    assert cluster.host("fra-1")["disk"]["free"] == 0
    with open(path, "wb", buffering=0) as f, pytest.raises(OSError) as e:
        f.write(b"x" * 65536)
    assert e.value.errno == errno.ENOSPC
    assert cluster.states()["fra-1"] == "alive"
    cluster.free_disk("fra-1")
    with open(path, "wb", buffering=0) as f:
        assert f.write(b"x" * 65536) == 65536
    os.unlink(path)


def test_a_control_node_with_a_full_disk_says_so_and_recovers(cluster):
    cluster.fill_disk("hub-1")
    began = time.monotonic()
    status, _, err = cluster.try_skerry("token", "--site", "fra")
    took = time.monotonic() - began
    cluster.free_disk("hub-1")
    assert status != 0 and err.strip() and took < 15 * SLOW, (status, err, took)
    wait_until("it takes commands again", lambda: cluster.try_skerry("token", "--site", "fra")[0] == 0, 20)


# ---- nothing stays behind ----

MAKE = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from lab import Lab
lab = Lab({"sites": {"hub": {"hosts": 1, "control": True, "disk": "16M"}, "fra": {"hosts": 1}}}).start()
print(lab.dir, lab.show()["id"], flush=True)
if sys.argv[2] == "die":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.read()
"""


def make_elsewhere(how):
    p = subprocess.Popen([sys.executable, "-c", MAKE, os.path.dirname(os.path.abspath(__file__)), how], stdout=subprocess.PIPE,
                         stdin=subprocess.PIPE, text=True)
    folder, ident = p.stdout.readline().split()
    return p, folder, ident


def leftovers(folder, ident):
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        mounts = [x for x in f if folder in x or f"skl-{ident}" in x]
    return (processes_of(folder) + mounts + glob.glob(f"/run/netns/skl-{ident}*") + glob.glob(f"/run/skerry-lab/{ident}*")
            + glob.glob(folder))


def test_nothing_stays_when_the_owner_is_killed():
    owner, folder, ident = make_elsewhere("die")
    assert owner.wait(timeout=30) == -signal.SIGKILL
    wait_until("nothing is left", lambda: not leftovers(folder, ident), 15)


def test_nothing_runs_when_the_keeper_is_killed():
    owner, folder, ident = make_elsewhere("stay")
    try:
        with open(f"/run/skerry-lab/{ident}.json", encoding="utf-8") as f:
            os.kill(json.load(f)["keeper"], signal.SIGKILL)
        wait_until("no process is left", lambda: not processes_of(folder), 10)
        assert leftovers(folder, ident)
        Lab.run("down", "--all-stale")
        assert not leftovers(folder, ident)
    finally:
        owner.kill()
        owner.wait()


def test_without_root_it_says_why():
    if subprocess.run([LAB, "help"], user=65534, group=65534, capture_output=True, check=False).returncode != 0:
        pytest.skip("the build folder is closed to others")
    p = subprocess.run([LAB, "up", "x.yaml"], user=65534, group=65534, capture_output=True, text=True, check=False)
    assert p.returncode == 77 and len(p.stderr.splitlines()) == 1 and "root" in p.stderr

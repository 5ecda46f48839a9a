# SPDX-License-Identifier: Apache-2.0
"""The shim by itself: what it promises when everything around it dies. Needs no privilege but where it says so."""
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import shutil
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import *  # noqa: E402,F403


class Folder:
    def __init__(self, path=None):
        self.path = path or tempfile.mkdtemp(prefix="skerry-shim-")

    def argv(self, command, *options):
        return [SHIM, "--dir", self.path, "--id", "abc123"] + list(options) + ["--"] + command

    def start(self, command, *options):
        return subprocess.run(self.argv(command, *options), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)

    def status(self):
        return json.load(open(os.path.join(self.path, "status")))

    def ended(self, seconds=10):
        until = time.time() + seconds
        while time.time() < until:
            try:
                status = self.status()
                if status["state"] in ("exited", "failed"):
                    return status
            except (OSError, ValueError):
                pass
            time.sleep(0.01)
        raise AssertionError("it did not end: " + str(os.listdir(self.path)))

    def log(self):
        return [line.split(" ", 3)[3].rstrip("\n") for line in open(os.path.join(self.path, "log"))]

    def ask(self, line, answers=1):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(5)
        s.connect(os.path.join(self.path, "shim.sock"))
        f = s.makefile("rw")
        got = [f.readline().strip()]
        f.write(line + "\n")
        f.flush()
        got += [f.readline().strip() for _ in range(answers)]
        s.close()
        return got

    def close(self):
        try:
            self.ask("stop 9 0")
            self.ended()
        except OSError:
            pass
        shutil.rmtree(self.path, ignore_errors=True)


def with_folder(function):
    def wrapped():
        folder = Folder()
        try:
            function(folder)
        finally:
            folder.close()
    wrapped.__name__ = function.__name__
    return wrapped


@with_folder
def test_output_and_status(f):
    assert f.start(["sh", "-c", "echo out; echo err >&2; printf half; exit 5"]).returncode == 0
    status = f.ended()
    assert status["exit"] == 5 and status["signal"] is None and status["run"] == 1, status
    assert sorted(f.log()) == ["err", "half", "out"], f.log()


@with_folder
def test_signal_and_orphans(f):
    marker = "31%06d" % os.getpid()
    f.start(["sh", "-c", "(setsid sleep %s &); (sleep %s &); kill -6 $$" % (marker, marker)])
    status = f.ended()
    assert status["signal"] == 6 and status["exit"] is None, status
    left = subprocess.run(["pgrep", "-f", "^sleep " + marker], capture_output=True, text=True).stdout
    assert left == "", left


@with_folder
def test_one_at_a_time(f):
    f.start(["sleep", "100"])
    second = f.start(["sleep", "100"])
    assert second.returncode == 75, second
    assert f.ask("status")[1].startswith("hello abc123 1 running")
    assert f.ask("nonsense")[1] == "error not a request"
    assert f.ask("stop 15 0; rm -rf /")[1] == "error not a request" or f.ended()


@with_folder
def test_a_run_is_had_once(f):
    """An agent that was killed while its shim started asks for the same run again, when the first is through with it."""
    f.start(["sh", "-c", "echo once; exit 3"])
    f.ended()
    again = f.start(["sh", "-c", "echo twice; exit 4"])
    assert again.returncode == 75, again
    assert f.status()["exit"] == 3 and f.log() == ["once"], (f.status(), f.log())
    assert f.start(["sh", "-c", "echo next; exit 5"], "--run", "2").returncode == 0
    until = time.time() + 10
    while f.ended()["run"] != 2 and time.time() < until:
        time.sleep(0.01)
    assert f.ended()["exit"] == 5 and f.log() == ["once", "next"], f.log()


def hold(path):
    """The lock as a shim has it that has not come further yet (F_OFD_SETLK, struct flock of this machine's C library)."""
    held = open(os.path.join(path, "lock"), "w")
    fcntl.fcntl(held, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    return held


@with_folder
def test_waits_for_a_shim_that_starts(f):
    held = hold(f.path)
    second = subprocess.Popen(f.argv(["sh", "-c", "exit 6"]), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(0.2)
    assert second.poll() is None, "it did not wait: " + second.stderr.read().decode()
    s = socket.socket(socket.AF_UNIX)
    s.bind(os.path.join(f.path, "shim.sock"))
    s.listen(1)
    time.sleep(0.1)
    assert second.poll() is None, "it did not wait for the record"
    with open(os.path.join(f.path, "status"), "w") as status:
        status.write('{"v":1,"id":"abc123","run":1,"state":"starting"}')
    assert second.wait(5) == 75  # now there is somebody to talk to
    s.close()
    os.unlink(os.path.join(f.path, "status"))
    second = subprocess.Popen(f.argv(["sh", "-c", "exit 6"]), stdin=subprocess.DEVNULL)
    time.sleep(0.1)
    held.close()  # that one died before it came so far
    assert second.wait(5) == 0 and f.ended()["exit"] == 6


def kill_parent(number, one):
    """Kills the shim's parent at one of three moments; says which, and how the work below the shim ended."""
    until = time.time() + 5
    moment = ("status", "status.next", None)[number % 3]
    starter = subprocess.Popen(
        ["sh", "-c", '"$@" & wait', "sh"] + one.argv(["sh", "-c", "echo begin; sleep 0.0%d; echo end; exit %d" % (number % 5, number % 256)]),
        start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not os.path.exists(one.path + "/" + (moment or "lock")) and time.time() < until:
        time.sleep(0.001)
    begin = time.time()
    os.killpg(starter.pid, signal.SIGKILL)
    starter.wait()
    return {"killed": "parent of the shim, when it had made '%s'" % (moment or "lock"), "status": one.ended(), "log": one.log(),
            "ended_after_ms": round((time.time() - begin) * 1000, 1)}


def test_kill_parent():
    """kill -9 of the shim's parent, early or a moment later, SKERRY_ROUNDS times: the exit status and the output are there."""
    for number in range(rounds(50)):
        one, seen = Folder(), {}
        try:
            seen = kill_parent(number, one)
            ok = seen["status"]["exit"] == number % 256 and seen["log"] == ["begin", "end"]
        except AssertionError as e:
            seen, ok = {"killed": "parent of the shim", "error": str(e)}, False
        finally:
            one.close()
        evidence("kill-parent", round=number, ok=ok, **seen)
        assert ok, (number, seen)
    print("# %d rounds" % rounds(50))


@with_folder
def test_long_lines_and_flood(f):
    f.start(["sh", "-c", "head -c 20000 /dev/zero | tr '\\0' x; echo; seq 1 20000"], "--log-bytes=65536", "--log-files=2")
    f.ended()
    files = sorted(n for n in os.listdir(f.path) if n.startswith("log"))
    assert files == ["log", "log.1"], files
    assert f.log()[-1] == "20000"
    assert all(os.path.getsize(os.path.join(f.path, n)) < 65536 + 16384 for n in files)


@with_folder
def test_checks(f):
    port = free_port()
    f.start(["busybox", "httpd", "-f", "-p", "127.0.0.1:%d" % port, "-h", f.path])
    open(os.path.join(f.path, "page"), "w").write("x" * 100)
    until = time.time() + 5
    while f.ask("check tcp 127.0.0.1 %d 1000" % port)[1] != "check ok" and time.time() < until:
        time.sleep(0.02)
    assert f.ask("check http 127.0.0.1 %d 1000 /page" % port)[1] == "check ok"
    assert f.ask("check http 127.0.0.1 %d 1000 /none" % port)[1] == "check fail the answer was HTTP 404"
    assert "refused" in f.ask("check tcp 127.0.0.1 %d 1000" % free_port())[1]
    assert f.ask("check tcp somewhere 80 1000")[1] == "check fail not an address"
    with socket.socket() as s:  # accepts, never answers; then one that talks nonsense
        s.bind(("127.0.0.1", 0))
        s.listen()
        assert f.ask("check http 127.0.0.1 %d 100 /" % s.getsockname()[1])[1] == "check fail no answer in time"


def boot_ms():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000000


def none_left(marker, seconds=2):
    until = time.time() + seconds
    while subprocess.run(["pgrep", "-f", "^sleep " + marker], capture_output=True, check=False).returncode == 0:
        assert time.time() < until, subprocess.run(["pgrep", "-af", marker], capture_output=True, text=True, check=False).stdout
        time.sleep(0.005)


@with_folder
def test_lease_ends_everything(f):
    """At its end the whole workload is killed, also what left its session."""
    marker, at = "32%06d" % os.getpid(), boot_ms() + 600
    assert f.start(["sh", "-c", "setsid sleep %s & sleep %s" % (marker, marker)], "--lease-until", str(at)).returncode == 0
    assert f.ask("status")[1].startswith("hello abc123 1 running")
    status = f.ended()
    late = boot_ms() - at
    assert status["lease_over"] and status["signal"] == 9 and 0 <= late < 1000, (status, late)
    none_left(marker, 0.2)


@with_folder
def test_lease_is_renewed(f):
    at = boot_ms() + 700
    f.start(["sleep", "100"], "--lease-until", str(at))
    for _ in range(6):
        time.sleep(0.2)
        at = boot_ms() + 700
        assert f.ask("lease %d" % at)[1] == "ok"
    assert f.ask("lease 1")[1] == "ok"  # takes no time away
    assert f.ask("status")[1].startswith("hello abc123 1 running")
    assert f.ended()["lease_over"] and boot_ms() >= at


@with_folder
def test_lease_paused(f):
    """Whoever wakes up after its lease is dead before it does anything; a renewal that waited for it is too late."""
    f.start(["sleep", "100"], "--lease-until", str(boot_ms() + 500))
    status = f.status()
    os.kill(status["shim_pid"], signal.SIGSTOP)
    os.kill(status["pid"], signal.SIGSTOP)
    late = socket.socket(socket.AF_UNIX)
    late.connect(os.path.join(f.path, "shim.sock"))
    late.send(b"lease %d\n" % (boot_ms() + 60000))
    time.sleep(0.8)
    os.kill(status["shim_pid"], signal.SIGCONT)
    assert f.ended(1)["lease_over"]  # the workload was never continued
    late.close()


@with_folder
def test_no_lease(f):
    f.start(["sleep", "0.4"])
    assert f.ask("lease %d" % boot_ms())[1] == "ok"
    assert f.ended()["exit"] == 0 and not f.status()["lease_over"]
    other = Folder()
    done = other.start(["true"], "--lease-until", str(boot_ms() - 1))
    other.close()
    assert done.returncode == 1 and "its lease ran out before it could start" in done.stderr, done


@with_folder
def test_refusals(f):
    number = 0
    for options, words in ((["--cwd", "/no/such"], "change to folder '/no/such': No such file"), (["--log-bytes", "1"], "'--log-bytes' must be"),
                           (["--nonsense"], "unknown option"), (["--cgroup", "/no/such"], "enter cgroup '/no/such'")):
        number += 1
        done = f.start(["true"], "--run", str(number), *options)
        assert done.returncode in (1, 2) and words in done.stderr and done.stderr.count("\n") == 1, done
    done = Folder("/no/such/folder").start(["true"])
    assert done.returncode == 1 and "open instance folder" in done.stderr, done


def test_full_disk():
    """On a small tmpfs: the start is refused with one line, or the exit status is kept although the log is cut."""
    if os.geteuid() != 0:
        print("# skipped: a tmpfs needs root")
        return
    mount = tempfile.mkdtemp(prefix="skerry-full-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "skerry-test", mount], check=True)
    try:
        f = Folder(mount + "/one")
        os.mkdir(f.path)
        assert f.start(["sh", "-c", "while [ ! -e go ]; do sleep 0.01; done; seq 1 100000; rm ballast; sleep 0.2; echo after; exit 9"],
                       "--cwd", f.path).returncode == 0
        with open(f.path + "/ballast", "wb", buffering=0) as b:
            try:
                while b.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        os.mkdir(mount + "/two") if os.statvfs(mount).f_bavail else None
        os.close(os.open(f.path + "/go", os.O_CREAT))
        status = f.ended(20)
        assert status["exit"] == 9, status
        assert f.log()[-1] == "after" and any("bytes of log were lost" in line for line in f.log()), f.log()[-3:]
        with open(mount + "/ballast", "wb", buffering=0) as b:
            try:
                while b.write(b"x" * 4096):
                    pass
            except OSError:
                pass
        g = Folder(f.path)
        os.unlink(f.path + "/status")
        done = g.start(["true"], "--run", "2")
        assert done.returncode == 1 and "No space left" in done.stderr, done
    finally:
        subprocess.run(["umount", "-l", mount], check=True)
        os.rmdir(mount)


@with_folder
def test_memory(f):
    f.start(["sleep", "100"])
    pid = f.status()["shim_pid"]
    rollup = open("/proc/%d/smaps_rollup" % pid).read()
    anon = int(rollup.split("Pss_Anon:")[1].split()[0])
    print("# shim: %d KiB private memory (anonymous)" % anon)
    if os.environ.get("SKERRY_SANITIZED") != "1":
        assert anon <= 300, rollup


run(globals())

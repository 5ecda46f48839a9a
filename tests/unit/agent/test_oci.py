# SPDX-License-Identifier: Apache-2.0
"""The agent with containers: root, crun, umoci, skopeo. Every agent has a network namespace of its own."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from containers import *  # noqa: E402,F403


@with_agent
def test_start_health_stop(a, ns):
    one = container(5, {"healthcheck": {"test": ["CMD", "wget", "-qO-", "http://127.0.0.1:8000/healthz"]}}, replica=3)
    a.assign([one])
    seen = a.wait_state(one["id"], "running", True)
    assert seen["image_digest"] == WEB_DIGEST, seen
    assert "warning" not in seen or not seen["warning"], seen
    page = ns.get("http://10.210.9.5:8000/")
    assert "instance=%s\nnode=n1\nsite=s1\nreplica=3\n" % one["id"] in page.stdout, page
    one["want"] = "stop"
    a.assign([one])
    a.wait_state(one["id"], "exited")
    status = a.shim_status(one["id"])
    assert status["state"] == "exited" and not alive(status["pid"]), status
    assert ns.get("http://10.210.9.5:8000/").returncode != 0
    left = subprocess.run(["crun", "--root", a.data + "/agent/crun", "list", "-q"], capture_output=True, text=True)
    assert left.stdout.strip() == "", left


@with_agent
def test_inside(a, ns):
    """What a container is: own /dev, no new privileges, few capabilities, its own network, no host paths."""
    script = ("id -u; cat /proc/self/status | grep -E 'CapBnd|CapEff|NoNewPrivs|Seccomp:'; hostname; "
              "ls /dev | tr '\\n' ' '; echo; cat /proc/mounts | cut -d' ' -f2,3; ip addr show eth0 | grep inet; "
              "mount -t tmpfs x /mnt 2>&1; unshare -r true 2>&1; echo $MODE $PORT $HOST; pwd; cat /etc/hosts; "
              "df /scratch | tail -1; wc -c </proc/kcore; echo end; sleep 100")
    one = container(6, {"entrypoint": ["/bin/sh", "-c", script], "environment": {"MODE": "prod"}, "tmpfs": ["/scratch:size=1m"],
                        "healthcheck": {"test": ["CMD", "true"]}})
    a.assign([one])
    a.wait_state(one["id"], "running", True)
    lines = lines_of(a, one["id"], 1, lambda got: "end" in got)
    text = "\n".join(lines)
    assert lines[0] == "0"
    assert "CapBnd:\t00000000000005fb" in text and "NoNewPrivs:\t1" in text and "Seccomp:\t2" in text, text
    assert "web-0" in lines and "prod 8000 0.0.0.0" in lines and "/app" in lines, text
    assert "inet 10.210.9.6/24" in text and "10.210.9.6 web-0" in text, text
    assert "/dev tmpfs" in lines and "/proc proc" in lines and "/sys sysfs" in lines and "/ overlay" in lines, text
    assert "mount: " in text and "unshare: " in text, text
    assert "sda" not in text and "vda" not in text, text
    config = open(os.path.join(a.data, "agent", "instances", one["id"], "config.json")).read()
    assert '"hooks"' not in config and '"annotations"' not in config


@with_agent
def test_user_and_low_port(a, ns):
    one = container(7, {"user": "nobody", "command": [], "environment": {"PORT": "80"}, "healthcheck": {"test": ["CMD-SHELL", "test $(id -u) = 65534 && wget -qO- http://127.0.0.1:80/healthz"]}}, port=80)
    bad = container(8, {"user": "nosuch"})
    a.assign([one, bad])
    a.wait_state(one["id"], "running", True)
    assert "instance=" + one["id"] in ns.get("http://10.210.9.7:80/").stdout
    seen = a.wait_state(bad["id"], "failed")
    assert "user 'nosuch' does not exist in the image" in seen["reason"], seen


@with_agent
def test_exit_and_oom(a, ns):
    seven = container(9, {"entrypoint": ["/bin/sh", "-c", "exit 7"], "restart": "no"})
    oom = container(10, {"entrypoint": ["/bin/sh", "-c", "sleep 0.3; exec tail /dev/zero"], "restart": "no",
                         "deploy": {"resources": {"limits": {"memory": "16M", "pids": 10, "cpus": "0.5"}}}})
    a.assign([seven, oom])
    seen = a.wait_state(seven["id"], "failed")
    assert seen["exit"] == 7 and seen["reason"] == "exited with status 7", seen
    seen = a.wait_state(oom["id"], "failed")
    if "warning" in seen:
        assert "limits are not enforced" in seen["warning"], seen
    else:
        assert seen["signal"] == 9 and "memory limit of 16M" in seen["reason"], seen


@with_agent
def test_bad_images(a, ns):
    missing = container(11, ref="oci:%s/layout:none" % IMAGES, image_digest="")
    nowhere = container(12, ref="127.0.0.1:1/shop/web:1", image_digest="")
    wrong = container(13, ref="oci:%s/layout:api" % IMAGES, image_digest="sha256:" + "1" * 64)
    nameless = container(14, ref="UPPER?case", image_digest="")
    nothing = container(15, {"entrypoint": ["/no/such/program"]})
    outside = container(16)
    outside["address"] = "192.0.2.1"
    a.assign([missing, nowhere, wrong, nameless, nothing, outside])
    for one, words in ((missing, "layout:none"), (nowhere, "127.0.0.1:1"), (wrong, "not the image any more"),
                       (nameless, "is not a valid name"), (nothing, "/no/such/program"), (outside, "is not of this node's prefix")):
        seen = a.wait_state(one["id"], "failed")
        assert words in seen["reason"] and "\n" not in seen["reason"], (words, seen)


@with_agent
def test_archives_and_registry(a, ns):
    docker = IMAGES + "/web.docker.tar"
    oci = IMAGES + "/web.oci.tar"
    subprocess.run(["skopeo", "copy", "-q", WEB, "docker-archive:%s:shop/web:1" % docker], check=True)
    subprocess.run(["skopeo", "copy", "-q", WEB, "oci-archive:" + oci], check=True)
    one = container(20, ref="docker-archive:" + docker, image_digest=digest("docker-archive:" + docker))
    two = container(21, ref="oci-archive:" + oci, image_digest="")
    a.assign([one, two])
    a.wait_state(one["id"], "running", True)
    a.wait_state(two["id"], "running", True)


@with_agent
def test_kill_agent(a, ns):
    ones = [container(30 + i, replica=i) for i in range(3)]
    a.assign(ones)
    a.wait(lambda x: len(x.seen) == 3)
    a.kill()  # in the middle of it
    a.start()
    for one in ones:
        a.wait_state(one["id"], "running", True)
    pids = {one["id"]: a.shim_status(one["id"])["pid"] for one in ones}
    for _ in range(5):
        a.restart()
        for one in ones:
            seen = a.wait_state(one["id"], "running", True)
            assert a.shim_status(one["id"])["pid"] == pids[one["id"]] and alive(pids[one["id"]]), seen
    os.kill(a.shim_status(ones[0]["id"])["shim_pid"], signal.SIGKILL)
    a.wait(lambda x: x.seen[ones[0]["id"]]["restarts"] >= 1 and x.seen[ones[0]["id"]]["healthy"])
    assert not alive(pids[ones[0]["id"]])
    assert "instance=" + ones[0]["id"] in ns.get("http://10.210.9.30:8000/").stdout


@with_agent
def test_fifty(a, ns):
    warm = container(100)
    a.assign([warm])
    a.wait_state(warm["id"], "running", True)
    ones = [container(101 + i, replica=i) for i in range(50)]
    begin = time.time()
    a.assign([warm] + ones)
    a.wait(lambda x: all(x.seen.get(o["id"], {}).get("healthy") for o in ones), 30)
    print("# 50 containers from assignment to healthy: %.2f s" % (time.time() - begin), flush=True)


run(globals())

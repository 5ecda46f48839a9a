# SPDX-License-Identifier: Apache-2.0
"""Images that nothing uses are removed after a time, and no others. Containers, so root."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from containers import *  # noqa: E402,F403

API = "oci:%s/layout:api" % IMAGES
API_DIGEST = digest(API)
KEEP_MS = 300
DAY = 86400


def with_keeper(function):
    def wrapped():
        ns = Netns()
        try:
            agent = Agent(netns=ns.name, prefix=PREFIX, image_keep_ms=KEEP_MS)
            try:
                function(agent, ns)
            finally:
                agent.close()
        finally:
            ns.close()
    wrapped.__name__ = function.__name__
    return wrapped


def folder(a, image_digest):
    return os.path.join(a.data, "agent/images", image_digest[7:])


def there(a, image_digest):
    return os.path.exists(folder(a, image_digest) + "/done")


def used(a, image_digest):
    return folder(a, image_digest) + "/used"


def age(a, image_digest):
    """Sets its mark back by a day: the next look removes the image, or finds it in use and marks it again."""
    old = time.time() - DAY
    os.utime(used(a, image_digest), (old, old))


def looked(a, image_digest):
    """Whether a look has marked it since."""
    assert there(a, image_digest), a.own_log()
    return os.stat(used(a, image_digest)).st_mtime > time.time() - DAY / 2


def stays(a, image_digest):
    """Three looks in a row find it in use, each after a day: what waiting would show, without the waiting."""
    a.wait(lambda x: os.path.exists(used(x, image_digest)), 10, "its first mark")
    for _ in range(3):
        age(a, image_digest)
        a.wait(lambda x: looked(x, image_digest), 10, "the image to be found in use")


def goes(a, image_digest):
    a.wait(lambda x: not there(x, image_digest), 10, "the image to go")
    a.wait(lambda x: not [f for f in os.listdir(x.data + "/agent/images") if f.endswith(".tmp")], 10, "its files to go")


def name(ref, image_digest):
    return {"ref": ref, "digest": image_digest}


@with_keeper
def test_prefetched(a, ns):
    """An image that is to be there before a loss stays for as long as that is asked, and a while longer."""
    a.assign([], prefetch=[name(WEB, WEB_DIGEST), name(API, API_DIGEST)])
    a.wait(lambda x: there(x, WEB_DIGEST) and there(x, API_DIGEST))
    stays(a, API_DIGEST)
    assert there(a, WEB_DIGEST)
    begin = os.stat(used(a, API_DIGEST)).st_mtime  # its last mark, or one before that
    a.assign([], prefetch=[name(WEB, WEB_DIGEST)])
    goes(a, API_DIGEST)
    assert time.time() - begin > KEEP_MS / 1000 - 0.001, time.time() - begin  # the agent counts in ms
    stays(a, WEB_DIGEST)
    a.assign([], prefetch=[name(WEB, WEB_DIGEST), name(API, API_DIGEST)])  # and comes back when it is asked for
    a.wait(lambda x: there(x, API_DIGEST))


@with_keeper
def test_of_instances(a, ns):
    """One that runs from it, or whose folder is still kept, holds its image, also over a restart of the agent."""
    one, local = container(10), container(11, ref=API, image_digest="")
    a.assign([one, local])
    for each in (one, local):
        a.wait_state(each["id"], "running", True)
    stays(a, WEB_DIGEST)
    assert there(a, API_DIGEST)
    a.restart()
    stays(a, WEB_DIGEST)
    assert "instance=" + one["id"] in ns.get("http://10.210.9.10:8000/").stdout
    a.assign([])
    a.wait_state(one["id"], "exited")
    a.wait_state(local["id"], "exited")
    stays(a, WEB_DIGEST)
    a.kill()
    shutil.rmtree(os.path.join(a.data, "agent/instances", one["id"]))
    a.start()
    goes(a, WEB_DIGEST)
    again = container(11)
    a.assign([again])
    a.wait_state(again["id"], "running", True)


@with_keeper
def test_marks(a, ns):
    """No mark, or one of a clock that was ahead: its time begins now. An old one counts over a restart."""
    a.assign([], prefetch=[name(WEB, WEB_DIGEST)])
    a.wait(lambda x: there(x, WEB_DIGEST) and os.path.exists(used(x, WEB_DIGEST)))
    a.kill()
    os.utime(used(a, WEB_DIGEST), (time.time() + DAY, time.time() + DAY))
    a.start()
    a.assign([])
    goes(a, WEB_DIGEST)
    a.assign([], prefetch=[name(WEB, WEB_DIGEST)])
    a.wait(lambda x: there(x, WEB_DIGEST))
    a.kill()
    if os.path.exists(used(a, WEB_DIGEST)):
        os.unlink(used(a, WEB_DIGEST))
    begin = time.time()
    a.start()
    a.assign([])
    goes(a, WEB_DIGEST)
    assert time.time() - begin > KEEP_MS / 1000 - 0.001, time.time() - begin  # the agent counts in ms


def test_while_a_job_works():
    """A fetch that takes longer than an unused image is kept ends well, though nobody waits for it any more."""
    tools = tempfile.mkdtemp(prefix="skerry-tools-")
    with open(tools + "/skopeo", "w") as f:
        f.write("#!/bin/sh\nsleep 0.6\nexec %s \"$@\"\n" % shutil.which("skopeo"))
    os.chmod(tools + "/skopeo", 0o755)
    path = os.environ["PATH"]
    ns = Netns()
    try:
        os.environ["PATH"] = tools + ":" + path
        a = Agent(netns=ns.name, prefix=PREFIX, image_keep_ms=KEEP_MS)
        os.environ["PATH"] = path
        try:
            a.assign([], prefetch=[name(WEB, WEB_DIGEST)])
            time.sleep(0.2)
            a.assign([])
            a.wait(lambda x: there(x, WEB_DIGEST), 15, "the image that nobody waits for")
            goes(a, WEB_DIGEST)
            one = container(12)
            a.assign([one])
            a.wait_state(one["id"], "running", True, seconds=15)
        finally:
            a.close()
    finally:
        os.environ["PATH"] = path
        ns.close()
        shutil.rmtree(tools)


run(globals())

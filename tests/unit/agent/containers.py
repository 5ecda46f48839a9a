# SPDX-License-Identifier: Apache-2.0
"""What tests with containers share: images made on the spot, and an agent in a network namespace of its own. Skips without root."""
import atexit
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

from harness import *  # noqa: F403

if os.geteuid() != 0:
    skip("containers need root")
for tool in ("crun", "umoci", "skopeo", "ip", "nsenter", "busybox", "curl"):
    if not shutil.which(tool):
        skip(tool + " is not installed")
SOURCE = os.environ.get("SKERRY_SOURCE_ROOT") or os.path.abspath(os.path.dirname(__file__) + "/../../..")
IMAGES = tempfile.mkdtemp(prefix="skerry-images-")
atexit.register(shutil.rmtree, IMAGES, ignore_errors=True)
subprocess.run([SOURCE + "/examples/shop/make-images.sh", "all", IMAGES], check=True, stdout=subprocess.DEVNULL)
PREFIX = "10.210.9.0/24"


def digest(ref):
    raw = subprocess.run(["skopeo", "inspect", "--raw", ref], check=True, capture_output=True).stdout
    return "sha256:" + hashlib.sha256(raw).hexdigest()


WEB = "oci:%s/layout:web" % IMAGES
WEB_DIGEST = digest(WEB)


class Netns:
    def __init__(self):
        self.name = "skt-" + secrets.token_hex(4)
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        subprocess.run(["ip", "-n", self.name, "link", "set", "lo", "up"], check=True)

    def run(self, *argv):
        return subprocess.run(["nsenter", "--net=/run/netns/" + self.name] + list(argv), capture_output=True, text=True)

    def get(self, url):
        return self.run("curl", "-s", "-m", "2", url)

    def close(self):
        subprocess.run(["ip", "netns", "del", self.name], check=True)


def container(host, spec=None, port=8000, ref=WEB, image_digest=WEB_DIGEST, replica=0):
    body = {"image": ref, "stop_grace_period": "100ms"}
    body.update(spec or {})
    return {"id": new_id(), "project": "shop", "service": "web", "replica": replica, "generation": 1,
            "spec_hash": "sha256:" + "0" * 64, "want": "run", "driver": "oci",
            "image": {"ref": ref, "digest": image_digest}, "address": "10.210.9.%d" % host, "port": port, "spec": body}


def with_agent(function):
    def wrapped():
        ns = Netns()
        try:
            agent = Agent(netns=ns.name, prefix=PREFIX)
            try:
                function(agent, ns)
            finally:
                agent.close()
        finally:
            ns.close()
    wrapped.__name__ = function.__name__
    return wrapped


def lines_of(a, iid, number, enough, tail=100):
    a.send({"type": "logs", "stream": number, "id": iid, "tail": tail, "follow": True})
    get = lambda: [line for f in a.logs.get(number, []) for line in f["lines"]]  # noqa: E731
    a.wait(lambda x: enough(get()), 10, "the log of " + iid)
    return get()


def variant(tag, *options):
    """The web image under another tag, with umoci's config options: its reference and digest."""
    subprocess.run(["umoci", "config", "--image", IMAGES + "/layout:web", "--tag", tag] + list(options), check=True,
                   stdout=subprocess.DEVNULL)
    ref = "oci:%s/layout:%s" % (IMAGES, tag)
    return {"ref": ref, "image_digest": digest(ref)}

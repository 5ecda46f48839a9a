#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""From one control node to three and back, by the real binary with real members of etcd."""
import json
import os
import shutil
import sys

from cluster import Cluster, main, wait_until


def seats(c, node=None):
    """What a control node says of the control nodes; None while it does not answer."""
    code, out, _ = c.local(node or c.hub, "control", "seats", "--json")
    return json.loads(out) if code == 0 else None


def there_and_back(r):
    with Cluster({"fra": ["fra-1"], "ams": ["ams-1"]}) as c:
        c.start()
        code, out, err = c.cli("control", "grow", timeout=120)
        r.check("grow", code == 0, err)
        got = seats(c)
        r.equal("the state is in etcd", got["store"], "etcd")
        r.equal("three members", sorted(got["members"]), ["ams-1", "fra-1", "hub-1"])
        r.equal("as it ended", got["last"]["outcome"], "done")
        r.check("the file is out of the way", not os.path.exists(os.path.join(c.hub.data, "control/state.db")))
        for name in ["fra-1", "ams-1"]:
            wait_until(f"{name} answers", lambda n=c.nodes[name]: seats(c, n), 20)
        code, out, err = c.cli("control", "grow")
        r.equal("a second time is refused", code, 1)
        code, out, err = c.cli("control", "shrink", timeout=120)
        r.check("shrink", code == 0, err)
        r.equal("the state is in SQLite", seats(c)["store"], "sqlite")
        for name in ["fra-1", "ams-1"]:
            wait_until(f"nothing is left on {name}", lambda n=c.nodes[name]: not os.listdir(os.path.join(n.data, "control")))
        r.check("no etcd either", not os.path.exists(os.path.join(c.hub.data, "control/etcd")))
        code, out, err = c.cli("status")
        r.check("all goes on", code == 0, err)
        c.failed = bool(r.failures)


def two_sites(r):
    with Cluster({"fra": ["fra-1"]}) as c:
        c.start()
        code, out, err = c.cli("control", "grow")
        r.equal("refused as a policy", code, 3)
        r.check("says why", "neither of two can know" in err, err)
        r.check("and what helps", "--role control" in err, err)


if __name__ == "__main__":
    if not shutil.which("etcd"):
        print("skipped: etcd is not installed; apt-get install etcd-server")
        sys.exit(77)
    main(there_and_back, two_sites)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who may do what at the API over HTTPS: every route of the daemon's table with every role, and with none."""
import http.client
import json
import os
import re
import socket
import ssl
import time

from cluster import ROOT, SKERRY, Api, Cluster, Failed, main, wait_until

ROLES = ["viewer", "operator", "admin"]
# A harmless body for each route that takes one: what is asked for does not exist, or changes nothing.
BODIES = {
    "POST /v1/plan": {"projects": []},
    "POST /v1/apply": {"projects": [], "plan": "sha256:none"},
    "POST /v1/rebalance": {"dry_run": True},
    "POST /v1/return": {"hold": True, "go": True},
    "POST /v1/drain": {"node": "nothing"},
    "POST /v1/undrain": {"node": "nothing"},
    "PATCH /v1/sites/*": {"region": "eu"},
    "PATCH /v1/nodes/*": {"price_hour": 1},
    "PATCH /v1/links/*/*": {"rtt_ms": 1},
    "POST /v1/tokens": {"site": "nowhere", "role": "no-such-role"},
    "POST /v1/keys": {"name": "x", "role": "no-such-role"},
}


def routes():
    """From the source, so that no route can be added without its row here and in the documentation."""
    with open(os.path.join(ROOT, "src/daemon/api.c"), encoding="utf-8") as f:
        text = f.read()
    table = text[text.index("routes[] = {"):]
    table = table[:table.index("\n};")]
    found = re.findall(r'\{"([A-Z]+)", "(/v1/[^"]+)",\s*API_([A-Z]+),', table)
    return [(method, path, role.lower()) for method, path, role in found]


def error_code(body):
    try:
        return json.loads(body)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None


def matrix(c, r):
    api, keys = Api(c), {}
    for role in ROLES:
        code, out, err = c.cli("key", f"for-{role}", "--role", role)
        r.equal(f"key for {role}", code, 0)
        keys[role] = out.strip()
    table = routes()
    r.check("the table was read", len(table) >= 28, len(table))
    r.equal("bodies are of this table", sorted(set(BODIES) - {f"{m} {p}" for m, p, _ in table}), [])
    for method, path, needs in table:
        body = BODIES.get(f"{method} {path}")
        url = path.replace("*", "nothing") + ("?id=" + "0" * 32 if path == "/v1/logs" else "")
        for role in ROLES:
            status, answer = api.call(method, url, keys[role], body)
            may = ROLES.index(role) >= ROLES.index(needs)
            r.equal(f"{method} {path} as {role}", (status == 403, status == 401, status < 500), (not may, False, True))
            if not may:
                r.equal(f"{method} {path} as {role}: code", error_code(answer), "denied")
        for name, token in (("no token", None), ("an unknown token", "ska1." + "0" * 64), ("an empty token", ""),
                            ("a token of another kind", "skt1.abc")):
            status, answer = api.call(method, url, token, body)
            r.equal(f"{method} {path} with {name}", (status, error_code(answer)), (401, "unauthenticated"))


def before_the_body(c, r):
    """Nobody makes the daemon read a body, or look for an image, without a key."""
    api = Api(c)
    project = {"name": "x", "services": {"a": {"image": "127.0.0.1:1/none:1"}}}
    key = c.cli("key", "reader", "--role", "viewer")[1].strip()
    op = c.cli("key", "writer", "--role", "operator")[1].strip()
    for name, token, want in (("no key", None, 401), ("a viewer's key", key, 403)):
        for what, body in (("an image to look for", {"projects": [project]}), ("nonsense", {"nonsense": 1})):
            at = time.monotonic()
            status, _ = api.call("POST", "/v1/apply", token, body)
            r.equal(f"apply of {what} with {name}", status, want)
            r.check(f"apply of {what} with {name}: at once", time.monotonic() - at < 2)
    status, answer = api.call("POST", "/v1/apply", op, {"nonsense": 1})
    r.equal("nonsense with the right key", (status, error_code(answer)), (400, "bad_input"))


def bad_requests(c, r):
    api = Api(c)
    key = c.cli("key", "root", "--role", "admin")[1].strip()
    for name, method, path, body, want in (
            ("an unknown path", "GET", "/v1/nothing", None, 404),
            ("a path outside", "GET", "/../../etc/passwd", None, 404),
            ("a wrong method", "PUT", "/v1/status", None, 404),
            ("a list as body", "POST", "/v1/drain", [], 400),
            ("both of two", "POST", "/v1/drain", {"site": "a", "node": "b"}, 400),
            ("a wrong type", "POST", "/v1/drain", {"node": 7}, 400),
            ("an unknown key", "POST", "/v1/drain", {"node": "a", "nod": "b"}, 400),
            ("a number out of range", "POST", "/v1/tokens", {"site": "a", "ttl_ms": -1}, 400),
            ("too long a life", "POST", "/v1/tokens", {"site": "a", "ttl_ms": 10**12}, 400),
            ("a role that is none", "POST", "/v1/keys", {"name": "a", "role": "king"}, 400),
            ("a site that is no label", "PATCH", "/v1/sites/UPPER", {"region": "eu"}, 404),
            ("events after a word", "GET", "/v1/events?after=x", None, 400),
            ("logs without an instance", "GET", "/v1/logs", None, 400),
            ("logs of no instance", "GET", "/v1/logs?id=zzz", None, 404)):
        status, answer = api.call(method, path, key, body)
        r.equal(name, (status, error_code(answer) is not None), (want, True))
        text = json.loads(answer)["error"]["text"]
        r.check(f"{name}: one line", text and "\n" not in text, text)
    status, answer = api.call("POST", "/v1/drain", key, {"node": "x" * 100000})
    r.equal("a body over the limit", status, 413)
    r.equal("after all that it answers", api.call("GET", "/v1/status", key)[0], 200)


def raw(address, data, tls=None, wait=3):
    sock = socket.create_connection((address, 7410), timeout=wait)
    try:
        if tls:
            sock = tls.wrap_socket(sock, server_hostname=address)
        sock.sendall(data)
        return sock.recv(4096)
    except OSError:
        return b""
    finally:
        sock.close()


def the_door(c, r):
    """Plaintext, old TLS, a foreign CA at the client, and the command line as a client."""
    address, ca = c.hub.address, os.path.join(c.hub.data, "identity/ca.pem")
    r.check("TLS 1.3 answers", b" 401 " in raw(address, b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
                                               ssl.create_default_context(cafile=ca)))
    r.check("plaintext gets nothing", b"HTTP" not in raw(address, b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"))
    old = ssl.create_default_context(cafile=ca)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    r.check("TLS 1.2 gets nothing", b"HTTP" not in raw(address, b"GET / HTTP/1.1\r\n\r\n", old))
    key = c.cli("key", "door", "--role", "viewer")[1].strip()
    token = c.file("key", key)
    code, out, err = c.cli("status", "--server", address, "--ca", ca, "--token-file", token)
    r.equal("the command line by HTTPS", (code, err), (0, ""))
    foreign = c.file("foreign.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for name, args in (("no CA", ["--token-file", token]), ("no token", ["--ca", ca]),
                       ("a CA that is none", ["--ca", foreign, "--token-file", token]),
                       ("an empty token file", ["--ca", ca, "--token-file", c.file("empty", "")])):
        code, out, err = c.cli("status", "--server", address, *args)
        r.check(f"--server with {name}: an error of one line", code in (1, 2) and err.startswith("skerry: "), (code, err))
    drain = c.cli("drain", "hub-1", "--server", address, "--ca", ca, "--token-file", token)
    r.check("a viewer cannot drain", drain[0] == 1 and "operator" in drain[2], drain)
    # a revoked key
    hashes = {k["name"]: k["hash"] for k in json.loads(call_unix(c, "GET", "/v1/keys"))["keys"]}
    r.equal("remove a key", c.cli("remove", "key", hashes["door"])[0], 0)
    r.equal("a removed key", Api(c).call("GET", "/v1/status", key)[0], 401)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("skerry", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


def call_unix(c, method, path):
    connection = UnixConnection(os.path.join(c.hub.data, "run/api.sock"))
    connection.request(method, path)
    data = connection.getresponse().read()
    connection.close()
    return data


def the_socket(c, r):
    """The local socket: the daemon's own user and root are admin, anybody else is nobody."""
    path = os.path.join(c.hub.data, "run/api.sock")
    r.check("own user", b"skerry.status/1" in call_unix(c, "GET", "/v1/status"))
    if os.geteuid() != 0:
        print("   not root: another user at the socket is not tried", flush=True)
        return
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(54321)
        os.setuid(54321)
        try:
            connection = UnixConnection(path)
            connection.request("GET", "/v1/status")
            os._exit(7 if connection.getresponse().status == 401 else 1)
        except PermissionError:
            os._exit(7)
        except BaseException:
            os._exit(2)
    r.equal("another user is refused", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 7)


def audit(c, r):
    events = c.get("events")["events"]
    r.check("every event says who", all(e["who"] for e in events), events)
    made = [e["who"] for e in events if e["what"].startswith("key")]
    r.check("keys are made by the local user", made and all(w == made[0] for w in made), made)
    key = c.cli("key", "auditor", "--role", "operator")[1].strip()
    Api(c).call("PATCH", "/v1/nodes/hub-1", key, {"price_hour": 0.5})
    last = wait_until("the change is an event", lambda: [e for e in c.get("events")["events"]
                                                         if e["who"] == "key:auditor"], 5)
    r.equal("a change by a key is its own", len(last), 1)
    with open(c.hub.log, encoding="utf-8") as f:
        r.check("no key is in the log", "ska1." not in f.read())
    folder = os.path.join(c.hub.data, "control")
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as f:
            r.check(f"no key is in {name}", key.encode() not in f.read())


def documented(c, r):
    with open(os.path.join(ROOT, "docs/api.md"), encoding="utf-8") as f:
        text = f.read()
    for method, path, role in routes():
        words = re.sub(r"\*", "[^ /`|?]+", path.replace(".", r"\."))
        row = re.search(rf"^.*{method}\b[^\n]*?{words}(?![/\w])[^\n]*$", text, re.M)
        r.check(f"docs/api.md has {method} {path}", row, "no row")
        if row:
            r.check(f"docs/api.md: {method} {path} needs {role}", role in row.group(0), row.group(0))


def door(r):
    with Cluster({}) as c:
        c.start_hub()
        wait_until("the hub is alive", lambda: [n["state"] for n in c.get("nodes")["nodes"]] == ["alive"])
        for part in (matrix, before_the_body, bad_requests, the_door, the_socket, audit, documented):
            try:
                part(c, r)
            except Failed as e:
                r.check(part.__name__, False, e)


if __name__ == "__main__":
    main(door)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every port where TLS is spoken, and who comes to it: in plain text, with no certificate, one of a foreign authority, an
expired one, a revoked one. Each after its positive twin, and each is refused for the right reason: the alert that the
caller gets, and the line in the log of who refuses, where that one writes one.

7400 the channel, 7443 between the ingresses (both want a certificate), 7410 the API (wants a key; there it is the caller
who judges the certificate).
"""
import http.client
import json
import os
import shutil
import socket
import ssl
import threading
import time

from bad import HELLO, certificate, frame, issue
from cluster import PYTHON, SERVE, SLOW, Api, Cluster, in_turn, main, wait_until

UP = b"GET /up HTTP/1.1\r\nHost: skerry.internal\r\nX-Skerry-Check: r.ams\r\n\r\n"  # as another site asks
APP = f"""name: shop
services:
  web:
    command: ["{PYTHON}", "{SERVE}"]
    stop_grace_period: 1s
    deploy: {{replicas: 2, resources: {{limits: {{cpus: "0.10", memory: 64M}}}}}}
    x-skerry: {{survive: {{sites: 1}}, route: {{host: shop.test, port: 8000}}}}
"""
ALERTS = {"TLSV13_ALERT_CERTIFICATE_REQUIRED": "required", "TLSV1_ALERT_UNKNOWN_CA": "unknown ca",
          "SSLV3_ALERT_CERTIFICATE_EXPIRED": "expired", "SSLV3_ALERT_CERTIFICATE_REVOKED": "revoked",
          "SSLV3_ALERT_BAD_CERTIFICATE": "bad", "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "unknown",
          "TLSV1_ALERT_DECRYPT_ERROR": "decrypt error"}


def connect(address, port, cert=None, alpn=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if cert:
        context.load_cert_chain(*cert)
    if alpn:
        context.set_alpn_protocols([alpn])
    sock = socket.create_connection((address, port), timeout=5 * SLOW)
    try:
        return context.wrap_socket(sock)
    except OSError:
        sock.close()
        raise


def answer(sock, data):
    """The first bytes that come back; b"" when the other side hangs up without a word."""
    sock.settimeout(5 * SLOW)
    sock.sendall(data)
    return sock.recv(65536)


def meet(address, port, data, cert=None, alpn=None):
    """("bytes", what came) or ("alert", its name) or ("closed", "")."""
    try:
        with connect(address, port, cert, alpn) as sock:
            got = answer(sock, data)
            return ("bytes", got) if got else ("closed", "")
    except ssl.SSLError as e:
        return "alert", ALERTS.get(e.reason, e.reason)
    except (ConnectionError, socket.timeout) as e:
        return "closed", "" if isinstance(e, ConnectionError) else "time-out"


def plain(address, port, data):
    """What is left of an answer to plain text: whether a word of it can be read."""
    sock = socket.create_connection((address, port), timeout=5 * SLOW)
    try:
        sock.settimeout(7 * SLOW)
        sock.sendall(data)
        got = b""
        while part := sock.recv(4096):
            got += part
        return got
    except ConnectionError:
        return got
    finally:
        sock.close()


def own(node):
    return os.path.join(node.data, "identity/node.pem"), os.path.join(node.data, "identity/node.key")


def new_lines(node, since):
    return node.log_text()[since:]


# ---- 7400 ----

def channel(c, r):
    """The peer of this test is ams-1, whose own daemon stands still meanwhile."""
    hub, node = c.hub, c.nodes["ams-1"]
    with open(os.path.join(node.data, "node.json"), encoding="utf-8") as f:
        incarnation = json.load(f)["incarnation"]
    hello = frame(dict(HELLO, node="ams-1", incarnation=incarnation))
    beat = frame({"v": 1, "type": "beat", "seq": 1, "assign_rev": 0, "obs_rev": 0, "heard": []})
    node.stop()

    def refused(name, result, log, **how):
        since = len(hub.log_text())
        r.equal(f"7400, {name}", meet(hub.address, 7400, hello + beat, **how), result)
        text = wait_until(f"7400, {name}: logged", lambda: [x for x in new_lines(hub, since).splitlines() if "peer refused" in x], 5)
        r.check(f"7400, {name}: the log says why", log in text[0] and 'address=127.' in text[0], text)

    def twin(name, cert):
        kind, got = meet(hub.address, 7400, hello + beat, cert=cert)
        r.check(f"7400, {name}: let in", kind == "bytes" and b'"type":"hello"' in got, (kind, got))

    twin("its own certificate", own(node))
    since = len(hub.log_text())
    r.check("7400, plain text: not a word", b"type" not in plain(hub.address, 7400, hello))
    wait_until("7400, plain text: logged", lambda: "TLS 1.3: " in new_lines(hub, since), 5)
    since = len(hub.log_text())
    kind, got = meet(hub.address, 7400, hello)
    r.check("7400, no certificate: may only join", kind == "bytes" and b'"unauthenticated"' in got and
            b"a peer without certificate may only join, not 'hello'" in got, (kind, got))
    wait_until("7400, no certificate: logged", lambda: "may only join" in new_lines(hub, since), 5)
    twin("a certificate made outside with the CA's key", certificate(c, "valid", 1, node="ams-1"))
    refused("a foreign authority", ("alert", "unknown ca"), "the certificate is refused: ",
            cert=certificate(c, "foreign", 1, node="ams-1"))
    expired = certificate(c, "expired", 0, node="ams-1")
    time.sleep(1.2)
    refused("an expired certificate", ("alert", "expired"), "certificate has expired", cert=expired)
    since = len(hub.log_text())
    kind, got = meet(hub.address, 7400, beat, cert=own(node))
    first_frame = "the first frame is 'beat', not 'hello'"
    wait_until("7400, a beat before hello: logged", lambda: first_frame in new_lines(hub, since), 5)
    with connect(hub.address, 7400, own(node)) as sock:
        got = b""
        try:
            sock.settimeout(5 * SLOW)
            sock.sendall(beat)
            while part := sock.recv(65536):
                got += part
        except ConnectionError:
            pass
    r.check("7400, a beat before hello: is told", first_frame.encode() in got and b'"assign"' not in got, got)
    node.start()
    wait_until("ams-1 is back", lambda: {n["state"] for n in c.get("nodes")["nodes"]} == {"alive"}, 20)


def channel_revoked(c, r, cert, hello):
    hub = c.hub
    since = len(hub.log_text())
    r.equal("7400, a revoked certificate", meet(hub.address, 7400, hello, cert=cert), ("alert", "revoked"))
    text = wait_until("7400, revoked: logged", lambda: [x for x in new_lines(hub, since).splitlines() if "peer refused" in x], 5)
    r.check("7400, revoked: the log says why", "the certificate of node 'ams-1' is revoked" in text[0], text)


# ---- 7443 ----

def up(node, cert):
    return meet(node.address, 7443, UP, cert=cert, alpn="in.shop.web.http")


def is_up(result):
    return result[0] == "bytes" and b" 200 " in result[1]


def between_sites(c, r):
    fra, ams, par = c.nodes["fra-1"], c.nodes["ams-1"], c.nodes["par-1"]
    wait_until("the ingress of fra serves", lambda: serves(fra, own(ams)), 20)
    r.check("7443, its own certificate: let in", is_up(up(fra, own(ams))))
    r.check("7443, plain text: not a word", b"HTTP" not in plain(fra.address, 7443, UP))
    r.equal("7443, no certificate", up(fra, None), ("alert", "required"))
    foreign = certificate(c, "foreign", 1, node="ams-1")
    r.equal("7443, a foreign authority", up(fra, foreign), ("alert", "unknown ca"))
    r.check("7443, a certificate made outside with the CA's key: let in", is_up(up(fra, certificate(c, "valid", 1, node="ams-1"))))
    expired = certificate(c, "expired", 0, node="ams-1")
    time.sleep(1.2)
    r.equal("7443, an expired certificate", up(fra, expired), ("alert", "expired"))
    r.check("7443, another node's certificate: let in", is_up(up(fra, own(par))))


def serves(node, cert):
    try:
        return is_up(up(node, cert))
    except OSError:
        return False


def revoked(c, r):
    """A node is removed while it holds connections: it is refused at every port within 5 s, and after a restart too."""
    fra, ams, par = c.nodes["fra-1"], c.nodes["ams-1"], c.nodes["par-1"]
    cert = tuple(shutil.copy(path, os.path.join(c.dir, "stolen-" + os.path.basename(path))) for path in own(ams))
    with open(os.path.join(ams.data, "node.json"), encoding="utf-8") as f:
        hello = frame(dict(HELLO, node="ams-1", incarnation=json.load(f)["incarnation"]))
    r.equal("drain it", c.cli("drain", "ams-1")[0], 0)
    wait_until("it is empty", lambda: all(i["node"] != "ams-1" for i in c.ps()), 30)
    ams.stop()
    wait_until("fra serves still", lambda: serves(fra, cert), 20)
    held = connect(fra.address, 7443, cert, "in.shop.web.http")
    r.check("7443, a connection that is held: serves", b" 200 " in answer(held, UP))
    r.check("7443, the same once more", b" 200 " in answer(held, UP))
    at = time.monotonic()
    r.equal("remove it", c.cli("remove", "node", "ams-1")[0], 0)
    wait_until("7443, a revoked certificate", lambda: up(fra, cert) == ("closed", ""), 5)
    r.check("7443, revoked within 5 s", time.monotonic() - at < 5 * SLOW, time.monotonic() - at)
    try:
        late = answer(held, UP)
    except OSError:
        late = b""
    held.close()
    r.equal("7443, a connection that was held: gets nothing more", late, b"")
    for _ in range(5):
        r.equal("7443, revoked for good", up(fra, cert), ("closed", ""))
    r.check("7443, another node's certificate: still let in", is_up(up(fra, own(par))))
    channel_revoked(c, r, cert, hello)
    # cut off from control and started again, the ingress still knows
    c.hub.stop()
    fra.stop()
    fra.start()
    c.hub.start()
    wait_until("fra serves again", lambda: serves(fra, own(par)), 30)
    r.equal("7443, revoked after a restart", up(fra, cert), ("closed", ""))


# ---- 7410 ----

class Impostor:
    """A server at the API's port of another address, which shows whatever certificate it is given."""

    def __init__(self, address, cert):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*cert)
        self.listener = socket.create_server((address, 7410))
        self.heard = b""
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            try:
                sock.settimeout(5)
                with self.context.wrap_socket(sock, server_side=True) as peer:
                    self.heard += peer.recv(65536)
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
            except OSError:
                pass


def server_certificate(c, name, address, days, kind="api"):
    """As the API shows one; from the cluster's CA, or a foreign one when that is the name."""
    names = f"IP:{address}" if kind == "api" else "URI:skerry://skerry/node/fra-1"
    return issue(c, "server-" + name, "api", "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
                 f"subjectAltName={names}\n", days, name == "foreign")


def api(c, r):
    hub = c.hub
    key = c.cli("key", "reader", "--role", "viewer")[1].strip()
    ca = os.path.join(hub.data, "identity/ca.pem")
    token = c.file("reader.key", key)
    get = b"GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    bearer = get + b"Authorization: Bearer " + key.encode() + b"\r\n\r\n"
    r.equal("7410, a key", Api(c).call("GET", "/v1/status", key)[0], 200)
    r.check("7410, plain text: not a word", b"HTTP" not in plain(hub.address, 7410, bearer))

    def code(token):
        status, body = Api(c).call("GET", "/v1/status", token)
        return status, json.loads(body)["error"]["code"]

    r.equal("7410, no key", code(None), (401, "unauthenticated"))
    r.equal("7410, a key of another cluster", code("ska1." + os.urandom(32).hex()), (401, "unauthenticated"))
    kind, got = meet(hub.address, 7410, get + b"\r\n", cert=own(c.nodes["fra-1"]))
    r.check("7410, a node's certificate and no key: no rights", kind == "bytes" and b" 401 " in got, (kind, got))
    other = c.cli("key", "gone", "--role", "viewer")[1].strip()
    r.equal("7410, another key", Api(c).call("GET", "/v1/status", other)[0], 200)
    r.equal("remove it", c.cli("remove", "key", key_hashes(c)["gone"])[0], 0)
    r.equal("7410, a revoked key", code(other), (401, "unauthenticated"))
    # who calls judges the server: nobody gets the key who cannot show the cluster's certificate for this address
    ask = ("status", "--ca", ca, "--token-file", token, "--server")
    r.equal("the caller: the true server", c.cli(*ask, hub.address)[0], 0)
    for number, (name, args, says) in enumerate((
            ("of the cluster", ("true", 1, "api"), None),
            ("of a foreign authority", ("foreign", 1, "api"), "certificate"),
            ("that expired", ("expired", 0, "api"), "expired"),
            ("of another address", ("elsewhere", 1, "api"), "name"),
            ("of a node", ("node", 1, "node"), "name"))):
        address = f"{c.block}.{200 + number}"
        cert = server_certificate(c, args[0], "127.0.0.9" if args[0] == "elsewhere" else address, args[1], args[2])
        time.sleep(1.2 if args[0] == "expired" else 0)
        impostor = Impostor(address, cert)
        code_, out, err = c.cli(*ask, address)
        if says is None:
            r.check(f"the caller: a server with a certificate {name} is asked", key.encode() in impostor.heard, (code_, err))
        else:
            r.check(f"the caller: a certificate {name}: refused", code_ == 1 and says in err.lower() and
                    len(err.splitlines()) <= 2, (code_, err))
            r.equal(f"the caller: a certificate {name}: is told nothing", impostor.heard, b"")
        impostor.listener.close()


def key_hashes(c):
    class Unix(http.client.HTTPConnection):
        def connect(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.connect(os.path.join(c.hub.data, "run/api.sock"))

    connection = Unix("skerry", timeout=20)
    connection.request("GET", "/v1/keys")
    return {k["name"]: k["hash"] for k in json.loads(connection.getresponse().read())["keys"]}


def certs(r):
    with Cluster({"fra": ["fra-1"], "ams": ["ams-1"], "par": ["par-1"]}) as c:
        c.start()
        c.apply_ok(c.file("app.yaml", APP))
        c.settled({"web": 2})
        parts = [channel, api]
        if shutil.which("haproxy"):
            parts += [between_sites, revoked]
        else:
            print("   no haproxy here: 7443 is not tried", flush=True)
        in_turn(parts, c, r)


if __name__ == "__main__":
    main(certs)

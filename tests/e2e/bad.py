#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What must be refused: bad tokens, frames, certificates, folders, workloads. Each after its positive twin.

Every refusal is one clear line with the right exit status, and nothing is lost by it.
"""
import json
import os
import shutil
import socket
import ssl
import struct
import subprocess
import time

from cluster import PYTHON, SERVE, SLOW, Cluster, Failed, alive, kill, in_turn, main, wait_until
from vault import secret_file

HELLO = {"v": 1, "type": "hello", "cluster": "skerry", "node": "fra-1", "incarnation": "0" * 32, "boot": "x",
         "protocol": [1, 1], "version": "test"}


def one_line(r, name, result, codes, words=""):
    code, out, err = result
    lines = err.splitlines()
    r.check(f"{name}: status", code in codes, (code, err))
    r.check(f"{name}: one line, and a fix at most", lines and lines[0].startswith("skerry: ") and
            all(line.startswith("  fix: ") for line in lines[1:]) and len(lines) <= 2, err)
    r.check(f"{name}: says why", words in err, err)


def names(c):
    return sorted(n["node"] for n in c.get("nodes")["nodes"])


# ---- join and init ----

def tokens(c, r):
    other = Cluster({})
    try:
        other.start_hub()
        foreign = other.token("fra")
    finally:
        other.end()
    good = c.token("fra")
    c.join("twin", "fra", good)
    wait_until("the twin is there", lambda: "twin" in names(c))
    before = names(c)
    short = c.token("fra", "--ttl", "1s")
    wrong = c.token("nowhere", "--role", "storage")
    time.sleep(1.2)
    node = c.new_node("late", "fra")
    hub = f"{c.hub.address}:7400"

    sources = iter(range(100, 200))  # one address each: too many refusals from one are refused unheard

    def join(token, site="fra", where=hub, name="late"):
        args = c.setup_args(node)
        args[args.index("--site") + 1], args[args.index("--node") + 1] = site, name
        args[args.index("--listen") + 1] = f"{c.block}.{next(sources)}"
        return c.local(node, "join", where, *args, stdin=token)

    for name, result, codes, words in (
            ("an expired token", join(short), (1,), "expired"),
            ("a used token", join(good), (1,), "used"),
            ("a token of a foreign CA", join(foreign), (1,), ""),
            ("a token for another site", join(wrong), (1,), "nowhere"),
            ("a token cut short", join(c.token("fra")[:-3]), (2,), "token"),
            ("no token", join(""), (2,), "token"),
            ("a token that is none", join("skt1.aaaa.bbbb"), (2,), "token"),
            ("a token with a wrong secret", join("skt1." + "a" * 52 + "." + good.split(".")[2]), (1,), "not known"),
            ("a role that the site has not", join(c.token("hub"), "hub"), (1,), "role"),
            ("a name that is taken", join(c.token("fra"), "fra", hub, "twin"), (1,), "twin"),
            ("nobody at that address", join(c.token("fra"), "fra", f"{c.hub.address}:7"), (1,), ""),
            ("an address that is none", join(c.token("fra"), "fra", "::::"), (1, 2), ""),
            ("a name that is none", join(c.token("fra"), "fra", hub, "UPPER case"), (2,), "UPPER")):
        one_line(r, name, result, codes, words)
        r.check(f"{name}: no server is made", not os.path.exists(os.path.join(node.data, "node.json")))
    r.equal("nobody came in", names(c), before)
    r.equal("a token of a role that is none", c.cli("token", "--site", "fra", "--role", "king")[0], 2)
    r.equal("a token for too long", c.cli("token", "--site", "fra", "--ttl", "2h")[0], 2)
    r.equal("a token without a site", c.cli("token")[0], 2)
    # the folder of a refused join is good for the next one
    del c.nodes["late"]
    late = c.join("late", "fra")
    wait_until("late is there", lambda: "late" in names(c))
    for what, args in (("join again", ["join", hub]), ("init over it", ["init"])):
        one_line(r, what, c.local(late, *args, *c.setup_args(late), stdin=c.token("fra")), (1,), "already")
    r.check("its identity is untouched", alive(late.pid) and late.half("net"))
    late.stop()
    late.start()
    wait_until("it is alive again", lambda: {n["node"]: n["connected"] for n in c.get("nodes")["nodes"]}["late"])


def folders(c, r):
    before = snapshot(c.hub)
    one_line(r, "init twice", c.local(c.hub, "init", *c.setup_args(c.hub)), (1,), "already")
    r.equal("init twice: nothing is lost", snapshot(c.hub), before)
    orphan = os.path.join(c.dir, "orphan")  # a cluster's state whose node.json was lost
    shutil.copytree(os.path.join(c.hub.data, "control"), os.path.join(orphan, "control"))
    keys = {name: open(os.path.join(orphan, "control", name), "rb").read() for name in ("ca.key.sealed", "unseal.key")}
    args = c.setup_args(c.hub)
    args[args.index("--data") + 1] = orphan
    one_line(r, "init over a state", c.local(c.hub, "init", *args), (1,), "another cluster")
    r.equal("init over a state: its CA stays", keys, {name: open(os.path.join(orphan, "control", name), "rb").read()
                                                      for name in keys})
    for name, argv in (("no site", ["init"]), ("a bad range", ["init", "--site", "a", "--range", "1.2.3.4/30"]),
                       ("a bad port", ["init", "--site", "a", "--port", "70000"]),
                       ("a bad size", ["init", "--site", "a", "--memory", "4X"]),
                       ("a bad role", ["daemon", "--role", "king"])):
        node = c.hub
        result = c.local(node, *argv, "--data", os.path.join(c.dir, "nothing"))
        one_line(r, name, result, (2,))
    one_line(r, "a daemon without a server", c.local(c.hub, "daemon", "--data", os.path.join(c.dir, "none")), (1,), "no server")
    one_line(r, "no daemon", c.local(c.hub, "status", "--data", os.path.join(c.dir, "none")), (1,), "no daemon")
    one_line(r, "a path too long", c.local(c.hub, "status", "--data", "/tmp/" + "x" * 200), (2,), "too long")


def snapshot(node):
    found = {}
    for folder in ("identity", "control"):
        base = os.path.join(node.data, folder)
        for name in sorted(os.listdir(base)) if os.path.isdir(base) else []:
            if name in ("ca.pem", "node.key", "node.pem", "unseal.key") or name.endswith(".sealed"):
                with open(os.path.join(base, name), "rb") as f:
                    found[f"{folder}/{name}"] = f.read()
    with open(os.path.join(node.data, "node.json"), "rb") as f:
        found["node.json"] = f.read()
    return found


def second_daemon(c, r):
    for node in (c.hub, c.nodes["twin"]):
        halves = node.half("net"), node.half("agent")
        log = os.path.join(c.dir, "second.log")
        pid = c.warden.ask(spawn=[os.environ["SKERRY_BIN"], "daemon", "--data", node.data], log=log)["pid"]
        wait_until(f"a second daemon on {node.name} ends", lambda: not alive(pid), 30)
        with open(log, encoding="utf-8") as f:
            text = f.read()
        r.check(f"a second daemon on {node.name} says why", "another agent works in" in text, text[-1500:])
        r.equal(f"the first one on {node.name} goes on", (node.half("net"), node.half("agent")), halves)
        os.unlink(log)
    r.equal("the API answers", c.cli("status")[0], 0)


# ---- the channel ----

def dial(c, cert=None, ca=True, plain=False):
    sock = socket.create_connection((c.hub.address, 7400), timeout=5)
    if plain:
        return sock
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if cert:
        context.load_cert_chain(*cert)
    return context.wrap_socket(sock)


def frame(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack(">I", len(data)) + data


def say(c, data, enough=("assign", "error"), **how):
    """The type of what the other side says last, with the text of an error; "" when it hangs up without a word."""
    try:
        sock = dial(c, **how)
    except OSError:
        return ""
    said, buffered = "", b""
    try:
        sock.settimeout(7 * SLOW)
        sock.sendall(data)
        while part := sock.recv(65536):
            buffered += part
            while len(buffered) >= 4 and len(buffered) >= 4 + struct.unpack(">I", buffered[:4])[0]:
                size = struct.unpack(">I", buffered[:4])[0]
                value = json.loads(buffered[4:4 + size])
                buffered = buffered[4 + size:]
                said = value["type"] if value["type"] != "error" else f"error {value['code']}: {value['text']}"
                if value["type"] in enough:
                    return said
    except OSError:
        pass
    finally:
        sock.close()
    return said


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def issue(c, name, common_name, extensions, days, foreign):
    """Paths of a new certificate and its key, signed by the cluster's own CA, or by a foreign one of the same name."""
    base = os.path.join(c.dir, name)
    control = os.path.join(c.hub.data, "control")
    with open(base + ".ext", "w", encoding="utf-8") as f:
        f.write("basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\n" + extensions)
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", base + ".key")
    openssl("req", "-new", "-key", base + ".key", "-subj", f"/O=skerry/CN={common_name}", "-out", base + ".csr")
    ca = [os.path.join(control, "ca.pem"), secret_file(c.hub.data, "ca.key", c.dir)]
    if foreign:
        ca = [base + "-ca.pem", base + "-ca.key"]
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", ca[1])
        openssl("req", "-x509", "-new", "-key", ca[1], "-subj", "/O=skerry/CN=skerry CA", "-days", "30", "-out", ca[0])
    openssl("x509", "-req", "-in", base + ".csr", "-CA", ca[0], "-CAkey", ca[1], "-set_serial",
            "0x5" + os.urandom(16).hex()[1:], "-days", str(days), "-extfile", base + ".ext", "-out", base + ".pem")
    return base + ".pem", base + ".key"


def certificate(c, name, days, node="twin"):
    """A certificate for `node`, made outside with the cluster's own CA, or a foreign one."""
    return issue(c, name, node, "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
                 f"subjectAltName=URI:skerry://skerry/node/{node}\n", days, name == "foreign")


def channel(c, r):
    twin = c.nodes["twin"]
    own = (os.path.join(twin.data, "identity/node.pem"), os.path.join(twin.data, "identity/node.key"))
    config = json.load(open(os.path.join(twin.data, "node.json"), encoding="utf-8"))
    hello = dict(HELLO, node="twin", incarnation=config["incarnation"])
    beat = {"v": 1, "type": "beat", "seq": 1, "assign_rev": 0, "obs_rev": 0, "heard": []}
    valid = certificate(c, "valid", 1)
    twin.stop()
    r.equal("the right certificate and hello", say(c, frame(hello) + frame(beat), cert=own), "assign")
    other = certificate(c, "other", 1, node="nobody")
    r.equal("a node that is none", say(c, frame(dict(hello, node="nobody")) + frame(beat), cert=other),
            "error denied: this node is not in the cluster")
    r.equal("a name that is not the certificate's", say(c, frame(dict(hello, node="late")), cert=own),
            "error unauthenticated: hello of 'late' in 'skerry' with the certificate of 'twin' in 'skerry'")
    for name, data, words in (
            ("a frame of 2 MiB", struct.pack(">I", 2 << 20) + b"x" * 1000, "limit: a frame of 2097152 bytes, where 1048576 are allowed"),
            ("a frame of 4 GiB", b"\xff\xff\xff\xff", "limit: a frame of 4294967295 bytes"),
            ("an empty frame", struct.pack(">I", 0), "protocol: a frame of no bytes"),
            ("no JSON", frame(b"hello"), "protocol: frame:1:"),
            ("a list", frame(b"[1]"), "not an object"),
            ("a wrong version", frame(dict(hello, v=0)), "not an object with \"v\":1"),
            ("a version that is none", frame(dict(hello, v="1")), "not an object with \"v\":1"),
            ("no version", frame({k: x for k, x in hello.items() if k != "v"}), "not an object with \"v\":1"),
            ("a protocol of the future", frame(dict(hello, protocol=[7, 9])), "protocol"),
            ("no hello first", frame(beat), "protocol: the first frame is 'beat', not 'hello'"),
            ("another cluster", frame(dict(hello, cluster="other")), "unauthenticated: hello of 'twin' in 'other'"),
            ("deep nesting", frame(b'{"v":1,"type":"hello","x":' + b"[" * 5000 + b"]" * 5000 + b"}"), "protocol: frame:1:"),
            ("bytes that are no UTF-8", frame(b'{"v":1,"type":"\xff\xfe"}'), "protocol: frame:1:")):
        said = say(c, data, cert=own)
        r.check(name, said.startswith("error ") and words in said, said)
    for name, bad, words in (
            ("a beat of the wrong shape", dict(beat, heard=[["x"]]), "beat: 'heard' must hold [node, age_ms, rtt_us]"),
            ("an observation without instances", {"v": 1, "type": "observe", "full": True}, "observe: 'instances' is missing")):
        said = say(c, frame(hello) + frame(bad), ("error",), cert=own)
        r.check(name, said.startswith("error protocol: ") and words in said, said)
    cut = dial(c, cert=own)
    cut.sendall(struct.pack(">I", 100) + b'{"v":1')
    cut.close()
    before = names(c)
    twin.start()
    wait_until("the real node is back", lambda: {n["node"]: n["state"] for n in c.get("nodes")["nodes"]}["twin"] == "alive")
    r.equal("after all that: the nodes", names(c), before)
    # revoked: refused on the channel from then on
    c.cli("drain", "twin")
    wait_until("twin is empty", lambda: all(i["node"] != "twin" for i in c.ps()), 20)
    twin.stop()
    r.equal("remove the node", c.cli("remove", "node", "twin")[0], 0)
    r.equal("a revoked certificate", say(c, frame(hello) + frame(beat), cert=own), "")  # certs.py sees the alert
    r.equal("a removed node's other certificate", say(c, frame(hello) + frame(beat), cert=valid),
            "error denied: this node is not in the cluster")


def agent_socket(c, r):
    if os.geteuid() != 0:
        print("   not root: another user at the agent's socket is not tried", flush=True)
        return
    path = os.path.join(c.nodes["late"].data, "run/agent.sock")
    os.chmod(path, 0o666)  # even where the mode would let it in
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(54321)
        os.setuid(54321)
        try:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(5)
            sock.connect(path)
            sock.sendall(frame({"v": 1, "type": "assign", "rev": 10**9, "instances": []}))
            data = b""
            while part := sock.recv(4096):
                data += part
            os._exit(7 if b"observe" not in data else 1)
        except (ConnectionError, PermissionError):
            os._exit(7)
        except BaseException:
            os._exit(2)
    os_code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.chmod(path, 0o600)
    r.equal("another user at the agent's socket", os_code, 7)


# ---- what is on disk ----

def damage(c, r):
    """Damaged files: one line that names the file, nothing overwritten, and all is well once they are whole again."""
    node = c.nodes["late"]
    for where, path, bad in (
            (node, "node.json", b"{"), (node, "node.json", b'{"v":1}'), (node, "node.json", b"\0" * 100),
            (node, "identity/node.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n"), (node, "identity/node.key", b""),
            (node, "identity/ca.pem", b"nothing"), (c.hub, "control/ca.pem", b"nothing"),
            (c.hub, "control/ca.key.sealed", b"nothing"), (c.hub, "control/probe.key.sealed", b'{"v":1}'),
            (c.hub, "control/unseal.key", b"zz"), (c.hub, "control/state.db", b"no database at all" * 300)):
        name = f"damaged {where.name}/{path} ({bad[:8]!r})"
        where.stop()
        full = os.path.join(where.data, path)
        for extra in ("-wal", "-shm"):
            if os.path.exists(full + extra):
                shutil.copy2(full + extra, os.path.join(c.dir, "kept" + extra))
                os.unlink(full + extra)
        shutil.copy2(full, os.path.join(c.dir, "kept"))
        with open(full, "wb") as f:
            f.write(bad)
        with open(where.log, "w", encoding="utf-8"):
            pass
        where.start()
        short = path if path in ("node.json", "control/unseal.key") or path.endswith(".sealed") else os.path.dirname(path)
        try:
            text = wait_until(f"{name}: said", lambda: short in where.log_text() and where.log_text(), 10)
        except Failed:
            text = where.log_text()
        r.check(f"{name}: one clear line", f"{short}" in text and "skerry: " in text, text)
        r.check(f"{name}: no crash", "signal=" not in text and "Assertion" not in text, text)
        if path == "node.json":
            wait_until(f"{name}: it ends", lambda: not alive(where.pid), 10)
            one_line(r, f"{name}: init over it", c.local(where, "init", *c.setup_args(where)), (1,), "cannot be read")
        where.stop()
        with open(full, "rb") as f:
            r.equal(f"{name}: not overwritten", f.read(), bad)
        for extra in ("-wal", "-shm"):
            if os.path.exists(os.path.join(c.dir, "kept" + extra)):
                shutil.move(os.path.join(c.dir, "kept" + extra), full + extra)
            elif os.path.exists(full + extra):
                os.unlink(full + extra)
        shutil.copyfile(os.path.join(c.dir, "kept"), full)
        where.start()
    wait_until("whole again: the API", lambda: c.cli("status")[0] == 0, 20)
    wait_until("whole again: the node", lambda: {n["node"]: n["state"] for n in c.get("nodes")["nodes"]}["late"] == "alive", 20)


# ---- workloads ----

def service(name, more, command=f'["{PYTHON}", "{SERVE}"]', health='["CMD", "/bin/true"]'):
    return f"""name: bad
services:
  {name}:
    command: {command}
    stop_grace_period: 1s
    healthcheck: {{test: {health}, interval: 1s, timeout: 1s, retries: 2}}
    deploy: {{replicas: 1, resources: {{limits: {{cpus: "0.10", memory: 64M}}}}, placement: {{constraints: ["node.name == late"]}}}}
{more}"""


HTTP = f"""["CMD", "{PYTHON}", "-c", "import os,urllib.request as u;
      u.urlopen('http://%s:%s/' % (os.environ['HOST'], os.environ['PORT']), timeout=2)"]"""


def workloads(c, r):
    good = c.file("good.yaml", service("web", ""))
    c.apply_ok(good)
    c.settled({"web": 1})
    result = c.apply(c.file("sick.yaml", service("web", "", health='["CMD", "/bin/false"]')), "--wait", "--timeout", "3s")
    r.check("a check that never passes: status 1", result[0] == 1 and "not healthy" in result[2], result)
    result = c.apply(c.file("gone.yaml", service("web", "", command='["/no/such/program"]')), "--wait", "--timeout", "20s")
    r.check("a program that is not there: status 1, and which", result[0] == 1 and "/no/such/program" in result[2], result)
    address = c.nodes["late"].address
    takers = []
    try:
        for port in range(20000, 20020):
            taker = socket.socket()
            takers.append(taker)
            try:
                taker.bind((address, port))
                taker.listen(1)
            except OSError:
                pass
        result = c.apply(c.file("taken.yaml", service("web", "    environment: {VERSION: taken}\n", health=HTTP)), "--wait", "--timeout", "30s")
        r.check("a port that is taken: status 1, and the program's own words", result[0] == 1 and
                "Address already in use" in result[2], (result, c.ps()))
    finally:
        for taker in takers:
            taker.close()
    image = c.file("image.yaml", "name: bad\nservices:\n  web: {image: 127.0.0.1:1/none:1}\n")
    result = c.apply(image)
    r.check("an image that is not there: status 1, and which", result[0] == 1 and "127.0.0.1:1/none:1" in result[2], result)
    r.check("an image that is not there: the service that runs goes on", len(c.workloads()) >= 1, c.ps())
    c.apply_ok(good)
    c.settled({"web": 1})


def gate(r):
    with Cluster({}) as c:
        c.start_hub()
        in_turn((tokens, folders, second_daemon, agent_socket, workloads, channel, damage), c, r)


def full_disk(r):
    """The disk under control's state is full: a change is refused, what was there stays, and goes on when there is room."""
    if os.geteuid() != 0:
        print("   not root: no small disk can be made", flush=True)
        return
    with Cluster({"fra": ["fra-1"]}) as c:
        for name in ("hub-1", "fra-1"):
            path = os.path.join(c.dir, name)
            os.mkdir(path)
            if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "skerry-e2e", path],
                              capture_output=True, check=False).returncode != 0:
                print("   no tmpfs can be mounted here", flush=True)
                return
            c.warden.ask(undo=["umount", "-l", path])
        c.start()
        path = c.file("full.yaml", service("web", "").replace("late", "fra-1"))
        c.apply_ok(path)
        before = c.workloads()
        for node in (c.hub, c.nodes["fra-1"]):
            with open(os.path.join(node.data, "ballast"), "wb", buffering=0) as f:
                try:
                    while True:
                        f.write(b"x" * 65536)
                except OSError:
                    pass
        refused = None
        for number in range(200):
            refused = c.cli("node", "set", "fra-1", "--label", f"k{number}=" + "v" * 200)
            if refused[0] != 0:
                break
        one_line(r, "a full disk", refused, (1,))
        r.equal("a full disk: what can be shown is shown", c.cli("status")[0], 0)
        r.equal("a full disk: nothing stops", c.workloads(), before)
        plan = c.get("status")["plan"]
        kill(c.nodes["fra-1"].half("agent"))
        time.sleep(0.5)
        r.equal("a full disk and a new agent: nothing stops", c.workloads(), before)
        for node in (c.hub, c.nodes["fra-1"]):
            os.unlink(os.path.join(node.data, "ballast"))
        wait_until("room again: changes are taken", lambda: c.cli("node", "set", "fra-1", "--label", "room=yes")[0] == 0, 30)
        wait_until("room again: all is as planned", lambda: c.get("status")["replicas"]["healthy"] == 1, 30)
        r.equal("room again: nothing was lost", (c.workloads(), c.get("status")["plan"]["id"]), (before, plan["id"]))


if __name__ == "__main__":
    main(gate, full_disk)

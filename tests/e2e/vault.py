# SPDX-License-Identifier: Apache-2.0
"""A control folder's secrets as docs/keys.md describes them, opened by other means than skerry's own code, and put back."""
import ctypes
import json
import os

sodium = ctypes.CDLL("libsodium.so.23")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read().strip()


def bound(cluster, name):
    return b"skerry.sealed/1\0" + cluster.encode() + b"\0" + name.encode()


def secret(data, name):
    """The bytes of a secret of the data folder `data`; its unseal key lies there."""
    folder = os.path.join(data, "control")
    key = bytes.fromhex(read(os.path.join(folder, "unseal.key")))
    record = json.loads(read(os.path.join(folder, name + ".sealed")))
    box, nonce = bytes.fromhex(record["box"]), bytes.fromhex(record["nonce"])
    out, size = ctypes.create_string_buffer(len(box)), ctypes.c_ulonglong()
    ad = bound(record["cluster"], name)
    if sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(out, ctypes.byref(size), None, box, ctypes.c_ulonglong(len(box)), ad,
                                                         ctypes.c_ulonglong(len(ad)), nonce, key) != 0:
        raise ValueError(f"{name} does not open")
    return out.raw[:size.value]


def secret_file(data, name, where):
    """The same as a file, for tools; its path."""
    path = os.path.join(where, "open-" + name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as f:
        f.write(secret(data, name))
    return path

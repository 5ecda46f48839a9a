# SPDX-License-Identifier: Apache-2.0
"""The lint scripts find what is planted, and nothing in a clean tree. usage: selftest.py ROOT COMPILER..."""
import os
import subprocess
import sys
import tempfile

ROOT = sys.argv[1]
COMPILER = sys.argv[2:]
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
LONG_BODY = "    x++;\n" * 71

CLEAN = {
    "src/base/str.h": SPDX + "#define A(x) \\\n    do { \\\n        if (x) { \\\n        } \\\n    } while (0)\n",
    "src/base/err.c": SPDX + "#include <stdio.h>\n\nvoid f(void)\n{\n    fprintf(stderr, \"http://x // y\");\n}\n",
    "src/model/a.c": SPDX + "#include \"base/str.h\"\n\nint f(int x)\n{\n    do {\n        x++;\n    } while (x < 3);\n"
                            "    return '\"' + x; /* // fine */\n}\n",
    "src/plan/a.c": SPDX + "#include \"model/a.h\"\n#include \"plan/a.h\"\nint x;\n",
    "src/plan/verify/a.c": SPDX + "#include \"model/a.h\"\n#include \"plan/verify/a.h\"\nint x;\n",
    "src/cli/a.c": SPDX + "#include \"http/client.h\"\n#include \"sys/file.h\"\nvoid f(void)\n{\n    printf(\"x\");\n}\n",
    "src/agent/a.c": SPDX + "#include \"store/a.h\"\n#include \"sys/a.h\"\n#include \"base/str.h\"\nint x;\n",
    "meson.build": "dep_x = dependency('libcrypto')\ndep_y = dependency('nosuch', required: false)\ndependency('threads')\n",
    "packaging/deps.sh": "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\nbuild=\"gcc\nlibssl-dev\"\n",
    "tests/run.sh": "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n",
}

# script, file, its text, what the finding says
PLANTED = [
    ("layers.py", "src/base/x.c", SPDX + "#include \"model/a.h\"\n", "base may not use model"),
    ("layers.py", "src/model/x.c", SPDX + "#include \"sys/file.h\"\n", "model may not use sys"),
    ("layers.py", "src/control/x.c", SPDX + "#include <sys/socket.h>\n", "<sys/socket.h> has no place"),
    ("layers.py", "src/model/x.c", SPDX + "#include <time.h>\n", "<time.h> has no place"),
    ("layers.py", "src/plan/x.c", SPDX + "  # include <pthread.h>\n", "<pthread.h> has no place"),
    ("layers.py", "src/plan/x.c", SPDX + "#include \"plan/verify/a.h\"\n", "share nothing"),
    ("layers.py", "src/plan/verify/x.c", SPDX + "#include \"plan/planner.h\"\n", "share nothing"),
    ("layers.py", "src/net/x.c", SPDX + "#include \"store/store.h\"\n", "net may not use store"),
    ("layers.py", "src/http/x.c", SPDX + "#include \"net/a.h\"\n", "http may not use net"),
    ("layers.py", "src/daemon/x.c", SPDX + "#include \"cli/a.h\"\n", "daemon may not use cli"),
    ("layers.py", "src/cli/x.c", SPDX + "#include \"store/store.h\"\n", "cli may not use store"),
    ("layers.py", "src/shim/x.c", SPDX + "#include \"base/str.h\"\n", "shim may not use base"),
    ("layers.py", "src/model/x.c", SPDX + "#include \"a.h\"\n", "include project headers by layer"),
    ("layers.py", "src/extra/x.c", SPDX, "has no row for this folder"),
    ("tidy.py", "src/base/x.c", "int x;\n", "no line 'SPDX"),
    ("tidy.py", "src/base/x.c", SPDX + "int x; // y\n", "a // comment"),
    ("tidy.py", "src/base/x.c", SPDX + "/* TODO: later */\n", "TODO"),
    ("tidy.py", "src/base/x.c", SPDX + "\n" * 1000, "more than 1000"),
    ("tidy.py", "src/base/x.c", SPDX + "int f(int x)\n{\n" + LONG_BODY + "    return x;\n}\n", "f() has 72 lines"),
    ("tidy.py", "src/base/x.c", SPDX + "int f(int x)\n{\n    if (x)\n        return 1;\n    return 0;\n}\n", "without braces"),
    ("tidy.py", "src/base/x.c", SPDX + "int f(int x)\n{\n    while (x--)\n        ;\n    return 0;\n}\n", "without braces"),
    ("tidy.py", "src/model/x.c", SPDX + "void f(void)\n{\n    printf(\"x\");\n}\n", "a library that prints"),
    ("tidy.py", "src/base/err.c", SPDX + "void f(void)\n{\n    fprintf(stderr, \"x\");\n    puts(\"y\");\n}\n", "a library that prints"),
    ("packages.py", "meson.build", "dependency('libcrypto')\ndependency('sqlite3')\n", ":2: 'sqlite3' comes with libsqlite3-dev"),
    ("tidy.py", "tests/x.sh", "#!/bin/sh\n", "no line 'SPDX"),
]

IMPURE = ["time", "open", "socket", "pthread_create", "rand", "getenv", "printf", "fopen", "sys_now_ms", "getrandom"]


def put(root, path, text):
    os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
    with open(os.path.join(root, path), "w", encoding="utf-8") as file:
        file.write(text)


def run(script, *args, **env):
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run([sys.executable, "-B", os.path.join(here, script), *args], capture_output=True, text=True,
                          check=False, env={**os.environ, **env})
    return done.returncode, done.stdout + done.stderr


def tree(root):
    with open(os.path.join(ROOT, "docs/architecture.md"), encoding="utf-8") as file:
        put(root, "docs/architecture.md", file.read())
    for path, text in CLEAN.items():
        put(root, path, text)


def check_texts():
    wrong = 0
    with tempfile.TemporaryDirectory() as root:
        tree(root)
        for script in ("layers.py", "packages.py", "tidy.py"):
            status, out = run(script, root)
            if status != 0:
                wrong += 1
                print(f"{script} complains of a clean tree:\n{out}")
    for script, path, text, expected in PLANTED:
        with tempfile.TemporaryDirectory() as root:
            tree(root)
            put(root, path, text)
            status, out = run(script, root)
            if status != 1 or expected not in out or path not in out:
                wrong += 1
                print(f"{script} missed '{expected}' in {path}:\n{out}")
    return wrong


def library(root, symbol):
    """A build folder whose model library calls `symbol`."""
    put(root, "src/model/a.c", f"void {symbol}(void);\nvoid model_f(void)\n{{\n    {symbol}();\n}}\n")
    os.makedirs(os.path.join(root, "build/src/model"), exist_ok=True)
    obj = os.path.join(root, "a.o")
    subprocess.run([*COMPILER, "-w", "-fno-builtin", "-c", os.path.join(root, "src/model/a.c"), "-o", obj], check=True)
    subprocess.run(["ar", "rc", os.path.join(root, "build/src/model/libskmodel.a"), obj], check=True)
    return os.path.join(root, "build")


def check_symbols():
    wrong = 0
    for symbol in IMPURE + ["memcpy"]:
        with tempfile.TemporaryDirectory() as root:
            status, out = run("purity.py", library(root, symbol), "nm", SKERRY_SOURCE_ROOT=root)
            if (status, f"'{symbol}'" in out) != ((0, False) if symbol == "memcpy" else (1, True)):
                wrong += 1
                print(f"purity.py is wrong about {symbol}:\n{out}")
    with tempfile.TemporaryDirectory() as root:
        put(root, "src/plan/a.c", "int x;\n")
        status, out = run("purity.py", os.path.join(root, "build"), "nm", SKERRY_SOURCE_ROOT=root)
        if status != 1 or "not built" not in out:
            wrong += 1
            print(f"purity.py does not miss a library:\n{out}")
    return wrong


WRONG = check_texts() + check_symbols()
print(f"selftest: {len(PLANTED) + len(IMPURE) + 4} cases, {WRONG} wrong")
sys.exit(1 if WRONG else 0)

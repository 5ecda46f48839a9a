# SPDX-License-Identifier: Apache-2.0
"""Each layer includes only what docs/architecture.md says that it may use. usage: layers.py ROOT

The table there is the law: in its last column the names of layers count ("sys and below" is sys with
all that sys may use; "everything" is all), other words are for people. The pure layers may include
only a few headers of the system besides."""
import re
import sys

from common import files, finish, read

PURE = ("base", "model", "plan", "control")
PURE_SYSTEM = {"ctype.h", "errno.h", "float.h", "inttypes.h", "limits.h", "math.h", "stdarg.h", "stdbool.h", "stddef.h",
               "stdint.h", "stdio.h", "stdlib.h", "string.h"}
# base alone: the parsers and tables it wraps, strtod_l, the arena's memory, and time.h only to poison it
BASE_SYSTEM = {"uthash.h", "yaml.h", "sodium.h", "locale.h", "sys/mman.h", "time.h"}


def table(text):
    """{layer: set of layers it may use}, from the rows of the table in their order."""
    rows = re.findall(r"^\| `(src/\w+|lab|sim)` \| .* \| ([^|]*) \|$", text, re.M)
    names = [row[0].removeprefix("src/") for row in rows]
    allowed = {}
    for folder, uses in rows:
        layer = folder.removeprefix("src/")
        words = re.findall(r"[a-z]+", uses)
        if "everything" in words:
            but = words[words.index("but") + 1:] if "but" in words else []
            may = set(names) - set(but)
        else:
            may = {word for word in words if word in names}
            if "below" in words:
                for used in list(may):
                    may |= allowed[used]
        allowed[layer] = may | {layer}
    return allowed


def layer_of(path):
    parts = path.split("/")
    return parts[1] if parts[0] == "src" else parts[0]


def check_project(path, target, allowed):
    """What is wrong with including `target`, or None."""
    layer = layer_of(path)
    used = target.split("/")[0]
    if "/" not in target:
        return None if layer == "lab" else "include project headers by layer: \"layer/name.h\""
    if used not in allowed:
        return None if layer == "lab" else f"'{used}' is no layer"
    if used not in allowed[layer]:
        return f"{layer} may not use {used}"
    if layer == "plan":
        in_verify = path.startswith("src/plan/verify/")
        of_verify = target.startswith("plan/verify/")
        if used == "plan" and in_verify != of_verify:
            return "planner and verifier share nothing"
    return None


def check_system(path, target):
    layer = layer_of(path)
    if layer not in PURE or target in PURE_SYSTEM or (layer == "base" and target in BASE_SYSTEM):
        return None
    return f"<{target}> has no place in a pure layer"


def main(root):
    allowed = table(read(root, "docs/architecture.md"))
    findings = [f"docs/architecture.md: no row for {layer}" for layer in PURE if layer not in allowed]
    for path in files(root, ["src", "lab", "sim"], (".c", ".h")):
        layer = layer_of(path)
        if layer not in allowed:
            findings.append(f"{path}: docs/architecture.md has no row for this folder")
            continue
        for number, line in enumerate(read(root, path).splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
            if not match:
                continue
            check = check_project(path, match[2], allowed) if match[1] == '"' else check_system(path, match[2])
            if check:
                findings.append(f"{path}:{number}: {check}")
    finish(findings, "layers")


main(sys.argv[1])

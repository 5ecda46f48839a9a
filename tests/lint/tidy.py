# SPDX-License-Identifier: Apache-2.0
"""The house style that a formatter does not see. usage: tidy.py ROOT

Files of at most 1,000 lines, functions of at most 70, a licence line, block comments only, no notes
to self, braces always, and no library that prints. Functions are found by their braces in column 1,
which clang-format guarantees."""
import re
import sys

from common import code_only, files, finish, read

FILE_LINES_MAX = 1000
FUNCTION_LINES_MAX = 70
SPDX = "SPDX-License-Identifier: Apache-2.0"
NOTES = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
PRINTS = re.compile(r"(?<![\w>.])(?:printf|vprintf|puts|putchar|perror)\s*\(|\b(?:stdout|stderr)\b")
# programs talk to people; libraries do not
PROGRAMS = ("src/cli/", "src/shim/", "src/daemon/", "lab/", "sim/", "tests/", "bench/")
# the line before an abort
MAY_PRINT = {"src/base/err.c": 1, "src/base/mem.c": 1}


def functions(code):
    """(name, first line, lines of the body) of each function."""
    lines = code.split("\n")
    start = None
    for number, line in enumerate(lines, 1):
        if line.rstrip() == "{":
            start = number
        elif line.startswith("}") and start is not None:
            head = " ".join(part.strip() for part in lines[max(0, start - 8):start - 1])
            name = re.findall(r"(\w+)\s*\(", head)
            if not re.match(r"^\}.*[;,]", line.rstrip()) and name:
                yield name[-1], start, number - start - 1
            start = None


def without_braces(code):
    """Lines of control statements whose body has no braces."""
    for match in re.finditer(r"(?<![\w#])(if|for|while|switch)\s*\(", code):
        line_start = code.rfind("\n", 0, match.start()) + 1
        if code[line_start:match.start()].lstrip().startswith("#"):
            continue
        depth, i = 1, match.end()
        while i < len(code) and depth:
            depth += {"(": 1, ")": -1}.get(code[i], 0)
            i += 1
        rest = code[i:].lstrip(" \t\n\\")
        if match[1] == "while" and code[line_start:match.start()].strip() == "}":
            continue
        if not rest.startswith("{"):
            yield code.count("\n", 0, match.start()) + 1


def check_c(path, text):
    code, slashes = code_only(text)
    for number in slashes:
        yield f"{path}:{number}: a // comment; write /* */"
    for name, line, length in functions(code):
        if length > FUNCTION_LINES_MAX:
            yield f"{path}:{line}: {name}() has {length} lines, more than {FUNCTION_LINES_MAX}"
    for number in without_braces(code):
        yield f"{path}:{number}: a statement without braces"
    if not path.startswith(PROGRAMS):
        prints = [code.count("\n", 0, match.start()) + 1 for match in PRINTS.finditer(code)]
        for number in prints[MAY_PRINT.get(path, 0):]:
            yield f"{path}:{number}: a library that prints"


def check(path, text):
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        yield f"{path}: {lines} lines, more than {FILE_LINES_MAX}"
    if SPDX not in "\n".join(text.split("\n", 3)[:3]):
        yield f"{path}:1: no line '{SPDX}'"
    if not path.startswith("tests/lint/"):
        for match in NOTES.finditer(text):
            yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}: do it or open an issue"
    if path.endswith((".c", ".h")):
        yield from check_c(path, text)


def main(root):
    findings = []
    for path in files(root, ["src", "lab", "sim", "tests", "bench", "packaging"], (".c", ".h", ".py", ".sh")):
        findings += check(path, read(root, path))
    finish(findings, "tidy")


main(sys.argv[1])

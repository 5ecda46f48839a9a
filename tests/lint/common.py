# SPDX-License-Identifier: Apache-2.0
"""What the lint scripts share: finding sources, and C with its comments and texts taken out."""
import os
import sys

SKIP = {".git", "build", "node_modules", "__pycache__"}


def files(root, folders, endings):
    """Paths relative to root, sorted."""
    found = []
    for folder in folders:
        for at, dirs, names in os.walk(os.path.join(root, folder)):
            dirs[:] = sorted(d for d in dirs if d not in SKIP and not d.startswith("build-"))
            for name in sorted(names):
                if name.endswith(endings):
                    found.append(os.path.relpath(os.path.join(at, name), root))
    return found


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def blank(match):
    return "".join(c if c == "\n" else " " for c in match)


def code_only(text):
    """The same text, as long and with the same lines, with comments, strings and characters blank.
    Also returns the lines on which a // comment starts."""
    out = []
    slashes = []
    i = 0
    while i < len(text):
        two = text[i:i + 2]
        if two == "/*":
            end = text.find("*/", i + 2)
            end = len(text) if end < 0 else end + 2
            out.append(blank(text[i:end]))
        elif two == "//":
            end = text.find("\n", i)
            end = len(text) if end < 0 else end
            slashes.append(text.count("\n", 0, i) + 1)
            out.append(blank(text[i:end]))
        elif text[i] in "\"'":
            end = i + 1
            while end < len(text) and text[end] != text[i] and text[end] != "\n":
                end += 2 if text[end] == "\\" else 1
            end = min(end + 1, len(text))
            out.append(text[i] + blank(text[i + 1:end - 1]) + text[end - 1])
        else:
            end = i + 1
            out.append(text[i])
        i = end
    return "".join(out), slashes


def finish(findings, what):
    """Prints the findings and ends with the test's exit status."""
    for finding in findings:
        print(finding)
    print(f"{what}: {len(findings)} findings")
    sys.exit(1 if findings else 0)

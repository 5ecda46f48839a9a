# SPDX-License-Identifier: Apache-2.0
"""What meson.build requires must come with `packaging/deps.sh build`: a fresh machine has nothing else when `make demo` builds.

usage: packages.py ROOT [MESON-FILE]. Which package a library comes from is asked of dpkg; without it the test is skipped."""
import os
import re
import shutil
import subprocess
import sys


def package_of(library):
    folder = subprocess.run(["pkg-config", "--variable=pcfiledir", library], capture_output=True, text=True, check=True).stdout.strip()
    # /usr/lib and /lib are one folder on Debian, and dpkg knows a file by the name it was packed with
    path = os.path.join(folder, library + ".pc")
    for name in (path, re.sub(r"^/usr/", "/", path), "/usr" + path):
        found = subprocess.run(["dpkg", "-S", name], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return re.split(r"[:,]", found.stdout)[0]
    return None


def main():
    root = sys.argv[1]
    meson = sys.argv[2] if len(sys.argv) > 2 else os.path.join(root, "meson.build")
    if not shutil.which("dpkg") or not shutil.which("pkg-config"):
        print("skipped: no dpkg or pkg-config here")
        sys.exit(77)
    with open(os.path.join(root, "packaging/deps.sh"), encoding="utf-8") as f:
        packages = set(re.search(r'^build="([^"]*)"', f.read(), re.M)[1].split())
    bad = 0
    with open(meson, encoding="utf-8") as f:
        lines = f.read().splitlines()
    for number, line in enumerate(lines, 1):
        for library, more in re.findall(r"dependency\('([^']+)'([^)]*)\)", line):
            if library == "threads" or "required:" in more:
                continue
            package = package_of(library)
            if package not in packages:
                print(f"{meson}:{number}: '{library}' comes with {package}, which packaging/deps.sh does not install for 'build'")
                bad += 1
    sys.exit(1 if bad else 0)


main()

# SPDX-License-Identifier: Apache-2.0
"""The pure layers cannot reach a file, a socket, a clock, a thread or randomness: every symbol that
their libraries leave undefined is defined by a lower pure layer or stands in the lists below.
usage: purity.py BUILD_ROOT NM"""
import glob
import os
import re
import subprocess
import sys

# layer: (library, the layers whose symbols it may use)
LIBRARIES = {
    "base": ("src/base/libskbase.a", []),
    "model": ("src/model/libskmodel.a", ["base"]),
    "plan": ("src/plan/libskplan.a", ["base", "model"]),
    "verify": ("src/plan/verify/libskverify.a", ["base", "model"]),
    "control": ("src/control/libskcontrol.a", ["base", "model", "plan", "verify"]),
}
SOURCES = {"base": "src/base", "model": "src/model", "plan": "src/plan", "verify": "src/plan/verify",
           "control": "src/control"}

LIBC = set("""memchr memcmp memcpy memmem memmove memrchr memset rawmemchr strchr strchrnul strcmp strcspn strlen strncmp
strnlen strpbrk strrchr strspn strstr snprintf vsnprintf bsearch qsort qsort_r free abort stpcpy
asin acos atan2 ceil cos exp fabs floor fmax fmin fmod hypot isnan log log2 lround llround nearbyint pow rint round sin
sqrt trunc""".split())
BASE = set("""calloc malloc realloc reallocarray mmap mmap64 munmap madvise fprintf stderr strerrordesc_np newlocale
strtod_l crypto_hash_sha256 yaml_event_delete yaml_parser_delete yaml_parser_initialize yaml_parser_parse
yaml_parser_set_encoding yaml_parser_set_input_string""".split())
# what compilers and sanitizers add by themselves
COMPILER = re.compile(r"^(_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__(asan|ubsan|tsan|msan|sanitizer|gcov|llvm|sancov)_\w*"
                      r"|__start___\w+|__stop___\w+|__\w*(div|mod|mul|float|fix|ashl|lshr|ashr|cmp|neg|popcount|clz|ctz)\w*[0-9sdtx]i?[0-9]"
                      r"|__float\w+|__fix\w+)$")


def plain(symbol):
    """__snprintf_chk, the checking form under _FORTIFY_SOURCE, is snprintf."""
    symbol = symbol.split("@")[0]
    match = re.match(r"^__(\w+)_chk$", symbol)
    return match[1] if match else symbol


def symbols(nm, library):
    undefined, defined = set(), set()
    out = subprocess.run([nm, library], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        match = re.match(r"^[0-9a-fA-F ]{16,17}([A-Za-z]) (\S+)$", line)
        if match:
            (undefined if match[1] in "Uw" else defined).add(match[2])
    return undefined, defined


def main(build, nm):
    root = os.environ["SKERRY_SOURCE_ROOT"]
    findings = []
    undefined, defined = {}, {}
    for layer, (path, _) in LIBRARIES.items():
        library = os.path.join(build, path)
        if not os.path.exists(library):
            if glob.glob(os.path.join(root, SOURCES[layer], "*.c")):
                findings.append(f"{path}: not built")
            undefined[layer], defined[layer] = set(), set()
            continue
        undefined[layer], defined[layer] = symbols(nm, library)
        if not defined[layer]:
            findings.append(f"{path}: nothing is defined in it")
    for layer, (path, below) in LIBRARIES.items():
        known = set(defined[layer]) | LIBC | (BASE if layer == "base" else set())
        for lower in below:
            known |= defined[lower]
        for symbol in sorted(undefined[layer]):
            if plain(symbol) not in known and symbol not in known and not COMPILER.match(symbol):
                findings.append(f"{path}: uses '{symbol}', which a pure layer may not")
    for finding in findings:
        print(finding)
    print(f"purity: {len(findings)} findings in {sum(map(bool, defined.values()))} libraries")
    sys.exit(1 if findings else 0)


main(sys.argv[1], sys.argv[2])

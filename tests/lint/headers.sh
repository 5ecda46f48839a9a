#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every header compiles alone. usage: headers.sh ROOT COMPILER [FLAG...]
set -eu
root=$1
shift
findings=0
cd "$root"
for header in $(find src lab sim -name '*.h' | sort); do
    case $header in
    src/*) name=${header#src/} ;;
    *) name=$header ;;
    esac
    if ! printf '#include "%s"\n' "$name" |
        "$@" -x c -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Werror -Isrc -I. -Ilab -include src/base/banned.h -fsyntax-only -; then
        echo "$header: does not compile alone"
        findings=$((findings + 1))
    fi
done
echo "headers: $findings findings"
[ "$findings" = 0 ]

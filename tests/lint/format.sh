#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every source is as clang-format 14 writes it. usage: format.sh ROOT. Exit 77 where it is not installed.
set -eu
cd "$1"
if ! command -v clang-format-14 >/dev/null 2>&1; then
    echo "skipped: clang-format-14 is not installed"
    exit 77
fi
folders=""
for folder in src lab sim tests bench; do
    [ -d "$folder" ] && folders="$folders $folder"
done
# shellcheck disable=SC2086
find $folders -name '*.[ch]' -print0 | sort -z | xargs -0 clang-format-14 --dry-run -Werror

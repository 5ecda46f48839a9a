#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what a job needs, from Debian's packages: packaging/deps.sh build|test|demo|bench|all. Says what is missing when it cannot.
set -eu

build="gcc libc6-dev meson ninja-build pkg-config libyaml-dev libsodium-dev libgfshare-dev libuv1-dev libssl-dev libsqlite3-dev
libmicrohttpd-dev libcurl4-openssl-dev libsmartcols-dev uthash-dev"
demo="haproxy crun busybox-static iproute2 nftables skopeo umoci procps"
test="libcmocka-dev clang-14 libclang-rt-14-dev clang-format-14 python3 python3-pytest python3-yaml python3-jsonschema docker-registry sqlite3
etcd-server openssl curl git binutils spin $demo"

case "${1:-all}" in
build) want="$build" ;;
demo) want="$build $demo" ;;
bench) want="$build $demo python3 docker.io" ;; # docker.io: the peer
test | all) want="$build $test" ;;
*)
    echo "usage: packaging/deps.sh build|demo|test|bench|all" >&2
    exit 2
    ;;
esac

missing=""
for package in $want; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo"
elif command -v sudo >/dev/null 2>&1 && [ -t 0 ]; then
    as_root="sudo"
else
    echo "skerry: missing packages:$missing; fix: ask an administrator to run: apt-get install -y$missing" >&2
    exit 2
fi
echo "skerry: installing$missing"
# shellcheck disable=SC2086
$as_root apt-get -q update >/dev/null
# shellcheck disable=SC2086
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing >/dev/null

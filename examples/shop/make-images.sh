#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the shop's services from Debian's busybox-static, without any download: make-images.sh NAME DIR
# NAME is web, api or all. Afterwards DIR/NAME/serve is a program for this machine (it listens on $HOST:$PORT), and
# DIR/layout an OCI layout with the tag NAME (image: "oci:DIR/layout:NAME", DIR being absolute).
set -eu

usage() {
    echo "usage: make-images.sh web|api|all DIR" >&2
    exit 2
}
[ $# = 2 ] || usage
case "$1" in
web | api) names="$1" ;;
all) names="web api" ;;
*) usage ;;
esac
mkdir -p "$2"
dir=$(cd "$2" && pwd)

busybox=$(command -v busybox) || { echo "make-images.sh: busybox is not installed; fix: apt-get install busybox-static" >&2; exit 1; }
if ldd "$busybox" >/dev/null 2>&1; then
    echo "make-images.sh: '$busybox' is not static; fix: apt-get install busybox-static" >&2
    exit 1
fi

# The program: it writes its pages when it starts, so that each names the instance that answers, and serves them as files: what
# a request costs is then the server's, not a shell's.
make_program() { # NAME
    app="$dir/$1"
    mkdir -p "$app/run"
    chmod 1777 "$app/run" # whoever the service runs as writes its pages there
    cat >"$app/serve" <<'SERVE'
#!/bin/sh
set -eu
www="${0%/*}/run/${SKERRY_INSTANCE:-alone}"
busybox mkdir -p "$www"
echo ok >"$www/healthz"
SERVE
    if [ "$1" = web ]; then
        cat >>"$app/serve" <<'PAGE'
cat >"$www/index.html" <<HTML
<!doctype html><title>shop</title><h1>The shop</h1><pre>
instance=${SKERRY_INSTANCE:-}
node=${SKERRY_NODE:-}
site=${SKERRY_SITE:-}
replica=${SKERRY_REPLICA:-}
</pre>
HTML
PAGE
    else
        cat >>"$app/serve" <<'PAGE'
cat >"$www/index.html" <<JSON
{"service":"${SKERRY_SERVICE:-}","instance":"${SKERRY_INSTANCE:-}","node":"${SKERRY_NODE:-}","site":"${SKERRY_SITE:-}","replica":"${SKERRY_REPLICA:-}"}
JSON
PAGE
    fi
    echo 'exec busybox httpd -f -p "${HOST:-0.0.0.0}:${PORT:-8000}" -h "$www"' >>"$app/serve"
    sed -i 's/^cat >/busybox cat >/' "$app/serve"
    chmod 755 "$app/serve"
}

make_image() { # NAME
    work=$(mktemp -d)
    rootless=""
    [ "$(id -u)" = 0 ] || rootless="--rootless"
    [ -f "$dir/layout/index.json" ] || umoci init --layout "$dir/layout" >/dev/null
    umoci new --image "$dir/layout:$1" >/dev/null
    # shellcheck disable=SC2086
    umoci unpack $rootless --image "$dir/layout:$1" "$work/bundle" >/dev/null
    root="$work/bundle/rootfs"
    mkdir -p "$root/bin" "$root/etc" "$root/tmp" "$root/root"
    chmod 1777 "$root/tmp"
    cp "$busybox" "$root/bin/busybox"
    for applet in $("$busybox" --list); do
        [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
    done
    echo 'root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false' >"$root/etc/passwd"
    echo 'root:x:0:
nogroup:x:65534:' >"$root/etc/group"
    cp -Rp "$dir/$1" "$root/app"
    umoci repack --image "$dir/layout:$1" "$work/bundle" >/dev/null
    umoci config --image "$dir/layout:$1" --config.entrypoint /app/serve --config.workingdir /app \
        --config.env PATH=/bin --config.exposedports 8000/tcp >/dev/null
    rm -rf "$work"
}

for name in $names; do
    make_program "$name"
    if command -v umoci >/dev/null 2>&1; then
        make_image "$name"
        echo "oci:$dir/layout:$name"
    else
        echo "make-images.sh: no umoci, so no image: '$dir/$name/serve' runs as a program of this machine" >&2
    fi
done
# the half of the daemon that resolves images runs without privilege
chmod -R a+rX "$dir"

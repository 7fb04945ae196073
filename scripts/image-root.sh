#!/bin/sh
# Lays out the root of an image around binaries: they themselves in /usr/bin, every library that they are linked with, the authorities
# of TLS, and a user without rights.
#
# usage: image-root.sh ROOT BINARY...
set -eu
umask 022

[ $# -ge 2 ] || { echo 'usage: image-root.sh ROOT BINARY...' >&2; exit 2; }
root=$1
shift
user=65532

mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/tmp"
for binary in "$@"; do
    cp "$binary" "$root/usr/bin/"
    # `name => /path (address)`, and the loader as `/path (address)`; the copy follows links and stands where it is looked for
    ldd "$binary" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | while read -r library; do
        mkdir -p "$root$(dirname -- "$library")"
        cp -L "$library" "$root$library"
    done
done
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'embermesh:x:%s:%s::/var/lib/embermesh:/sbin/nologin\n' "$user" "$user" >"$root/etc/passwd"
printf 'embermesh:x:%s:\n' "$user" >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
chmod 1777 "$root/tmp"

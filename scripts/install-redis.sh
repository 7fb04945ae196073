#!/bin/sh
# Installs Debian's redis-server where it is missing. Only tests need it: Embermesh itself runs without Redis.
set -eu

if command -v redis-server >/dev/null; then
    redis-server --version
    exit 0
fi

fail() {
    printf 'install-redis: %s\nInstall redis-server 7 or newer by your own means and put it on PATH.\n' "$1" >&2
    exit 1
}

command -v apt-get >/dev/null || fail "this machine has no apt-get"
if [ "$(id -u)" -eq 0 ]; then
    as_root=
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    fail "installing needs root, and there is no sudo"
fi

export DEBIAN_FRONTEND=noninteractive
# Without a policy the package would start a server of its own on 6379; tests start theirs on free ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT
fi
$as_root apt-get install --yes --no-install-recommends redis-server ||
    { $as_root apt-get update && $as_root apt-get install --yes --no-install-recommends redis-server; } ||
    fail "apt-get could not install redis-server"
redis-server --version

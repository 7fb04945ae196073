#!/bin/sh
# Installs a Debian package where the command that it brings is missing. For what only tests need: Embermesh itself runs without any.
#
# usage: install-debian-package.sh COMMAND PACKAGE
set -eu

[ $# -eq 2 ] || { echo 'usage: install-debian-package.sh COMMAND PACKAGE' >&2; exit 2; }
command=$1
package=$2

if command -v "$command" >/dev/null; then
    "$command" --version 2>&1 | head -n 1
    exit 0
fi

fail() {
    printf 'install-debian-package: %s\nInstall %s by your own means and put it on PATH.\n' "$1" "$command" >&2
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
# Without a policy a package with a server would start one of its own on its usual port; tests start theirs on free ones.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    trap '$as_root rm -f "$policy"' EXIT
fi
$as_root apt-get install --yes --no-install-recommends "$package" ||
    { $as_root apt-get update && $as_root apt-get install --yes --no-install-recommends "$package"; } ||
    fail "apt-get could not install $package"
"$command" --version 2>&1 | head -n 1

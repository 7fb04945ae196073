#!/bin/sh
# The rounds that take longer than a test may: outages, background errors, rate limits, every fault; each against its bar.
# Writes docs/rounds.md, and fails when a bar is missed. Run it on an idle machine; everything stays on loopback.
#
# usage: rounds.sh [ARGUMENTS FOR bench-rounds]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export EMBERMESH_TOOLS_DIR="${EMBERMESH_TOOLS_DIR:-$root/.tools}"

kept=0
"$root/target/release/bench-rounds" --markdown "$work/table.md" "$@" || kept=$?
[ -s "$work/table.md" ] || exit "$kept"

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
cat >"$root/docs/rounds.md" <<TEXT
# Rounds

\`make rounds\`: Embermesh on simulated providers that fail, throttle and lie, over real sockets, with everything on: authentication,
scrubbing, cache, reserved and settled money in a durable PostgreSQL. Load driver, providers and database share the machine's cores with it.

A row with a bar is a promise; the run fails when one is not kept. The shorter forms of the same are tests, in \`make test\`.

$(date -u +%Y-%m-%d), commit $commit, $(nproc) cores, $cpu.

$(cat "$work/table.md")
TEXT
echo "written: docs/rounds.md"
exit "$kept"

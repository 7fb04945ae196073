#!/bin/sh
# A migration of 20,000 rows between two simulated models, whose gateway and store are killed 20 times.
# Writes the figures in docs/migrations.md, and fails when a promise is not kept. Everything stays on loopback.
#
# usage: migration.sh [ARGUMENTS FOR bench-migration], such as --rows 5000 --kills 10 --seed 7
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export EMBERMESH_TOOLS_DIR="${EMBERMESH_TOOLS_DIR:-$root/.tools}"

kept=0
"${CARGO_TARGET_DIR:-$root/target}/release/bench-migration" --markdown "$work/table.md" "$@" || kept=$?
[ -s "$work/table.md" ] || exit "$kept"

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
{
    sed '/^<!-- figures -->$/q' "$root/docs/migrations.md"
    echo "$(date -u +%Y-%m-%d), commit $commit, $(nproc) cores, $cpu."
    echo
    cat "$work/table.md"
    sed -n '/^<!-- end of figures -->$/,$p' "$root/docs/migrations.md"
} >"$work/migrations.md"
cat "$work/migrations.md" >"$root/docs/migrations.md"
echo "written: docs/migrations.md"
exit "$kept"

#!/bin/sh
# Rounds of kill -9 on vector-store and its PostgreSQL while rows are stored; then every acknowledged row is looked for.
# Writes docs/ingest.md, and fails when a row is lost or doubled. Everything stays on loopback.
#
# usage: ingest.sh [ARGUMENTS FOR bench-ingest], such as --rounds 300 --seed 7
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export EMBERMESH_TOOLS_DIR="${EMBERMESH_TOOLS_DIR:-$root/.tools}"

kept=0
"$root/target/release/bench-ingest" --markdown "$work/table.md" "$@" || kept=$?
[ -s "$work/table.md" ] || exit "$kept"

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
cat >"$root/docs/ingest.md" <<TEXT
# Storing rows under kill -9

\`make ingest\`: four writers of two tenants store batches of up to 200 rows, a tenth of them known before, each batch again and again until it is
acknowledged. In each round vector-store, a durable PostgreSQL, or both are killed with SIGKILL at a random moment and started again after
a random time. At the end every acknowledged text is looked for under its id.

A row with a bar is a promise; the run fails when one is not kept, and prints the seed.

$(date -u +%Y-%m-%d), commit $commit, $(nproc) cores, $cpu.

$(cat "$work/table.md")
TEXT
echo "written: docs/ingest.md"
exit "$kept"

#!/bin/sh
# Rounds of kill -9 on vector-store and its PostgreSQL while rows are stored; then every acknowledged row is looked for.
# Writes docs/ingest.md, and fails when a row is lost or doubled. Everything stays on loopback.
#
# usage: ingest.sh [ARGUMENTS FOR bench-ingest], such as --rounds 300 --seed 7
set -eu
. "$(dirname -- "$0")/lib/figures.sh"

measure "$root/target/release/bench-ingest" --markdown "$work/table.md" "$@"

cat >"$root/docs/ingest.md" <<TEXT
# Storing rows under kill -9

\`make ingest\`: four writers of two tenants store batches of up to 200 rows, a tenth of them known before, each batch again and again until it is
acknowledged. In each round vector-store, a durable PostgreSQL, or both are killed with SIGKILL at a random moment and started again after
a random time. At the end every acknowledged text is looked for under its id.

A row with a bar is a promise; the run fails when one is not kept, and prints the seed.

$(taken).

$(cat "$work/table.md")
TEXT
echo "written: docs/ingest.md"
exit "$kept"

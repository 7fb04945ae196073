#!/bin/sh
# A migration of 20,000 rows between two simulated models, whose gateway and store are killed 20 times.
# Writes the figures in docs/migrations.md, and fails when a promise is not kept. Everything stays on loopback.
#
# usage: migration.sh [ARGUMENTS FOR bench-migration], such as --rows 5000 --kills 10 --seed 7
set -eu
. "$(dirname -- "$0")/lib/figures.sh"

measure "${CARGO_TARGET_DIR:-$root/target}/release/bench-migration" --markdown "$work/table.md" "$@"

{
    sed '/^<!-- figures -->$/q' "$root/docs/migrations.md"
    echo "$(taken)."
    echo
    cat "$work/table.md"
    sed -n '/^<!-- end of figures -->$/,$p' "$root/docs/migrations.md"
} >"$work/migrations.md"
cat "$work/migrations.md" >"$root/docs/migrations.md"
echo "written: docs/migrations.md"
exit "$kept"

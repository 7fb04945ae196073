#!/bin/sh
# Admin and its database are stopped for ten minutes, or as long as is said, while agents embed and search and every other process is killed
# once. Writes docs/away.md, and fails when anything failed. The shorter form of the same is a test, in `make test`.
#
# usage: away.sh [LENGTH, such as 10m]
set -eu
. "$(dirname -- "$0")/lib/figures.sh"
export EMBERMESH_AWAY="${1:-10m}" EMBERMESH_AWAY_REPORT="$work/table.md"

cd "$root"
cargo test --workspace --test it control_plane_away::while_admin -- --nocapture

cat >docs/away.md <<TEXT
# The control plane away

\`make away\`: five processes, with admin on a database of its own. Admin is killed and its database closed; agents go on embedding, storing and
searching, and every other process is killed with -9 once and started again from its copy on disk. Then both come back. The run fails when
a call fails, or a change is accepted that nobody could have made. The shorter form of the same is a test, in \`make test\`.

$(taken); a debug build.

$(cat "$work/table.md")
TEXT
echo "written: docs/away.md"

#!/bin/sh
# Admin and its database are stopped for ten minutes, or as long as is said, while agents embed and search and every other process is killed
# once. Writes docs/away.md, and fails when anything failed. The shorter form of the same is a test, in `make test`.
#
# usage: away.sh [LENGTH, such as 10m]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export EMBERMESH_TOOLS_DIR="${EMBERMESH_TOOLS_DIR:-$root/.tools}"
export EMBERMESH_AWAY="${1:-10m}" EMBERMESH_AWAY_REPORT="$work/table.md"

cd "$root"
cargo test --workspace --test it control_plane_away::while_admin -- --nocapture

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
cat >docs/away.md <<TEXT
# The control plane away

\`make away\`: five processes, with admin on a database of its own. Admin is killed and its database closed; agents go on embedding, storing and
searching, and every other process is killed with -9 once and started again from its copy on disk. Then both come back. The run fails when
a call fails, or a change is accepted that nobody could have made. The shorter form of the same is a test, in \`make test\`.

$(date -u +%Y-%m-%d), commit $commit, $(nproc) cores, $cpu; a debug build.

$(cat "$work/table.md")
TEXT
echo "written: docs/away.md"

# Sourced by scripts that write a page of figures under docs/. Leaves the project's folder in $root, a folder that is removed at the end in
# $work, and tells whatever is run where the tools are.
# shellcheck shell=sh disable=SC2034 # used by those scripts
root=$(dirname -- "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tools="${EMBERMESH_TOOLS_DIR:-$root/.tools}"
export EMBERMESH_TOOLS_DIR="$tools"

# Runs a command that writes $work/table.md and ends with an error when a bar is missed, which $kept tells; without a table there is no page.
measure() {
    kept=0
    "$@" || kept=$?
    [ -s "$work/table.md" ] || exit "$kept"
}

# When and on what figures were taken.
taken() {
    commit=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
    echo "$(date -u +%Y-%m-%d), commit $commit, $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
}

#!/bin/sh
# Gives API keys successors. The keys themselves go on working for an overlap (24h unless it is said), so that agents change over
# without a refused call. The new keys are written to a new file that only you can read; nothing secret is printed.
#
# usage: rotate-api-keys.sh [--overlap TIME] [--out FILE | --print] [--dry-run] [--older-than AGE | KEY-ID...]
#
# Without ids: every live key that was made 30 days ago or earlier, but for the admin key that does it. Server and admin key are
# those of `embermesh up`, or EMBERMESH_URL and EMBERMESH_ADMIN_KEY.
#
# It stops at the first key that cannot be rotated, with an exit code other than 0; what was made until then is in the file.
set -eu
umask 077
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
data=${EMBERMESH_DATA_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/embermesh}

usage() {
    sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"
}
wrong() {
    echo "rotate-api-keys: $1, see --help" >&2
    exit 2
}

embermesh=${EMBERMESH_BIN:-}
for candidate in "$(command -v embermesh || true)" "$here/../target/release/embermesh" "$here/../target/debug/embermesh"; do
    if [ -z "$embermesh" ] && [ -x "$candidate" ]; then embermesh=$candidate; fi
done

out="$data/rotated-keys/$(date -u +%Y%m%dT%H%M%SZ)-$$.jsonl"
overlap=24h
older_than=''
print=''
dry_run=''
ids=''
while [ $# -gt 0 ]; do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --print) print=1; shift ;;
        --dry-run) dry_run=1; shift ;;
        --overlap | --out | --older-than)
            [ $# -ge 2 ] || wrong "$1 needs a value"
            case $1 in
                --overlap) overlap=$2 ;;
                --out) out=$2 ;;
                --older-than) older_than=$2 ;;
            esac
            shift 2
            ;;
        *[!A-Za-z0-9]* | '') wrong "'$1' is neither an option nor the id of a key" ;;
        *) ids="$ids $1"; shift ;;
    esac
done
[ -n "$embermesh" ] || { echo 'rotate-api-keys: embermesh is not built and not in PATH; set EMBERMESH_BIN' >&2; exit 2; }
[ -z "$ids" ] || [ -z "$older_than" ] || wrong 'name keys or an age, not both'

# shellcheck disable=SC2086 # ids have no other characters than letters and digits
set -- $ids
[ $# -gt 0 ] || set -- --older-than "${older_than:-30d}"
set -- "$@" --overlap "$overlap"
[ -z "$dry_run" ] || set -- "$@" --dry-run
if [ -z "$print" ] && [ -z "$dry_run" ]; then
    [ ! -e "$out" ] || wrong "$out is there already and would have to be written over"
    mkdir -p -- "$(dirname -- "$out")"
    set -- "$@" --out "$out"
fi
status=0
"$embermesh" keys rotate "$@" || status=$?
if [ -z "$print" ] && [ -s "$out" ]; then
    echo "The new keys are in $out. Give them to their agents within the overlap, then remove the file."
fi
exit "$status"

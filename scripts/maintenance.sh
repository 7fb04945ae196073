#!/bin/sh
# The operations guide's maintenance script: vacuum and analyze, worn indexes, partitions, months that leave, costs of the last 24 hours.
# `embermesh maintenance` does it; this is the name that crontabs know.
#
# usage: maintenance.sh [REPORT] [ARGUMENT of `embermesh maintenance`...]      default: daily-cost-report.json
#
# Differs from the guide where it would harm: the cache ends by itself and is not emptied (add --clear-cache to do so), and months are
# archived and dropped as a whole, where `store.archive` is configured, instead of row by row.
# Needs an admin key: EMBERMESH_ADMIN_KEY, or ADMIN_KEY as the guide has it, or that of the data folder.
set -eu
report=${1:-daily-cost-report.json}
[ $# -eq 0 ] || shift
if [ -n "${ADMIN_KEY:-}" ]; then
    export EMBERMESH_ADMIN_KEY="$ADMIN_KEY"
fi
exec embermesh maintenance --report "$report" "$@"

#!/bin/sh
# Fetches what `embermesh up` needs beside the binary: PostgreSQL with pgvector and the weights of the local model.
# With --tests also what only the test suite needs. Safe to run again.
#
# usage: setup.sh [--tests]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

tests=false
for argument in "$@"; do
    case $argument in
    --tests) tests=true ;;
    *)
        printf 'setup: unknown argument %s\nusage: setup.sh [--tests]\n' "$argument" >&2
        exit 2
        ;;
    esac
done

"$here/fetch-postgres.sh"
"$here/fetch-model-weights.sh"
if $tests; then
    "$here/install-debian-package.sh" redis-server redis-server
    "$here/install-debian-package.sh" promtool prometheus
    # extensions and TLS, which the embedded one lacks
    "$here/install-debian-package.sh" /usr/lib/postgresql/15/bin/postgres postgresql-15
    "$here/python-clients.sh"
fi

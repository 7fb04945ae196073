#!/bin/sh
# The five services as five processes on loopback ports 8081 to 8085, on a private PostgreSQL unless DATABASE_URL is set.
#
# usage: services.sh FOLDER-OF-THE-BINARIES
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
bin=${1:?usage: services.sh FOLDER-OF-THE-BINARIES}
tools=${EMBERMESH_TOOLS_DIR:-$here/../.tools}
data=${EMBERMESH_DATA_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/embermesh}
mkdir -p "$data"

pids=''
stop() {
    trap - INT TERM EXIT
    # the services first: what drains may still write to the database
    # shellcheck disable=SC2086 # a list of numbers
    [ -z "$pids" ] || { kill $pids 2>/dev/null || true; wait $pids 2>/dev/null || true; }
    [ -z "${database:-}" ] || { kill "$database" 2>/dev/null || true; wait "$database" 2>/dev/null || true; }
}
trap stop EXIT
trap 'exit 0' INT TERM

if [ -z "${DATABASE_URL:-}" ]; then
    : >"$data/database.url"
    chmod 600 "$data/database.url"
    EMBERMESH_TOOLS_DIR=$tools "$bin/embermesh" database --data-dir "$data" >"$data/database.url" &
    database=$!
    until [ -s "$data/database.url" ]; do
        kill -0 "$database" 2>/dev/null || { echo 'services: the private PostgreSQL did not start' >&2; exit 1; }
        sleep 0.1
    done
    DATABASE_URL=$(cat "$data/database.url")
    export DATABASE_URL
fi
[ ! -d "$tools/minilm" ] || export EMBERMESH__EMBEDDING__ROUTER__LOCAL_MODEL_DIR="$tools/minilm"

for service in admin cost-ledger vector-store provider-router gateway; do
    # the first keys are written where the command line looks for them
    folder=$data
    [ "$service" = admin ] || folder=$data/$service
    mkdir -p "$folder"
    EMBERMESH__DATA_DIR=$folder "$bin/embermesh-$service" &
    pids="$pids $!"
done
for port in 8085 8083 8084 8082 8081; do
    until curl -fs "http://127.0.0.1:$port/health/ready" >/dev/null; do
        # shellcheck disable=SC2086
        kill -0 $pids 2>/dev/null || { echo 'services: a service ended early, see above' >&2; exit 1; }
        sleep 0.2
    done
done
cat <<TEXT

Embermesh serves at http://127.0.0.1:8081, as five processes:
  gateway 8081 · provider-router 8082 · cost-ledger 8083 · vector-store 8084 · admin 8085
The keys are in $data/keys.json; \`eval "\$($bin/embermesh env)"\` sets them.
TEXT
wait

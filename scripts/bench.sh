#!/bin/sh
# Load bench: what a request costs the server's CPU, as a ratio to a byte-forwarding proxy measured in the same run.
# Writes docs/bench.md. Run it on an idle machine; everything stays on loopback.
#
# usage: bench.sh [ARGUMENTS FOR bench-load]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$here/..
bin=$root/target/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/embermesh.yaml" <<YAML
logging: {level: warn}
embedding:
  providers:
    openai: {base_url: '\${BENCH_UPSTREAM_URL}', api_key: bench, models: [text-embedding-3-small]}
    local: {enabled: false}
YAML
export EMBERMESH_TOOLS_DIR="${EMBERMESH_TOOLS_DIR:-$root/.tools}"

"$bin/bench-load" \
    --upstream-listen 127.0.0.1:9901 \
    --target-name embermesh --target-url http://127.0.0.1:9902 --ready-path /health/ready \
    --spawn "$bin/embermesh up --config $work/embermesh.yaml --data-dir $work/data --listen 127.0.0.1:9902" \
    --api-key-file "$work/data/keys.json" \
    --markdown "$work/table.md" "$@"

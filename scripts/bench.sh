#!/bin/sh
# Load bench: what a request costs the server's CPU, as a ratio to a byte-forwarding proxy measured in the same run.
# Writes docs/bench.md. Run it on an idle machine; everything stays on loopback.
#
# usage: bench.sh [ARGUMENTS FOR bench-load]
set -eu
. "$(dirname -- "$0")/lib/figures.sh"
bin=$root/target/dist

cat >"$work/embermesh.yaml" <<YAML
logging: {level: warn}
embedding:
  providers:
    openai: {base_url: '\${BENCH_UPSTREAM_URL}', api_key: bench, models: [text-embedding-3-small]}
    local: {enabled: false}
YAML

load() {
    rm -rf "$work/data"
    "$bin/bench-load" --upstream-listen 127.0.0.1:9901 \
        --target-name embermesh --target-url http://127.0.0.1:9902 --ready-path /health/ready \
        --spawn "$bin/embermesh up --config $work/embermesh.yaml --data-dir $work/data --listen 127.0.0.1:9902" \
        --api-key-file "$work/data/keys.json" "$@"
}
load --markdown "$work/table.md" "$@"
load --markdown "$work/paced.md" --rate 2000 --only '1 '

cat >"$root/docs/bench.md" <<TEXT
# Load bench

\`make bench\`: an instant OpenAI-compatible upstream; a proxy that forwards bytes and nothing else, as the floor; Embermesh pinned to one
core with everything on: authentication, limits, scrubbing, cache, reserved and settled money in a durable PostgreSQL on the same core.
\`children\` is that PostgreSQL. The ratio is server CPU per request, Embermesh to proxy, each pair of rounds measured one after the other.

A *miss* is a text that was never seen: one provider call, one reservation, one settlement. A *hit* comes from memory.

$(taken).

$(cat "$work/table.md")

## At one pace

A core that is never idle reads several requests at a time, which is worth more to a proxy than to a server that computes. Here both get
the same 2,000 requests a second.

$(cat "$work/paced.md")
TEXT
echo "written: docs/bench.md"

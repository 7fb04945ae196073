#!/bin/sh
# Load bench: what a request costs the server's CPU, as a ratio to a byte-forwarding proxy measured in the same run.
# Writes docs/bench.md. Run it on an idle machine; everything stays on loopback.
#
# usage: bench.sh [ARGUMENTS FOR bench-load]
set -eu
. "$(dirname -- "$0")/lib/figures.sh"
bin=$root/target/dist
. "$root/scripts/lib/load.sh"
profiled=$root/target/profiled/$(rustc -vV | sed -n 's/^host: //p')/dist/embermesh

load "$profiled" --markdown "$work/table.md" "$@"
load "$profiled" --markdown "$work/paced.md" --rate 2000 --only '1 '

cat >"$root/docs/bench.md" <<TEXT
# Load bench

\`make bench\`: an instant OpenAI-compatible upstream; a proxy that forwards bytes and nothing else, as the floor; Embermesh pinned to one
core with everything on: authentication, limits, scrubbing, cache, reserved and settled money in a durable PostgreSQL, which runs on the
driver's core, as it would on a machine of its own. \`children\` is that PostgreSQL. The ratio is server CPU per request, Embermesh to
proxy, each pair of rounds measured one after the other. Embermesh is built by a profile (\`make profile\`), as images are; the proxy is not.

A *miss* is a text that was never seen: one provider call, one reservation, one settlement. A *hit* comes from memory.

$(taken).

$(cat "$work/table.md")

## At one pace

A core that is never idle reads several requests at a time, which is worth more to a proxy than to a server that computes. Here both get
the same 2,000 requests a second.

$(cat "$work/paced.md")
TEXT
echo "written: docs/bench.md"

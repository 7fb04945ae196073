#!/bin/sh
# The rounds that take longer than a test may: outages, background errors, rate limits, every fault; each against its bar.
# Writes docs/rounds.md, and fails when a bar is missed. Run it on an idle machine; everything stays on loopback.
#
# usage: rounds.sh [ARGUMENTS FOR bench-rounds]
set -eu
. "$(dirname -- "$0")/lib/figures.sh"

measure "$root/target/release/bench-rounds" --markdown "$work/table.md" "$@"

cat >"$root/docs/rounds.md" <<TEXT
# Rounds

\`make rounds\`: Embermesh on simulated providers that fail, throttle and lie, over real sockets, with everything on: authentication,
scrubbing, cache, reserved and settled money in a durable PostgreSQL. Load driver, providers and database share the machine's cores with it.

A row with a bar is a promise; the run fails when one is not kept. The shorter forms of the same are tests, in \`make test\`.

$(taken).

$(cat "$work/table.md")
TEXT
echo "written: docs/rounds.md"
exit "$kept"

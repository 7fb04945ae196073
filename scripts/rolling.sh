#!/bin/sh
# Two replicas of each service, restarted one after another under load until so many requests are done. Writes docs/rolling.md, and fails when a
# request failed. The shorter form of the same is a test, in `make test`.
#
# usage: rolling.sh [REQUESTS]
set -eu
. "$(dirname -- "$0")/lib/figures.sh"
export EMBERMESH_TEST_BINARIES="${EMBERMESH_TEST_BINARIES:-$root/target/release}"
export EMBERMESH_ROLLING_RATE=200 EMBERMESH_ROLLING_REQUESTS="${1:-30000}" EMBERMESH_ROLLING_REPORT="$work/table.md"

cd "$root"
cargo test --workspace --test it rolling_restart -- --nocapture

cat >docs/rolling.md <<TEXT
# Rolling restart

\`make rolling\`: two replicas of each of the five services on one machine. 200 requests a second come in whatever the answers take: one in four embeds
and keeps, one embeds only, two search. Meanwhile every process gets SIGTERM, is waited for and started again, one after another, round
after round. A balancer in front of the gateways asks \`/health/ready\` twenty times a second; \`server.shutdown_notice\` is 0.5 s. The run fails
when a request fails, or when the books do not add up afterwards. The shorter form of the same is a test, in \`make test\`.

$(taken); a release build, with the load, the providers and PostgreSQL on the same cores.

$(cat "$work/table.md")
TEXT
echo "written: docs/rolling.md"

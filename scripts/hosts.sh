#!/bin/sh
# Services on eight hosts that are network namespaces, with mutual TLS; each host is cut off once under load. Writes docs/hosts.md, and fails when an
# acknowledged row is lost or a request fails that began five seconds after a cut. Needs root and `ip`.
set -eu
. "$(dirname -- "$0")/lib/figures.sh"
export EMBERMESH_HOSTS_REPORT="$work/table.md"

cd "$root"
cargo test --workspace --test it hosts:: -- --ignored --nocapture

cat >docs/hosts.md <<TEXT
# Hosts that are cut off

\`make hosts\`: two gateways, two routers, two stores, a ledger and admin, each in a network namespace of its own on one bridge, with mutual TLS between them
and lists of addresses in place of names. Agents embed, keep and search; a balancer asks the gateways' \`/health/ready\`. Each host is cut off
once: what it sends and what it is sent is lost, and nobody is told. The run fails when an acknowledged row is lost, or when a request fails
that began more than five seconds after a cut. The database and the provider are not cut off.

$(taken); a debug build.

$(cat "$work/table.md")
TEXT
echo "written: docs/hosts.md"

#!/bin/sh
# Rounds of kill -9 at random moments of router, ledger and PostgreSQL under load; then the books against the provider's log.
# Writes docs/faults.md, and fails when anything does not agree. Everything stays on loopback.
#
# usage: faults.sh [ARGUMENTS FOR bench-faults], such as --rounds 300 --seed 7
set -eu
. "$(dirname -- "$0")/lib/figures.sh"

measure "$root/target/release/bench-faults" --markdown "$work/table.md" "$@"

cat >"$root/docs/faults.md" <<TEXT
# Faults

\`make faults\`: the whole system as processes (two gateways, each with a router and a ledger of its own, vector-store, admin, a durable
PostgreSQL) under load of agents with and without budgets, on simulated providers that refuse some calls and cut others off. In each round
one router, one ledger or PostgreSQL is killed with SIGKILL at a random moment, now and then two of them, and started again after a random
time. After every few rounds the load ends; once journals are posted and lost calls presumed, the provider's log of calls is joined with the
ledger's attempts both ways, clients' answers with their charges, balances with the journal, and the ledger verifies itself. At the end all
of it is compared once more. Budgets are watched the whole time.

A row with a bar is a promise; the run fails when one is not kept, and prints the seed and the round.

$(taken).

$(cat "$work/table.md")
TEXT
echo "written: docs/faults.md"
exit "$kept"

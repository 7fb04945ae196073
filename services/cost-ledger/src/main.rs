//! `embermesh-cost-ledger`: the ledger as a process of its own.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    embermesh_process::run(embermesh_cost_ledger::DEFAULT_PORT, embermesh_cost_ledger::run)
}

//! `embermesh-cost-ledger`: the ledger as a process of its own.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    embermesh_cost_ledger::command_line()
}

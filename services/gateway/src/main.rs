//! `embermesh-gateway`: the gateway as a process of its own.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    embermesh_process::run(embermesh_gateway::DEFAULT_PORT, embermesh_gateway::run)
}

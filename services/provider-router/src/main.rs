//! `embermesh-provider-router`: the router as a process of its own.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    embermesh_process::run(embermesh_provider_router::DEFAULT_PORT, embermesh_provider_router::run)
}

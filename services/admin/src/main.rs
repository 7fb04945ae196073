//! `embermesh-admin`: the control plane as a process of its own.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    embermesh_process::run(embermesh_admin::DEFAULT_PORT, embermesh_admin::run)
}

//! `embermesh-vector-store`: the vector store as a process of its own.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    embermesh_process::run(embermesh_vector_store::DEFAULT_PORT, embermesh_vector_store::run)
}

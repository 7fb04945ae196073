//! Fills a directory for `TIKTOKEN_CACHE_DIR`: `cargo run -p embermesh-tokens --example write-tiktoken-cache -- DIR`.

use std::{env, error::Error, fs, path::PathBuf};

use embermesh_tokens::tiktoken_cache::{CL100K_BASE_FILE, cl100k_base_table};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::args_os().nth(1).map(PathBuf::from).ok_or("usage: write-tiktoken-cache DIR")?;
    fs::create_dir_all(&dir)?;
    let file = dir.join(CL100K_BASE_FILE);
    fs::write(&file, cl100k_base_table())?;
    println!("{}", file.display());
    Ok(())
}

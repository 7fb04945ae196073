//! Migrates rows between two simulated models under kill -9, prints one table, and fails when a promise is not kept.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use embermesh_bench::{faults::FaultError, migration, rounds::bar::table};

/// A migration whose gateway and store are killed again and again.
#[derive(Parser)]
struct Arguments {
    /// Folder of the binaries under test; without it, this one's own
    #[arg(long)]
    bin: Option<PathBuf>,
    /// How many rows
    #[arg(long, default_value_t = 20_000)]
    rows: usize,
    /// How many times a process is killed
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// What the moments follow from; without it, another one every time
    #[arg(long)]
    seed: Option<u64>,
    /// Write the table as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("bench-migration: a promise was not kept");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench-migration: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, FaultError> {
    let bin = match &arguments.bin {
        Some(bin) => bin.clone(),
        None => std::env::current_exe()?.parent().ok_or("this program lies in no folder")?.to_owned(),
    };
    let seed = arguments.seed.unwrap_or_else(rand::random);
    eprintln!("bench-migration: {} kills with --seed {seed}", arguments.kills);
    let bars = migration::run(&bin, arguments.rows, arguments.kills, seed).await?;
    let table = table(&bars);
    println!("{table}");
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, table)?;
    }
    Ok(bars.iter().all(|bar| bar.kept))
}

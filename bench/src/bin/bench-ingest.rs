//! Kills vector-store and PostgreSQL while rows are stored, prints one table, and fails when a row is lost or doubled.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use embermesh_bench::{ingest, rounds::bar::table, search::SearchError};

/// Rounds of kill -9 on vector-store and its database.
#[derive(Parser)]
struct Arguments {
    /// How many rounds
    #[arg(long, default_value_t = 100)]
    rounds: u32,
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
            eprintln!("bench-ingest: a promise was not kept");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench-ingest: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, SearchError> {
    let bin = std::env::current_exe()?.parent().ok_or("this program lies in no folder")?.to_owned();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    eprintln!("bench-ingest: {} rounds with --seed {seed}", arguments.rounds);
    let bars = ingest::run(&bin, arguments.rounds, seed).await?;
    let table = table(&bars);
    println!("{table}");
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, table)?;
    }
    Ok(bars.iter().all(|bar| bar.kept))
}

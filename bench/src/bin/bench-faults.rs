//! Kills routers, ledgers and PostgreSQL under load, prints one table, and fails when the books do not agree.

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::Parser;
use embermesh_bench::{
    faults::run::{Task, pressure, run},
    rounds::bar::table,
};

/// Rounds of kill -9 on the whole system, against simulated providers.
#[derive(Parser)]
struct Arguments {
    /// Folder of the binaries under test; without it, this one's own
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// How many rounds
    #[arg(long, default_value_t = 1_000)]
    rounds: u32,
    /// What the rounds follow from; without it, another one every time
    #[arg(long)]
    seed: Option<u64>,
    /// Check the books after so many rounds
    #[arg(long, default_value_t = 50)]
    check_every: u32,
    /// Clients at once
    #[arg(long, default_value_t = 24)]
    clients: u64,
    /// Write the table as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = tokio::select! {
        outcome = kill_and_check(&arguments) => outcome,
        // the processes end with this one when it ends in good order
        _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("bench-faults: a promise was not kept");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench-faults: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn kill_and_check(arguments: &Arguments) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let bin = match &arguments.bin_dir {
        Some(bin) => bin.clone(),
        None => std::env::current_exe()?.parent().ok_or("this program lies in no folder")?.to_owned(),
    };
    let seed = arguments.seed.unwrap_or_else(rand::random);
    eprintln!("bench-faults: {} rounds, --seed {seed}", arguments.rounds);
    let task = Task {
        bin,
        rounds: arguments.rounds,
        seed,
        check_every: arguments.check_every,
        pressure: pressure(arguments.clients),
    };
    let bars = run(&task).await?;
    let table = table(&bars);
    println!("{table}");
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, format!("Seed {seed}.\n\n{table}"))?;
    }
    Ok(bars.iter().all(|bar| bar.kept))
}

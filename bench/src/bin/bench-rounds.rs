//! Runs the rounds, prints one table, and fails when a bar is missed.

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use embermesh_bench::rounds::{
    RoundError, background,
    bar::{Bar, table},
    faults, outage, throttled,
};

/// The rounds that take longer than a test may, against simulated providers.
#[derive(Parser)]
struct Arguments {
    /// Folder of the binaries under test; without it, this one's own
    #[arg(long)]
    bin: Option<PathBuf>,
    /// Seconds under load of the outage and of the background errors
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only the rounds whose name contains this: outage, background, throttled, pair, faults
    #[arg(long, default_value = "")]
    only: String,
    /// Write the table as Markdown
    #[arg(long)]
    markdown: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("bench-rounds: a bar was missed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench-rounds: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let bin = match &arguments.bin {
        Some(bin) => bin.clone(),
        None => std::env::current_exe()?.parent().ok_or("this program lies in no folder")?.to_owned(),
    };
    let seconds = Duration::from_secs(arguments.seconds);
    let mut bars = Vec::new();
    for name in ["outage", "background", "throttled", "pair", "faults"] {
        if !name.contains(&arguments.only) {
            continue;
        }
        eprintln!("bench-rounds: {name}");
        let came: Result<Vec<Bar>, RoundError> = match name {
            "outage" => outage::run(&bin, seconds).await,
            "background" => background::run(&bin, seconds).await,
            "throttled" => throttled::one_router(&bin).await,
            "pair" => throttled::two_routers(&bin).await,
            _ => faults::run(&bin).await,
        };
        match came {
            Ok(more) => bars.extend(more),
            Err(error) => bars.push(Bar::none(
                name,
                "rounds that could not be carried out",
                1,
                Some(&error.to_string()),
            )),
        }
    }
    let table = table(&bars);
    println!("{table}");
    if let Some(path) = &arguments.markdown {
        std::fs::write(path, table)?;
    }
    Ok(bars.iter().all(|bar| bar.kept))
}

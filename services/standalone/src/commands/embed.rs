//! `embermesh embed`: lines, files and folders into stored vectors. Running it again stores nothing twice.

mod chunk;
mod ingest;
mod piece;
mod progress;
mod sources;
mod summary;

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use clap::Args;
use embermesh_types::AgentId;
use futures::{Stream, StreamExt, stream};
use ingest::Ingest;
use piece::Piece;
use progress::Progress;
use sources::{Corpus, Skipped};
use summary::{Summary, Tally};

use super::{block_on, output};
use crate::{
    cli::ServerArguments,
    client::{Client, Connection, Failure, Patience},
};

#[derive(Debug, Args)]
pub(crate) struct EmbedArguments {
    /// Agent that the texts are stored for
    #[arg(long, value_name = "AGENT")]
    pub agent: AgentId,
    /// Files and folders; default: standard input, one text per line
    ///
    /// Of a folder every .md, .markdown, .txt, .rst and .text file is taken, except in hidden, target and node_modules
    /// folders. Files are cut into chunks of at most 700 characters.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub from: Vec<PathBuf>,
    /// Task type, such as general_qa (default), code_analysis, multilingual or research
    #[arg(long, value_name = "TYPE")]
    pub task_type: Option<String>,
    /// Context that the texts are stored with
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// Catalog model; default: the agent's own
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// Requests under way at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub concurrency: u8,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub server: ServerArguments,
}

/// Embeds and prints the summary.
pub(crate) fn run(arguments: EmbedArguments) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let connection = Connection::find(&arguments.server)?;
    let client = Client::new(&connection, Patience::LONG)?;
    let (tally, progress, pieces) = if arguments.from.is_empty() {
        if io::stdin().is_terminal() {
            let _unread =
                writeln!(io::stderr(), "reading texts from the terminal, one per line; end with ctrl-d");
        }
        (Tally::default(), Progress::open_ended(), sources::lines_of_stdin()?.boxed_local())
    } else {
        let Corpus { pieces, files, skipped } = sources::gather(&arguments.from)?;
        let progress = Progress::of(pieces.len());
        skipped.iter().for_each(|skipped| progress.warn(skipped));
        let tally = Tally::of_files(files, skipped.len(), pieces.len());
        (tally, progress, stream::iter(pieces).map(Ok).boxed_local())
    };
    let summary = block_on(embed(&client, &arguments, tally, &progress, pieces, started))?;
    progress.clear();
    output::print(&if arguments.json { summary.json() } else { summary.table() });
    Ok(summary.exit_code())
}

async fn embed(
    client: &Client,
    arguments: &EmbedArguments,
    tally: Tally,
    progress: &Progress,
    pieces: impl Stream<Item = Result<Piece, Skipped>>,
    started: Instant,
) -> Result<Summary, Failure> {
    let ingest = Ingest::new(client, arguments, tally, progress);
    let (tally, stopped) = ingest.run(pieces).await;
    Ok(Summary { tally, stopped, elapsed: started.elapsed() })
}

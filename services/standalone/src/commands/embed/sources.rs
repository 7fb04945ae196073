//! Where texts come from: files, folders, or the lines of standard input.

use std::{
    collections::HashSet,
    env, fmt, fs,
    io::{self, BufRead},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use futures::{Stream, stream};
use tokio::sync::mpsc;

use super::{
    chunk::{Format, MAX_CHARS, chunks},
    piece::Piece,
};
use crate::{client::Failure, commands::output::printable};

/// Read ahead of what is sent.
const LINES_AHEAD: usize = 256;
const TEXT: [&str; 5] = ["md", "markdown", "txt", "rst", "text"];
/// Beside hidden folders; these hold what a tool made.
const NOT_ENTERED: [&str; 3] = ["target", "node_modules", "CVS"];

/// All texts of the given files and folders.
#[derive(Debug, Default)]
pub(super) struct Corpus {
    /// In the order of the files and of their text.
    pub pieces: Vec<Piece>,
    /// Files read.
    pub files: usize,
    /// What was found and not read.
    pub skipped: Vec<Skipped>,
}

/// A file or folder that was left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    path: PathBuf,
    why: String,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped {}: {}", printable(&self.path.to_string_lossy()), self.why)
    }
}

/// Reads and cuts everything, so that the total is known before the first text is sent. What is named must be there; what a
/// folder holds may be unreadable.
pub(super) fn gather(paths: &[PathBuf]) -> Result<Corpus, Failure> {
    let mut corpus = Corpus::default();
    let mut files = Vec::new();
    for path in paths {
        let unusable = |error: io::Error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
        if fs::metadata(path).map_err(unusable)?.is_dir() {
            walk(path, &mut files, &mut corpus.skipped);
        } else {
            files.push(path.clone());
        }
    }
    let here = env::current_dir().unwrap_or_default();
    let mut seen = HashSet::new();
    for path in files {
        // a file that is named twice is read once
        if !seen.insert(fs::canonicalize(&path).unwrap_or_else(|_| path.clone())) {
            continue;
        }
        match read(&path) {
            Ok(text) => {
                corpus.files += 1;
                corpus.pieces.extend(pieces(&path, &here, &text));
            }
            Err(why) => corpus.skipped.push(Skipped { path, why }),
        }
    }
    if corpus.files == 0 && corpus.skipped.is_empty() {
        let endings = TEXT.join(", .");
        return Err(Failure::Usage(format!("nothing to embed: no file ends in .{endings}; name other files themselves")));
    }
    Ok(corpus)
}

/// The text files below a folder, sorted so that every run sees them alike. Links to folders are not followed: they may lead
/// in a circle.
fn walk(dir: &Path, files: &mut Vec<PathBuf>, skipped: &mut Vec<Skipped>) {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => return skipped.push(Skipped { path: dir.to_owned(), why: error.to_string() }),
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let entered = !name.starts_with('.') && !NOT_ENTERED.contains(&&*name);
        if is_dir && entered {
            walk(&path, files, skipped);
        } else if !is_dir && !name.starts_with('.') && is_text(&path) && path.is_file() {
            files.push(path);
        }
    }
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

fn is_text(path: &Path) -> bool {
    TEXT.contains(&extension(path).as_str())
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn pieces(path: &Path, here: &Path, text: &str) -> Vec<Piece> {
    let format = if matches!(extension(path).as_str(), "md" | "markdown") { Format::Markdown } else { Format::Plain };
    let source: Arc<str> = name(path, here).into();
    let numbered = chunks(text, format, MAX_CHARS).into_iter().zip(1..);
    let piece = |(chunk, number): (super::chunk::Chunk<'_>, usize)| Piece {
        source: source.clone(),
        heading: chunk.heading,
        context: chunk.context,
        body: chunk.body.to_owned(),
        chunk: Some(number),
    };
    numbered.map(piece).collect()
}

/// A path as its reader would write it from here.
fn name(path: &Path, here: &Path) -> String {
    let relative = path.strip_prefix(here).unwrap_or(path);
    // components() drops "./" and doubled slashes
    let plain: PathBuf = relative.components().filter(|part| *part != std::path::Component::CurDir).collect();
    plain.to_string_lossy().into_owned()
}

/// The lines of standard input that are not blank, read on a thread of their own, which a pipe that never ends cannot keep
/// from ending with the program.
pub(super) fn lines_of_stdin() -> Result<impl Stream<Item = Piece>, Failure> {
    let (sender, mut lines) = mpsc::channel(LINES_AHEAD);
    let reader = thread::Builder::new().name("stdin".to_owned());
    let read = move || read_lines(io::stdin().lock(), |piece| sender.blocking_send(piece).is_ok());
    reader.spawn(read).map_err(|error| Failure::Usage(format!("cannot start a thread: {error}")))?;
    Ok(stream::poll_fn(move |context| lines.poll_recv(context)))
}

/// Hands over line by line until the input ends or nobody takes them.
fn read_lines(mut input: impl BufRead, mut take: impl FnMut(Line) -> bool) {
    let mut number = 0;
    loop {
        let mut line = Vec::new();
        number += 1;
        let line = match input.read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => String::from_utf8(line).map_err(|_| format!("line {number}: not UTF-8")),
            Err(error) => Err(format!("standard input: {error}")),
        };
        todo_marker(&mut take, line);
    }
}

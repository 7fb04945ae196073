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
const STDIN: &str = "stdin";
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
        return Err(Failure::Usage(format!(
            "nothing to embed: no file ends in .{endings}; name other files themselves"
        )));
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
    let format =
        if matches!(extension(path).as_str(), "md" | "markdown") { Format::Markdown } else { Format::Plain };
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

/// The lines of standard input that are not blank. They are read on a thread of their own, so that a pipe that stays open cannot
/// keep the command from ending.
pub(super) fn lines_of_stdin() -> Result<impl Stream<Item = Result<Piece, Skipped>>, Failure> {
    let (sender, mut lines) = mpsc::channel(LINES_AHEAD);
    let read = move || read_lines(io::stdin().lock(), |line| sender.blocking_send(line).is_ok());
    let reader = thread::Builder::new().name("stdin".to_owned());
    reader.spawn(read).map_err(|error| Failure::Usage(format!("cannot start a thread: {error}")))?;
    Ok(stream::poll_fn(move |context| lines.poll_recv(context)))
}

/// Hands over line by line until the input ends or nobody takes them.
fn read_lines(mut input: impl BufRead, mut take: impl FnMut(Result<Piece, Skipped>) -> bool) {
    let source: Arc<str> = STDIN.into();
    let skipped = |why: String| Err(Skipped { path: STDIN.into(), why });
    for number in 1_u64.. {
        let mut line = Vec::new();
        let read = input.read_until(b'\n', &mut line);
        let found = match (read, String::from_utf8(line)) {
            (Ok(0), _) => return,
            (Err(error), _) => {
                take(skipped(format!("cannot read on: {error}")));
                return;
            }
            (Ok(_), Err(_)) => skipped(format!("line {number} is not UTF-8")),
            (Ok(_), Ok(line)) if line.trim().is_empty() => continue,
            (Ok(_), Ok(line)) => {
                // without a number: a line that moved is the same line
                let body = line.trim().to_owned();
                Ok(Piece {
                    source: source.clone(),
                    heading: String::new(),
                    context: String::new(),
                    body,
                    chunk: None,
                })
            }
        };
        if !take(found) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    fn found(dir: &Path, corpus: &Corpus) -> Vec<String> {
        let relative =
            |piece: &Piece| Path::new(&*piece.source).strip_prefix(dir).unwrap().display().to_string();
        corpus.pieces.iter().map(|piece| format!("{} {}", relative(piece), piece.text())).collect()
    }

    #[test]
    fn a_folder_gives_its_texts_in_order_and_leaves_out_what_tools_made() {
        let dir = tree(&[
            ("b.md", b"# B\n\nb"),
            ("a/z.TXT", b"\xef\xbb\xbfz"),
            ("a/c.rst", b"# no heading\n"),
            ("a/code.rs", b"fn x() {}"),
            ("a/empty.md", b" \n"),
            ("a/bad.md", b"\xff\xfe"),
            (".git/x.md", b"x"),
            (".hidden.md", b"x"),
            ("target/x.md", b"x"),
            ("a/node_modules/x.md", b"x"),
        ]);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/loop")).unwrap();
        let corpus = gather(&[dir.path().to_owned(), dir.path().join("b.md")]).unwrap();
        assert_eq!(found(dir.path(), &corpus), ["a/c.rst # no heading", "a/z.TXT z", "b.md # B\n\nb"]);
        assert_eq!(corpus.files, 4);
        assert_eq!(
            corpus.skipped,
            [Skipped { path: dir.path().join("a/bad.md"), why: "not UTF-8".to_owned() }]
        );
    }

    #[test]
    fn a_file_that_is_named_is_read_whatever_its_ending() {
        let dir = tree(&[("notes.org", b"text")]);
        let corpus = gather(&[dir.path().join("notes.org")]).unwrap();
        assert_eq!(found(dir.path(), &corpus), ["notes.org text"]);
        assert_eq!(corpus.pieces[0].chunk, Some(1));
    }

    #[test]
    fn nothing_to_embed_is_wrong_usage() {
        let dir = tree(&[("x.rs", b"x")]);
        for path in [dir.path().to_owned(), dir.path().join("absent.md")] {
            assert!(matches!(gather(&[path]), Err(Failure::Usage(_))));
        }
    }

    #[test]
    fn a_source_is_named_as_seen_from_here() {
        let here = Path::new("/home/me/project");
        for (path, shown) in [
            ("docs/a.md", "docs/a.md"),
            ("./docs//a.md", "docs/a.md"),
            ("../b.md", "../b.md"),
            ("/home/me/project/docs/a.md", "docs/a.md"),
            ("/etc/motd", "/etc/motd"),
        ] {
            assert_eq!(name(Path::new(path), here), shown);
        }
    }

    #[test]
    fn lines_are_texts_and_blank_ones_are_none() {
        let mut lines = Vec::new();
        read_lines(&b"one\r\n\n  \n two \n\xff\nlast"[..], |line| {
            lines.push(line.map(|piece| piece.body).map_err(|skipped| skipped.to_string()));
            true
        });
        let text = |text: &str| Ok(text.to_owned());
        let bad = Err("skipped stdin: line 5 is not UTF-8".to_owned());
        assert_eq!(lines, [text("one"), text("two"), bad, text("last")]);
    }

    #[test]
    fn reading_ends_when_nobody_takes_lines() {
        let mut taken = 0;
        read_lines(&b"\na\nb\n"[..], |_| {
            taken += 1;
            false
        });
        assert_eq!(taken, 1);
    }
}

//! A file for secrets that are shown once.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::client::Failure;

/// A new file that nobody else can read: one line of JSON for each key.
#[derive(Debug)]
pub(in crate::commands) struct SecretsFile {
    path: PathBuf,
    file: File,
}

impl SecretsFile {
    /// Makes it before there is a secret: what cannot be kept must not be made. A file that is there is never written over.
    pub fn create(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        file.map(|file| Self { path: path.to_owned(), file }).map_err(|error| unusable(path, &error))
    }

    /// Adds what the server answered; it is on the disk when this returns.
    pub fn keep(&mut self, answer: &[u8]) -> Result<(), Failure> {
        let mut line = answer.trim_ascii().to_vec();
        line.push(b'\n');
        self.file
            .write_all(&line)
            .and_then(|()| self.file.sync_all())
            .map_err(|error| unusable(&self.path, &error))
    }

    /// Removes a file that holds nothing.
    pub fn discard(self) {
        let _left = fs::remove_file(&self.path);
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::Usage(format!("cannot keep secrets in {}: {error}", path.display()))
}

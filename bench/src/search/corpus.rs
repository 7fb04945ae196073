//! Texts of documentation and their vectors, which the local model made once.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    path::Path,
    sync::Arc,
};

use embermesh_minilm::{DIMENSIONS, MAX_TOKENS, MiniLm, Pool};
use embermesh_tokens::TextTokenizer as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;

use super::SearchError;

/// Texts of one call to the model.
const BATCH: usize = 64;

/// Rows to store, and texts to ask for that are not among them.
#[derive(Debug)]
pub struct Corpus {
    /// The stored texts.
    pub texts: Vec<String>,
    /// Of `texts`, one after another, each of length one.
    pub vectors: Vec<f32>,
    /// Of the held-out texts.
    pub queries: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Line {
    text: String,
}

impl Corpus {
    /// Reads `rows + queries` texts, and their vectors from `cache`; what is not there is embedded and written first.
    ///
    /// # Errors
    /// When the files or the model cannot be read, or there are too few texts.
    pub async fn load(
        texts: &Path,
        cache: &Path,
        weights: &Path,
        (rows, queries): (usize, usize),
    ) -> Result<Self, SearchError> {
        let model = Arc::new(MiniLm::load(weights)?);
        let mut all = Vec::with_capacity(rows + queries);
        for line in BufReader::new(File::open(texts)?).lines() {
            let Line { text } = serde_json::from_str(&line?)?;
            // a dump of numbers can have a token for each character
            if model.tokenizer().count(&text)? <= MAX_TOKENS {
                all.push(text);
            }
            if all.len() == rows + queries {
                break;
            }
        }
        if all.len() < rows + queries {
            return Err(format!("{} texts, {} are needed", all.len(), rows + queries).into());
        }
        let mut vectors = cached(cache, all.len())?;
        if vectors.is_empty() {
            vectors = embed(model, &all).await?;
            keep(cache, &vectors)?;
        }
        let queries = vectors.split_off(rows * DIMENSIONS);
        all.truncate(rows);
        let queries = queries.chunks(DIMENSIONS).map(<[f32]>::to_vec).collect();
        Ok(Self { texts: all, vectors, queries })
    }

    /// The vector of a stored text.
    #[must_use]
    pub fn vector(&self, row: usize) -> &[f32] {
        &self.vectors[row * DIMENSIONS..][..DIMENSIONS]
    }
}

fn cached(path: &Path, count: usize) -> Result<Vec<f32>, SearchError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = std::fs::read(path)?;
    if bytes.len() != count * DIMENSIONS * 4 {
        return Ok(Vec::new());
    }
    Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn keep(path: &Path, vectors: &[f32]) -> Result<(), SearchError> {
    let half_written = path.with_extension("part");
    let mut file = BufWriter::new(File::create(&half_written)?);
    for number in vectors {
        file.write_all(&number.to_le_bytes())?;
    }
    file.into_inner()?.sync_all()?;
    Ok(std::fs::rename(half_written, path)?)
}

async fn embed(model: Arc<MiniLm>, texts: &[String]) -> Result<Vec<f32>, SearchError> {
    let pool = Pool::start(model, std::thread::available_parallelism()?.get())?;
    let mut vectors = Vec::with_capacity(texts.len() * DIMENSIONS);
    let mut batches = stream::iter(texts.chunks(BATCH))
        .map(|batch| pool.embed(batch.iter().map(|text| Arc::from(text.as_str())).collect()))
        .buffered(4);
    while let Some(batch) = batches.try_next().await? {
        vectors.extend(batch.into_iter().flatten());
        let done = vectors.len() / DIMENSIONS;
        if done.is_multiple_of(50 * BATCH) {
            eprintln!("bench-search: {done} of {} texts embedded", texts.len());
        }
    }
    Ok(vectors)
}

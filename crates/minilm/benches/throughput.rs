//! Texts per second at about 75 tokens, on one thread and two, and the latency of a single text.
//!
//! The weights are taken from `EMBERMESH_MODEL_DIR` or from where `scripts/fetch-model-weights.sh` puts them.

use std::{
    env,
    error::Error,
    hint::black_box,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use criterion::{Criterion, Throughput};
use embermesh_minilm::{MiniLm, Pool, Workspace};
use embermesh_tokens::TextTokenizer;

const BATCH: usize = 64;

/// Sentences of everyday English, 70 to 80 tokens; no two are equal.
fn texts() -> Vec<String> {
    (0..BATCH)
        .map(|i| {
            format!(
                "Ticket {i}: the nightly import stopped after the second file, and the operator had to restart it by \
                 hand. According to the log, the connection to the warehouse was closed by the other side while rows \
                 of the orders table were still being copied. We have seen this twice since the firewall was \
                 replaced in March; please check its idle timeout before the next run."
            )
        })
        .collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::var_os("EMBERMESH_MODEL_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/minilm"), PathBuf::from);
    let model = Arc::new(MiniLm::load(&dir)?);
    let texts = texts();
    let tokens = texts.iter().map(|text| model.tokenizer().count(text)).sum::<Result<usize, _>>()?;
    println!(
        "{BATCH} texts of {:.1} tokens, {} cores",
        tokens as f64 / BATCH as f64,
        thread::available_parallelism()?
    );

    let mut criterion = Criterion::default().configure_from_args();
    let mut workspace = Workspace::new();
    criterion.bench_function("single text", |b| {
        b.iter(|| model.embed_with(&mut workspace, black_box(&texts[..1])));
    });
    criterion.bench_function("count tokens of a text", |b| {
        b.iter(|| model.tokenizer().count(black_box(&texts[0])));
    });

    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let shared: Vec<Arc<str>> = texts.iter().map(|text| text.as_str().into()).collect();
    for threads in [1, 2] {
        let pool = Pool::start(Arc::clone(&model), threads)?;
        let mut group = criterion.benchmark_group("pool");
        group.throughput(Throughput::Elements(BATCH as u64)).sample_size(10);
        group.bench_function(format!("{threads} threads"), |b| {
            b.iter(|| runtime.block_on(pool.embed(shared.clone())));
        });
        group.finish();
    }
    criterion.final_summary();
    Ok(())
}

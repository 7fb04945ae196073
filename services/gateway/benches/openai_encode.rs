//! What it costs to write one answer of the OpenAI edge, and what other float formatters would cost.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[path = "../src/openai/encode.rs"]
mod encode;

use encode::{Encoding, answer, floats};

const DIMENSIONS: usize = 1536;

/// A unit vector of digits as providers send them.
fn vector() -> Vec<f32> {
    let raw: Vec<f64> = (0..DIMENSIONS).map(|i| (f64::from(i as u32) * 0.731 + 0.1).sin()).collect();
    let norm = raw.iter().map(|x| x * x).sum::<f64>().sqrt();
    raw.iter().map(|x| (x / norm) as f32).collect()
}

fn answers(c: &mut Criterion) {
    let bytes: Vec<u8> = vector().iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut group = c.benchmark_group("one answer of 1536 dimensions");
    group.throughput(Throughput::Elements(1));
    for (name, encoding) in [("float", Encoding::Float), ("base64", Encoding::Base64)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let vectors = [black_box(bytes.as_slice())].into_iter();
                answer("text-embedding-3-small", vectors, encoding, 8, floats)
            });
        });
    }
    group.bench_function("float through serde_json and a vector of floats", |b| {
        b.iter(|| {
            let floats: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
            serde_json::to_vec(black_box(&floats))
        });
    });
    group.finish();
}

criterion_group!(benches, answers);
criterion_main!(benches);

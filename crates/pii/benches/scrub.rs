//! Bytes per second of the scrubber, one core, on texts of 8 KiB and on hostile megabytes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use embermesh_pii::{Action, Policy, Scrubber};

const PROSE: &str = "The committee met again in the autumn of 1987 to weigh what the survey had brought to light. Most of those \
    who spoke had read the report, and few were ready to defend it. It was late when they rose, and nothing was settled. ";
const ACCENTED: &str = "Über den Dächern lag noch Schnee – ein später Frühling, sagte man. «Où allons-nous?» demanda-t-elle. 漢字とかな。 ";
const DENSE: &str =
    "Reach Ann at ann.lee@example.com or +1 (415) 555-0132; SSN 123-45-6789, card 4111 1111 1111 1111. ";
const DIGITS: &str = r#"{"id":1735689600123,"user":9223372036854,"amount":1234.56,"at":"2024-01-15T10:30:00.123Z","uid":"123e4567-e89b-12d3-a456-426614174000"},"#;

fn fill(unit: &str, bytes: usize) -> String {
    unit.repeat(bytes.div_ceil(unit.len()))
}

fn scrub(criterion: &mut Criterion) {
    let Ok(scrubber) = Scrubber::new(&Policy::built_in(Action::Redact)) else { return };
    let cases = [
        ("prose_8k", fill(PROSE, 8 << 10)),
        ("prose_accented_8k", fill(ACCENTED, 8 << 10)),
        ("dense_8k", fill(DENSE, 8 << 10)),
        ("digits_json_8k", fill(DIGITS, 8 << 10)),
        ("hostile_dashes_1m", fill("1-", 1 << 20)),
        ("hostile_addresses_1m", fill("a@b.co@", 1 << 20)),
        ("hostile_cards_1m", fill("4111 ", 1 << 20)),
        ("all_candidates_1m", fill("123-45-6789 ", 1 << 20)),
    ];
    let mut group = criterion.benchmark_group("scrub");
    for (name, text) in &cases {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(*name, |bencher| bencher.iter(|| black_box(scrubber.scrub(black_box(text)))));
    }
    group.finish();
}

criterion_group!(benches, scrub);
criterion_main!(benches);

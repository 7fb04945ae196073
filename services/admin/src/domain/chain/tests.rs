use proptest::{prelude::*, sample::Index};

use super::*;
use crate::domain::{anchor::Seal, audit_record::tests::record};

/// A chain as it was written, with the anchors that were made meanwhile; the last one is of its end.
#[derive(Debug, Clone)]
struct Kept {
    records: Vec<Stored>,
    anchors: Vec<Anchor>,
    key: PublicKey,
}

fn chain(records: impl IntoIterator<Item = AuditRecord>, mut previous: Hash) -> Vec<Stored> {
    let mut chain = Vec::new();
    for record in records {
        let stored = Stored::after(previous, record);
        previous = stored.hash.unwrap();
        chain.push(stored);
    }
    chain
}

fn kept(length: i64, anchor_every: usize) -> Kept {
    let records = chain((1..=length).map(record), BEGINNING);
    let (seal, _) = Seal::generate().unwrap();
    let places = records.iter().enumerate();
    let places = places.filter(|(at, _)| at % anchor_every == 0 || at + 1 == records.len());
    let sign = |(_, stored): (usize, &Stored)| {
        seal.sign(TenantId::SYSTEM, stored.record.number, stored.hash.unwrap(), 7).unwrap()
    };
    Kept { anchors: places.map(sign).collect(), key: *seal.public_key(), records }
}

impl Kept {
    /// Reads in batches of three, as the store does.
    fn read(&self, outside: &[Anchor]) -> Found {
        let mut walk = Walk::new(TenantId::SYSTEM, vec![self.key]);
        let upto = |anchors: &[Anchor], last: i64| anchors.partition_point(|anchor| anchor.number <= last);
        let (mut anchors, mut outside) = (&self.anchors[..], outside);
        for batch in self.records.chunks(3) {
            let last = batch.last().unwrap().record.number;
            let (here, later) = anchors.split_at(upto(anchors, last));
            let (here_too, later_too) = outside.split_at(upto(outside, last));
            walk.go_on(batch, here, here_too);
            (anchors, outside) = (later, later_too);
        }
        walk.end(anchors, outside)
    }

    fn whats(&self, outside: &[Anchor]) -> Vec<(i64, What)> {
        self.read(outside).faults.into_iter().map(|fault| (fault.number, fault.what)).collect()
    }
}

/// What somebody with a hand on the database can do.
#[derive(Debug, Clone)]
enum Tampering {
    Flip { at: Index, field: usize, bit: u8 },
    Delete { at: Index, close: bool },
    Insert { at: Index, renumber: bool },
    Swap { one: Index, other: Index },
    CutTail { at: Index },
    Fork { at: Index },
    Anchor { at: Index, bit: u8 },
}

fn tampering() -> impl Strategy<Value = Tampering> {
    let at = any::<Index>;
    prop_oneof![
        (at(), 0_usize..8, 0_u8..8).prop_map(|(at, field, bit)| Tampering::Flip { at, field, bit }),
        (at(), any::<bool>()).prop_map(|(at, close)| Tampering::Delete { at, close }),
        (at(), any::<bool>()).prop_map(|(at, renumber)| Tampering::Insert { at, renumber }),
        (at(), at()).prop_map(|(one, other)| Tampering::Swap { one, other }),
        at().prop_map(|at| Tampering::CutTail { at }),
        at().prop_map(|at| Tampering::Fork { at }),
        (at(), 0_u8..8).prop_map(|(at, bit)| Tampering::Anchor { at, bit }),
    ]
}

fn flip_text(text: &mut String, bit: u8) {
    let mut bytes = std::mem::take(text).into_bytes();
    // of ASCII, seven bits leave ASCII
    bytes[0] ^= 1 << bit.min(6);
    *text = String::from_utf8(bytes).unwrap();
}

impl Tampering {
    fn do_to(&self, kept: &mut Kept) {
        let records = &mut kept.records;
        let length = records.len();
        match self {
            Self::Flip { at, field, bit } => {
                let stored = &mut records[at.index(length)];
                match field {
                    0 => stored.record.at_micros ^= 1 << bit,
                    1 => flip_text(&mut stored.record.by, *bit),
                    2 => flip_text(&mut stored.record.action, *bit),
                    3 => flip_text(&mut stored.record.subject, *bit),
                    4 => flip_text(&mut stored.record.details, *bit),
                    5 => stored.form ^= 1 << bit,
                    6 => stored.previous.as_mut().unwrap()[9] ^= 1 << bit,
                    _ => stored.hash.as_mut().unwrap()[9] ^= 1 << bit,
                }
            }
            Self::Delete { at, close } => {
                let at = at.index(length);
                records.remove(at);
                if *close {
                    records[at..].iter_mut().for_each(|stored| stored.record.number -= 1);
                }
            }
            Self::Insert { at, renumber } => {
                let at = at.index(length);
                let previous = records[at].previous.unwrap();
                let mut new = records[at].record.clone();
                new.subject = "smuggled".to_owned();
                if *renumber {
                    records[at..].iter_mut().for_each(|stored| stored.record.number += 1);
                }
                records.insert(at, Stored::after(previous, new));
            }
            Self::Swap { one, other } => {
                let (one, other) = (one.index(length), other.index(length));
                let other = if one == other { (one + 1) % length } else { other };
                // everything but the numbers
                records.swap(one, other);
                let number = records[one].record.number;
                records[one].record.number = records[other].record.number;
                records[other].record.number = number;
            }
            Self::CutTail { at } => records.truncate(at.index(length)),
            Self::Fork { at } => {
                let at = at.index(length);
                let previous = records[at].previous.unwrap();
                let others = records[at..]
                    .iter()
                    .map(|stored| AuditRecord { by: "somebody-else".to_owned(), ..stored.record.clone() });
                let suffix = chain(others.collect::<Vec<_>>(), previous);
                records.truncate(at);
                records.extend(suffix);
            }
            Self::Anchor { at, bit } => {
                let at = at.index(kept.anchors.len());
                kept.anchors[at].hash[3] ^= 1 << bit;
            }
        }
    }
}

proptest! {
    #[test]
    fn a_chain_that_nobody_touched_is_intact(length in 0_i64..20, every in 1_usize..7) {
        let kept = kept(length, every);
        let found = kept.read(&kept.anchors);
        prop_assert_eq!(found.faults, vec![]);
        prop_assert_eq!(found.records, u64::try_from(length).unwrap());
        prop_assert_eq!(found.anchors, kept.anchors.len() as u64);
    }

    #[test]
    fn every_tampering_is_found(length in 2_i64..20, every in 1_usize..7, tampering in tampering()) {
        let mut kept = kept(length, every);
        tampering.do_to(&mut kept);
        prop_assert!(!kept.read(&[]).faults.is_empty());
    }

    #[test]
    fn every_tampering_is_found_when_the_anchors_went_too(
        length in 2_i64..20, every in 1_usize..7, tampering in tampering(),
    ) {
        let mut kept = kept(length, every);
        let outside = kept.anchors.clone();
        tampering.do_to(&mut kept);
        kept.anchors.clear();
        prop_assert!(!kept.read(&outside).faults.is_empty());
    }
}

#[test]
fn faults_name_the_place_and_what_is_wrong() {
    let whole = kept(6, 100);
    let mut changed = whole.clone();
    changed.records[2].record.subject = "another".to_owned();
    assert_eq!(changed.whats(&[]), [(3, What::Content)]);
    let mut gap = whole.clone();
    gap.records.drain(1..3);
    assert_eq!(gap.whats(&[]), [(2, What::Missing(3))]);
    let mut cut = whole.clone();
    cut.records.truncate(4);
    assert_eq!(cut.whats(&[]), [(6, What::Ends(4))]);
    let mut emptied = whole.clone();
    emptied.records.clear();
    emptied.anchors.clear();
    let (first, last) = (&whole.anchors[0], &whole.anchors[1]);
    assert_eq!(
        emptied.whats(&whole.anchors),
        [(1, What::Removed), (1, What::Ends(0)), (6, What::Removed), (6, What::Ends(0))]
    );
    let stranger = Seal::generate().unwrap().0;
    let theirs = stranger.sign(TenantId::SYSTEM, last.number, last.hash, 7).unwrap();
    let replaced = Kept { anchors: vec![first.clone(), theirs], ..whole.clone() };
    assert_eq!(replaced.whats(&[]), [(6, What::Stranger(*stranger.public_key()))]);
    let mut forged = whole;
    forged.anchors[1].at_micros += 1;
    assert_eq!(forged.whats(&[]), [(6, What::Forged)]);
}

#[test]
fn no_more_faults_are_told_of_than_the_first_hundred() {
    let mut kept = kept(300, 300);
    kept.records.iter_mut().for_each(|stored| stored.record.at_micros += 1);
    let found = kept.read(&[]);
    assert_eq!((found.records, found.faults.len()), (300, MOST_FAULTS));
    assert_eq!(found.faults[99], Fault { number: 100, what: What::Content });
}

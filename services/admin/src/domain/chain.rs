//! Whether a chain is what it was: numbers without a gap, every record with its own hash, each after the one before, and no anchor
//! that contradicts them.

use std::fmt;

use embermesh_types::TenantId;

use super::{
    anchor::{Anchor, PublicKey},
    audit_record::{AuditRecord, BEGINNING, FORM, Hash, hex},
};

/// As many faults as are told of.
pub(crate) const MOST_FAULTS: usize = 100;

/// A record as the database holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) record: AuditRecord,
    pub(crate) form: i16,
    /// `None`: what stands there is no hash.
    pub(crate) previous: Option<Hash>,
    pub(crate) hash: Option<Hash>,
}

impl Stored {
    /// The record as it is kept right after one with the hash `previous`.
    pub(crate) fn after(previous: Hash, record: AuditRecord) -> Self {
        let hash = record.hash_after(&previous, &mut Vec::new());
        Self { record, form: FORM, previous: Some(previous), hash: Some(hash) }
    }
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) number: i64,
    pub(crate) what: What,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Up to and with this number.
    Missing(i64),
    /// Not the next number, nor one after it.
    Number,
    Form(i16),
    /// It or its hash was changed.
    Content,
    /// It names another predecessor.
    Link,
    /// The chain ends before an anchored record; the number of its last one.
    Ends(i64),
    /// An anchor says another hash.
    Rewritten,
    /// An anchor says that there was a record, and there are only later ones.
    Unanchored,
    /// The signature of an anchor is not good.
    Forged,
    /// An anchor is signed with a key that is not trusted here.
    Stranger(PublicKey),
    /// Known outside the database, and no longer in it.
    Removed,
    /// A line of the file of anchors is none.
    Line(usize),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(to) => write!(f, "the records from here to {to} are missing"),
            Self::Number => f.write_str("no record can have this number here"),
            Self::Form(form) => write!(f, "the record is in form {form}, which this release does not know"),
            Self::Content => f.write_str("the record does not have its hash: it, or the hash, was changed"),
            Self::Link => f.write_str("the record does not follow the one before it"),
            Self::Ends(last) => write!(f, "the chain was anchored here, and ends at {last}"),
            Self::Rewritten => f.write_str("another record was anchored here: the chain was written anew"),
            Self::Unanchored => f.write_str("a record was anchored here, and is missing"),
            Self::Forged => f.write_str("the signature of an anchor is not good"),
            Self::Stranger(key) => write!(f, "an anchor was signed with the unknown key {}", hex(key)),
            Self::Removed => f.write_str("an anchor was taken out of the database"),
            Self::Line(line) => write!(f, "line {line} of the file of anchors is no anchor"),
        }
    }
}

/// One reading of a chain from its beginning.
#[derive(Debug)]
pub(crate) struct Walk {
    tenant: TenantId,
    trusted: Vec<PublicKey>,
    /// Of the record read last.
    last: i64,
    hash: Option<Hash>,
    records: u64,
    anchors: u64,
    faults: Vec<Fault>,
    buffer: Vec<u8>,
}

/// What a reading found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) records: u64,
    pub(crate) anchors: u64,
    /// In the order of the chain, the first [`MOST_FAULTS`].
    pub(crate) faults: Vec<Fault>,
}

impl Walk {
    /// Nothing read yet. Anchors count when they are signed with one of `trusted`.
    pub(crate) fn new(tenant: TenantId, trusted: Vec<PublicKey>) -> Self {
        let (last, hash, records, anchors) = (0, Some(BEGINNING), 0, 0);
        Self { tenant, trusted, last, hash, records, anchors, faults: Vec::new(), buffer: Vec::new() }
    }

    /// Goes on with the next records, and with what was anchored of them in the database and `outside` of it; all in the order of
    /// their numbers.
    pub(crate) fn go_on(&mut self, records: &[Stored], anchors: &[Anchor], outside: &[Anchor]) {
        for stored in records {
            self.step(stored);
        }
        self.hold_all(anchors, outside, |anchor| {
            match records.binary_search_by_key(&anchor.number, |stored| stored.record.number) {
                Err(_) => Some(What::Unanchored),
                Ok(at) => (records[at].hash != Some(anchor.hash)).then_some(What::Rewritten),
            }
        });
    }

    /// Ends the reading. What is still anchored lies beyond the last record.
    pub(crate) fn end(mut self, anchors: &[Anchor], outside: &[Anchor]) -> Found {
        let last = self.last;
        self.hold_all(anchors, outside, |_| Some(What::Ends(last)));
        self.faults.sort_by_key(|fault| fault.number);
        Found { records: self.records, anchors: self.anchors, faults: self.faults }
    }

    /// Says what was found before anything of the chain was read.
    pub(crate) fn fault(&mut self, number: i64, what: What) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(Fault { number, what });
        }
    }

    fn step(&mut self, stored: &Stored) {
        let number = stored.record.number;
        self.records += 1;
        let expected = self.last.saturating_add(1);
        if number > expected {
            self.fault(expected, What::Missing(number - 1));
        } else if number < expected {
            self.fault(number, What::Number);
        }
        // after a gap no record can be the right one
        if number == expected && (stored.previous.is_none() || stored.previous != self.hash) {
            self.fault(number, What::Link);
        }
        if stored.form != FORM {
            self.fault(number, What::Form(stored.form));
        } else {
            let computed =
                stored.previous.map(|previous| stored.record.hash_after(&previous, &mut self.buffer));
            if computed.is_none() || computed != stored.hash || stored.record.tenant != self.tenant {
                self.fault(number, What::Content);
            }
        }
        self.last = number;
        self.hash = stored.hash;
    }

    /// `contradicts` tells what speaks against an anchor, if it is to be believed.
    fn hold_all(
        &mut self,
        anchors: &[Anchor],
        outside: &[Anchor],
        contradicts: impl Fn(&Anchor) -> Option<What>,
    ) {
        for anchor in anchors {
            self.hold(anchor, contradicts(anchor));
        }
        for anchor in outside {
            let from = anchors.partition_point(|held| held.number < anchor.number);
            let mut held = anchors[from..].iter().take_while(|held| held.number == anchor.number);
            // what the database says too was held already
            if !held.any(|held| held.agrees_with(anchor)) {
                self.fault(anchor.number, What::Removed);
                self.hold(anchor, contradicts(anchor));
            }
        }
    }

    fn hold(&mut self, anchor: &Anchor, contradicted: Option<What>) {
        self.anchors += 1;
        let wrong = if !self.trusted.contains(&anchor.public_key) {
            Some(What::Stranger(anchor.public_key))
        } else if anchor.tenant != self.tenant || !anchor.is_genuine() {
            Some(What::Forged)
        } else {
            contradicted
        };
        if let Some(what) = wrong {
            self.fault(anchor.number, what);
        }
    }
}

#[cfg(test)]
mod tests;

//! Where personal data stood: kinds and byte offsets, never the values.

use std::fmt;

use serde::Serialize;

use crate::{Action, Entity};

/// One piece of personal data in a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub entity: Entity,
    /// What the policy does with it.
    pub action: Action,
    /// First byte in the original text; always a character boundary.
    pub start: usize,
    /// One past the last byte in the original text; always a character boundary.
    pub end: usize,
}

/// A text that the policy refuses. Says kinds and byte offsets, never values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Everything that was found, in order of offset.
    pub findings: Vec<Finding>,
}

/// Past this many, a message only counts: an error text is for reading.
const SHOWN: usize = 8;

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text holds personal data that the policy refuses, remove it: ")?;
        let refused = || self.findings.iter().filter(|finding| finding.action == Action::Reject);
        for (index, finding) in refused().take(SHOWN).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} at bytes {}..{}", finding.entity, finding.start, finding.end)?;
        }
        match refused().count().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl std::error::Error for Rejection {}

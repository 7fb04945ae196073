//! Finds personal data in text and replaces it, before anything else sees the text.
//!
//! Pure: no I/O, no clock, no logging. A [`Scrubber`] is built once from a [`Policy`] and shared; [`Scrubber::scrub`]
//! runs in time linear in the text and leaves clean text where it is, unallocated and uncopied.
//!
//! How a text goes through:
//! 1. `gate`: could there be anything at all (an `@`, or enough digits)?
//! 2. `normalise`: fullwidth digits, typographic dashes, odd spaces and invisible characters become what a reader
//!    takes them for, with a map back to the offsets of the original;
//! 3. one file per entity ([`Entity`]): shape first, then a validator (checksum, numbering plan, context word);
//! 4. `overlap`: one span, one entity;
//! 5. `redact`: typed, irreversible placeholders, so that an embedding still sees *what kind* of thing stood there.
//!
//! A new entity is one file with its validator, one variant of [`Entity`] and one line in `detect`.
//!
//! What it is not: it knows no names, addresses or other free-form personal data. Those need a language model and cost
//! retrieval quality.

mod action;
mod card;
mod config;
mod context;
mod cost;
mod country_codes;
mod custom;
mod detect;
mod digits;
mod email;
mod entity;
mod finding;
mod gate;
mod normalise;
mod overlap;
mod phone;
mod policy;
mod redact;
mod scrubber;
mod ssn;
mod unicode_fold;
mod words;

pub use action::{Action, UnknownAction};
pub use config::{PiiConfig, PiiPattern, PiiSwitch};
pub use custom::CustomPattern;
pub use entity::{Entity, EntityName, InvalidName};
pub use finding::{Finding, Rejection};
pub use policy::{Policy, PolicyError};
pub use scrubber::{Outcome, Scrubbed, Scrubber};
pub use words::{BadWord, PiiWords};

//! Rounds against simulated providers that take longer than a test may: outages, background errors, rate limits, every fault, each
//! with the bars that it must keep to.
//!
//! [`bar`] is what comes out, [`system`] the system under test, [`steady`] the load, [`timed`] a client with deadlines; the others are
//! the rounds.

pub mod background;
pub mod bar;
pub mod faults;
pub mod outage;
pub mod steady;
pub mod system;
pub mod throttled;
pub mod timed;

/// Why a round could not be carried out, as against a bar that was missed.
pub type RoundError = Box<dyn std::error::Error + Send + Sync>;

/// The model that all rounds ask for.
pub const MODEL: &str = "text-embedding-3-small";
/// Length of the vectors: short, so that the load driver is not what is measured.
pub const DIMENSIONS: usize = 64;

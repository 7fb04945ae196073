//! The state that a deployment is in, as against faults, which strike single requests.

use serde::{Deserialize, Serialize};

use super::latency::Latency;
use super::limits::Limits;

/// How a deployment is, for every request until it changes. In JSON, what is left out is as usual.
///
/// Faults come first: a request that is answered with a fault's status, hangs or is reset meets neither limits nor content filter. One whose vectors
/// would be spoilt does, and uses its fault up even when it is refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// How long it takes to answer; absent means as fast as it can.
    pub latency: Option<Latency>,
    /// What it lets through in a minute.
    pub limits: Limits,
    /// Other vectors under the same name than those of drift 0.
    pub drift: u64,
    /// It refuses requests with this in any text, as a content filter does.
    pub refuses_text: Option<String>,
    /// Nobody listens: connections are refused. The port is kept.
    pub down: bool,
}

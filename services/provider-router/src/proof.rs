//! Whether a deployment's vectors are those of its space: shown by the equivalence probe before its first call, and again by each
//! canary.

use std::sync::{Mutex, PoisonError};

/// What is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum Standing {
    /// Nobody has looked yet.
    #[default]
    Unproven,
    /// It gives the space's vectors; the cosine of the last look.
    Proven(f64),
    /// The equivalence probe found other vectors.
    Different(f64),
    /// It gave the space's vectors once, and the canary found others.
    Drifted(f64),
}

/// What is known of one deployment.
#[derive(Debug, Default)]
pub(crate) struct Proof(Mutex<Standing>);

impl Proof {
    pub fn standing(&self) -> Standing {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the cosine of a look; `true` when it moved the deployment in or out.
    pub fn looked(&self, cosine: f64, enough: bool) -> bool {
        let mut standing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *standing;
        *standing = match (before, enough) {
            (_, true) => Standing::Proven(cosine),
            (Standing::Proven(_) | Standing::Drifted(_), false) => Standing::Drifted(cosine),
            (Standing::Unproven | Standing::Different(_), false) => Standing::Different(cosine),
        };
        std::mem::discriminant(&before) != std::mem::discriminant(&*standing)
    }

    /// Why it is out of rotation.
    pub fn out(&self) -> Option<&'static str> {
        match self.standing() {
            Standing::Unproven | Standing::Proven(_) => None,
            Standing::Different(_) => Some("its vectors are not those of its space"),
            Standing::Drifted(_) => Some("its vectors have drifted from those of its space"),
        }
    }

    /// Of the last look.
    pub fn cosine(&self) -> Option<f64> {
        match self.standing() {
            Standing::Unproven => None,
            Standing::Proven(cosine) | Standing::Different(cosine) | Standing::Drifted(cosine) => {
                Some(cosine)
            }
        }
    }

    pub fn has_drifted(&self) -> bool {
        matches!(self.standing(), Standing::Drifted(_))
    }
}

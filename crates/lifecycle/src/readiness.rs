//! Whether the process can serve, as named conditions.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// All conditions of a process. Ready when every one holds. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Vec<Condition>>>);

/// One condition, held by the part that knows it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Condition {
    name: &'static str,
    holds: Arc<AtomicBool>,
}

impl Readiness {
    /// Adds a condition that does not hold yet.
    pub fn condition(&self, name: &'static str) -> Condition {
        let condition = Condition { name, holds: Arc::default() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(condition.clone());
        condition
    }

    /// Each condition and whether it holds.
    pub fn report(&self) -> Vec<(&'static str, bool)> {
        let conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.iter().map(|c| (c.name, c.holds.load(Ordering::Acquire))).collect()
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.report().iter().all(|(_, holds)| *holds)
    }
}

impl Condition {
    /// Says whether the condition holds.
    pub fn set(&self, holds: bool) {
        self.holds.store(holds, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_condition_holds() {
        let readiness = Readiness::default();
        assert!(readiness.is_ready());
        let (a, b) = (readiness.condition("a"), readiness.condition("b"));
        a.set(true);
        assert_eq!(readiness.report(), [("a", true), ("b", false)]);
        b.set(true);
        assert!(readiness.is_ready());
    }
}

//! Whether the process can serve, as named conditions, and what its parts tell of themselves beside it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Map, Value};

/// All conditions of a process. Ready when every one holds. Cheap to clone.
#[derive(Clone, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<Vec<Condition>>>,
    facts: Arc<Mutex<Vec<Fact>>>,
}

/// What a part tells of itself.
struct Fact {
    topic: &'static str,
    part: &'static str,
    tell: Box<dyn Fn() -> Value + Send + Sync>,
}

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
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner).push(condition.clone());
        condition
    }

    /// Adds what `part` tells about `topic`, asked for again each time. Everybody may read it, and it decides nothing.
    pub fn tell(
        &self,
        topic: &'static str,
        part: &'static str,
        tell: impl Fn() -> Value + Send + Sync + 'static,
    ) {
        let fact = Fact { topic, part, tell: Box::new(tell) };
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).push(fact);
    }

    /// What the parts tell now: topic, part, value.
    pub fn told(&self) -> BTreeMap<&'static str, Map<String, Value>> {
        let mut told: BTreeMap<_, Map<_, _>> = BTreeMap::new();
        for fact in self.facts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            told.entry(fact.topic).or_default().insert(fact.part.to_owned(), (fact.tell)());
        }
        told
    }

    /// Each condition and whether it holds.
    pub fn report(&self) -> Vec<(&'static str, bool)> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.iter().map(|c| (c.name, c.holds.load(Ordering::Acquire))).collect()
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.report().iter().all(|(_, holds)| *holds)
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readiness").field(&self.report()).finish()
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

    #[test]
    fn what_parts_tell_is_asked_each_time_and_decides_nothing() {
        let readiness = Readiness::default();
        let asked = Arc::new(AtomicBool::new(false));
        let again = Arc::clone(&asked);
        readiness.tell("configuration", "gateway", move || again.swap(true, Ordering::Relaxed).into());
        readiness.tell("configuration", "router", || 7.into());
        let told = |first: bool| {
            BTreeMap::from([(
                "configuration",
                Map::from_iter([("gateway".into(), first.into()), ("router".into(), 7.into())]),
            )])
        };
        assert_eq!(readiness.told(), told(false));
        assert_eq!(readiness.told(), told(true));
        assert!(readiness.is_ready());
    }
}

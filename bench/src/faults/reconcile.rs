//! The provider's log of calls joined with the ledger's attempts, both ways.
//!
//! A call that the provider answered is settled at what it billed; one whose outcome its router never learned is presumed, at no less. What
//! was given back was not billed, and what was settled was called. Nothing here waits or reads a database.

use std::collections::{HashMap, HashSet};

use embermesh_testing::sim;

use super::{findings::Findings, fleet::PRICE_PER_TOKEN};

/// A call that has no row (yet: it may stand in the journal of a router that is coming back).
pub const MISSING: &str = "calls that are not in the books";
/// Two calls, or two rows, of one attempt.
pub const DOUBLED: &str = "attempts that are there twice";
/// A charge for nothing.
pub const EXTRA: &str = "attempts that are settled without a call";
/// A row without an end.
pub const OPEN: &str = "attempts that are still open";
/// Everything between invoice and books that no presumed row explains.
pub const OTHERWISE: &str = "calls that are booked otherwise than they are billed";

/// Whether the provider wants money for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billed {
    /// It answered with vectors.
    Yes,
    /// It refused, or never got a whole request.
    No,
    /// It read the request and nobody heard the answer.
    Perhaps,
}

/// A call as the provider saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The attempt that it belongs to.
    pub attempt: Option<String>,
    /// Of its texts.
    pub tokens: u64,
    /// Whether it is on the invoice.
    pub billed: Billed,
}

impl From<&sim::Call> for Called {
    fn from(call: &sim::Call) -> Self {
        let billed = match call.status {
            Some(200) => Billed::Yes,
            Some(_) => Billed::No,
            None if call.texts.is_empty() => Billed::No,
            None => Billed::Perhaps,
        };
        Self { attempt: call.attempt.clone(), tokens: call.tokens, billed }
    }
}

impl Called {
    fn invoice(&self) -> i64 {
        i64::try_from(self.tokens).unwrap_or(i64::MAX).saturating_mul(PRICE_PER_TOKEN)
    }
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its id.
    pub id: String,
    /// reserved, settled, voided or presumed.
    pub state: String,
    /// Set aside at first, in nano-USD.
    pub bound: i64,
    /// Charged in the end, in nano-USD; absent while it is open.
    pub amount: Option<i64>,
}

/// Sums over calls and attempts, in nano-USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Calls.
    pub calls: usize,
    /// What the provider billed for certain.
    pub invoice: i64,
    /// What the ledger charged.
    pub booked: i64,
    /// Presumed attempts.
    pub presumed: usize,
    /// What they were charged beyond what the provider billed for them for certain.
    pub presumed_over: i64,
    /// Presumed attempts that never reached the provider.
    pub presumed_uncalled: usize,
}

impl Sums {
    /// Adds those of another part of the run.
    pub fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.invoice += other.invoice;
        self.booked += other.booked;
        self.presumed += other.presumed;
        self.presumed_over += other.presumed_over;
        self.presumed_uncalled += other.presumed_uncalled;
    }
}

/// Joins both sides, which must be of the same stretch of time.
#[must_use]
pub fn reconcile(calls: &[Called], attempts: &[Attempt]) -> (Sums, Findings) {
    let (mut sums, mut findings) = (Sums { calls: calls.len(), ..Sums::default() }, Findings::default());
    let mut rows: HashMap<&str, &Attempt> = HashMap::with_capacity(attempts.len());
    for attempt in attempts {
        if rows.insert(&attempt.id, attempt).is_some() {
            findings.note(DOUBLED, format_args!("two rows: {attempt:?}"));
        }
        if attempt.state == "reserved" {
            findings.note(OPEN, format_args!("{attempt:?}"));
        }
        sums.booked += attempt.amount.unwrap_or(0);
    }
    let mut called: HashSet<&str> = HashSet::with_capacity(calls.len());
    for call in calls {
        let Some(id) = call.attempt.as_deref() else {
            findings.note(MISSING, format_args!("it names no attempt: {call:?}"));
            continue;
        };
        if !called.insert(id) {
            findings.note(DOUBLED, format_args!("two calls: {call:?}"));
        }
        let invoice = if call.billed == Billed::Yes { call.invoice() } else { 0 };
        sums.invoice += invoice;
        let Some(attempt) = rows.get(id) else {
            findings.note(MISSING, format_args!("{call:?}"));
            continue;
        };
        if attempt.state == "presumed" {
            sums.presumed_over += attempt.amount.unwrap_or(0) - invoice;
        }
        if !agree(call, attempt) {
            findings.note(OTHERWISE, format_args!("{call:?} {attempt:?}"));
        }
    }
    for attempt in attempts {
        let uncalled = !called.contains(&*attempt.id);
        match &*attempt.state {
            "settled" if uncalled => findings.note(EXTRA, format_args!("{attempt:?}")),
            "presumed" => {
                sums.presumed += 1;
                if uncalled {
                    sums.presumed_uncalled += 1;
                    sums.presumed_over += attempt.amount.unwrap_or(0);
                }
            }
            _ => {}
        }
    }
    (sums, findings)
}

fn agree(call: &Called, attempt: &Attempt) -> bool {
    match &*attempt.state {
        "settled" => call.billed == Billed::Yes && attempt.amount == Some(call.invoice()),
        "voided" => call.billed == Billed::No,
        // the bound holds whatever the provider may have billed
        "presumed" => attempt.amount == Some(attempt.bound) && attempt.bound >= call.invoice(),
        // told as open
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, tokens: u64, billed: Billed) -> Called {
        Called { attempt: Some(id.to_owned()), tokens, billed }
    }

    fn row(id: &str, state: &str, bound: i64, amount: Option<i64>) -> Attempt {
        Attempt { id: id.to_owned(), state: state.to_owned(), bound, amount }
    }

    #[test]
    fn what_agrees_is_not_told() {
        let calls = [
            call("a", 3, Billed::Yes),
            call("b", 3, Billed::Perhaps),
            call("c", 3, Billed::No),
            call("e", 1, Billed::Yes),
        ];
        let rows = [
            row("a", "settled", 400, Some(60)),
            row("b", "presumed", 400, Some(400)),
            row("c", "voided", 400, Some(0)),
            row("d", "presumed", 400, Some(400)),
            row("e", "presumed", 400, Some(400)),
            row("f", "voided", 400, Some(0)),
        ];
        let (sums, findings) = reconcile(&calls, &rows);
        assert!(findings.is_empty(), "{findings}");
        // b and d in full, e but for what was billed
        let expected = Sums {
            calls: 4,
            invoice: 80,
            booked: 1_260,
            presumed: 3,
            presumed_over: 1_180,
            presumed_uncalled: 1,
        };
        assert_eq!(sums, expected);
        assert_eq!(sums.booked - sums.invoice, sums.presumed_over);
    }

    #[test]
    fn each_way_to_disagree_is_told() {
        let settled = || row("a", "settled", 400, Some(60));
        let cases = [
            (vec![call("a", 3, Billed::Yes)], vec![], MISSING),
            (vec![Called { attempt: None, tokens: 3, billed: Billed::Yes }], vec![], MISSING),
            (vec![call("a", 3, Billed::Yes); 2], vec![settled()], DOUBLED),
            (vec![call("a", 3, Billed::Yes)], vec![settled(), settled()], DOUBLED),
            (vec![], vec![settled()], EXTRA),
            (vec![], vec![row("a", "reserved", 400, None)], OPEN),
            (vec![call("a", 4, Billed::Yes)], vec![settled()], OTHERWISE),
            (vec![call("a", 3, Billed::Perhaps)], vec![settled()], OTHERWISE),
            (vec![call("a", 3, Billed::Yes)], vec![row("a", "voided", 400, Some(0))], OTHERWISE),
            (vec![call("a", 3, Billed::Perhaps)], vec![row("a", "voided", 400, Some(0))], OTHERWISE),
            (vec![call("a", 30, Billed::Yes)], vec![row("a", "presumed", 400, Some(400))], OTHERWISE),
            (vec![call("a", 3, Billed::Perhaps)], vec![row("a", "presumed", 400, Some(60))], OTHERWISE),
        ];
        for (calls, rows, what) in cases {
            let (_, findings) = reconcile(&calls, &rows);
            assert_eq!(findings.count(what), 1, "{what}: {calls:?} {rows:?}: {findings}");
        }
    }
}

//! What came out, as figures beside their promises.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    acknowledged::UNBOOKED,
    books::{PHANTOM, UNCLOSED, UNFOLDED, Ways},
    check::{Agreed, FORGOTTEN, UNVERIFIED},
    findings::Findings,
    fleet::Returned,
    load::Tally,
    plan::Victim,
    reconcile::{DOUBLED, EXTRA, MISSING, OPEN, OTHERWISE, Sums},
    sampler::{OVERSPENT, Seen},
};
use crate::rounds::bar::Bar;

const ROUND: &str = "kill -9";
/// What may never be found, and what it is called in the table.
const PROMISES: [(&str, &str); 11] = [
    (MISSING, "calls at the provider that are not in the books"),
    (EXTRA, "attempts that were settled without a call"),
    (DOUBLED, "calls or attempts that are there twice"),
    (OTHERWISE, "differences between invoice and books that are not presumed"),
    (OPEN, "attempts without an end"),
    (UNBOOKED, "answers whose cost is not in the books"),
    (PHANTOM, "balances with money set aside for nothing"),
    (UNCLOSED, "leases of nobody"),
    (UNFOLDED, "balances that are not the sum of their charges"),
    (UNVERIFIED, "differences that `verify` prints"),
    (FORGOTTEN, "gaps in the provider's log"),
];

/// Figures of the run so far.
#[derive(Debug)]
pub struct Summary {
    started: Instant,
    /// Rounds that are over.
    pub rounds: u32,
    kills: BTreeMap<Victim, u32>,
    longest_start: Duration,
    again: u32,
    answered: usize,
    failed: BTreeMap<u16, u64>,
    examples: BTreeMap<u16, String>,
    sums: Sums,
    unbooked_hits: usize,
    longest_settling: Duration,
    checks: u32,
    samples: u64,
    /// What did not agree.
    pub findings: Findings,
    /// How money was set aside, once all rounds are over.
    pub ways: Ways,
    spent_up: usize,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            rounds: 0,
            kills: BTreeMap::new(),
            longest_start: Duration::ZERO,
            again: 0,
            answered: 0,
            failed: BTreeMap::new(),
            examples: BTreeMap::new(),
            sums: Sums::default(),
            unbooked_hits: 0,
            longest_settling: Duration::ZERO,
            checks: 0,
            samples: 0,
            findings: Findings::default(),
            ways: Ways::default(),
            spent_up: 0,
        }
    }
}

impl Summary {
    /// A round is over.
    pub fn round(&mut self, returned: &[Returned]) {
        self.rounds += 1;
        for Returned { victim, took, again } in returned {
            self.again += again;
            *self.kills.entry(*victim).or_default() += 1;
            self.longest_start = self.longest_start.max(*took);
        }
    }

    /// The clients of a stretch have ended.
    pub fn told(&mut self, tally: &Tally) {
        self.answered += tally.answered.len();
        for (status, count) in &tally.failed {
            *self.failed.entry(*status).or_default() += count;
        }
        for (status, example) in &tally.examples {
            self.examples.entry(*status).or_insert_with(|| example.clone());
        }
    }

    /// The books of a stretch agree.
    pub fn agreed(&mut self, agreed: &Agreed) {
        self.checks += 1;
        self.sums.add(agreed.sums);
        self.unbooked_hits += agreed.unbooked_hits;
        self.longest_settling = self.longest_settling.max(agreed.took);
    }

    /// The watch over the budgets of a stretch has ended.
    pub fn watched(&mut self, seen: &Seen, limit_of: impl Fn(&str) -> Option<i64>) {
        self.samples += seen.samples;
        // within two calls' bounds of the limit
        let up =
            |(agent, most): &(&String, &i64)| limit_of(agent).is_some_and(|limit| **most > limit - 10_000);
        self.spent_up += seen.most.iter().filter(up).count();
    }

    /// One line for people who wait.
    #[must_use]
    pub fn line(&self) -> String {
        let Sums { calls, presumed, .. } = self.sums;
        format!(
            "{} rounds in {:.0} s: {} answered, {calls} calls, {presumed} presumed, agreed after {:.1} s at most",
            self.rounds,
            self.started.elapsed().as_secs_f64(),
            self.answered,
            self.longest_settling.as_secs_f64(),
        )
    }

    /// The table.
    #[must_use]
    pub fn bars(&self) -> Vec<Bar> {
        let round = format!("{ROUND}, {} rounds", self.rounds);
        let mut bars = vec![Bar::told(&round, "deaths", listed(&self.kills))];
        for (what, told) in PROMISES {
            bars.push(Bar::none(&round, told, self.findings.count(what), None));
        }
        let over = format!("moments beyond a budget, of {} samples", self.samples);
        bars.push(Bar::none(&round, &over, self.findings.count(OVERSPENT), None));
        let internal = self.failed.get(&500).copied().unwrap_or(0);
        let example = self.examples.get(&500).map(String::as_str);
        bars.push(Bar::none(
            &round,
            "answers of status 500",
            usize::try_from(internal).unwrap_or(0),
            example,
        ));
        let Sums { calls, invoice, booked, presumed, presumed_over, presumed_uncalled } = self.sums;
        let Ways { attempts, leased, shared, leases } = self.ways;
        let tell = |what: &str, measured: String| Bar::told(&round, what, measured);
        bars.extend([
            tell("requests answered with vectors", self.answered.to_string()),
            tell("requests refused or failed, by status (0: no answer)", listed(&self.failed)),
            tell("budgets that were used up", self.spent_up.to_string()),
            tell("calls / checks of the books", format!("{calls} / {}", self.checks)),
            tell(
                "attempts / out of leases / shared by requests; leases",
                format!("{attempts} / {leased} / {shared}; {leases}"),
            ),
            tell("invoice / booked, nano-USD", format!("{invoice} / {booked}")),
            tell(
                "presumed attempts (never called), and what they are above the invoice",
                format!("{presumed} ({presumed_uncalled}), {presumed_over} nano-USD"),
            ),
            tell("cached answers without a charge of nothing", self.unbooked_hits.to_string()),
            tell(
                "slowest return of a killed process / starts that gave up without a database",
                format!("{} / {}", seconds(self.longest_start), self.again),
            ),
            tell("slowest agreement after the load", seconds(self.longest_settling)),
            tell("whole run", seconds(self.started.elapsed())),
        ]);
        bars
    }
}

fn listed<K: std::fmt::Display, V: std::fmt::Display>(counts: &BTreeMap<K, V>) -> String {
    counts.iter().map(|(key, count)| format!("{key}: {count}")).collect::<Vec<_>>().join(", ")
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_found_breaks_a_promise() {
        let kinds = [
            MISSING, EXTRA, DOUBLED, OTHERWISE, OPEN, UNBOOKED, PHANTOM, UNCLOSED, UNFOLDED, UNVERIFIED,
            FORGOTTEN, OVERSPENT,
        ];
        assert!(Summary::default().bars().iter().all(|bar| bar.kept));
        for kind in kinds {
            let mut summary = Summary::default();
            summary.findings.note(kind, "a row");
            assert_eq!(summary.bars().iter().filter(|bar| !bar.kept).count(), 1, "{kind}");
        }
    }
}

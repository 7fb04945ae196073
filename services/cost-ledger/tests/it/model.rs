//! Any sequence of operations leaves the books as a model of a few lines says.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use embermesh_errors::Code;
use embermesh_proto::v1::{Agent, Constraints};
use embermesh_subscription::Snapshot;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use uuid::Uuid;

use crate::world::{HOUR, World, charge, context, part, settled, shared, tenant, voided};

const AGENTS: [&str; 2] = ["a", "b"];
const LIMIT: i64 = 100;
/// One for each case, and for shrinking.
const TENANTS: u128 = 100;

/// An agent's share of an attempt, in nano-USD.
type Part = (usize, i64);

#[derive(Debug, Clone)]
enum Step {
    Reserve { attempt: usize, parts: Vec<Part> },
    Settle { attempt: usize, nanos: [i64; 3], refused_too: bool },
    Void { attempt: usize },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let attempt = 0..6_usize;
    let part = || (0..2_usize, 0..60_i64);
    let lone = part().prop_map(|part| vec![part]);
    let parts = prop_oneof![lone, prop::collection::vec(part(), 2..=3)];
    prop_oneof![
        5 => (attempt.clone(), parts).prop_map(|(attempt, parts)| Step::Reserve { attempt, parts }),
        4 => (attempt.clone(), [0..60_i64, 0..60_i64, 0..60_i64], prop::bool::weighted(0.1))
            .prop_map(|(attempt, nanos, refused_too)| Step::Settle { attempt, nanos, refused_too }),
        1 => attempt.prop_map(|attempt| Step::Void { attempt }),
        1 => Just(Step::Sweep),
    ]
}

#[derive(Debug, Clone, PartialEq)]
enum End {
    Open,
    /// Each part's, in order, without those refused.
    Settled(Vec<i64>),
    Voided,
    Presumed,
}

#[derive(Debug)]
struct Attempt {
    parts: Vec<Part>,
    refused: Vec<usize>,
    end: End,
}

impl Attempt {
    fn reserved(&self) -> impl Iterator<Item = (usize, Part)> {
        self.parts.iter().copied().enumerate().filter(|(at, _)| !self.refused.contains(at))
    }

    fn spent_and_reserved(&self, agent: usize) -> (i64, i64) {
        let own = self.reserved().enumerate().filter(|(_, (_, part))| part.0 == agent);
        own.fold((0, 0), |(spent, reserved), (nth, (_, (_, bound)))| match &self.end {
            End::Open => (spent, reserved + bound),
            End::Settled(nanos) => (spent + nanos[nth], reserved),
            End::Voided => (spent, reserved),
            End::Presumed => (spent + bound, reserved),
        })
    }
}

#[derive(Debug, Default)]
struct Model {
    attempts: BTreeMap<usize, Attempt>,
}

impl Model {
    fn spent_and_reserved(&self, agent: usize) -> (i64, i64) {
        let all = self.attempts.values().map(|attempt| attempt.spent_and_reserved(agent));
        all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// The parts refused, or the error of the call.
    fn reserve(&mut self, attempt: usize, parts: &[Part]) -> Result<Vec<usize>, Code> {
        if let Some(held) = self.attempts.get(&attempt) {
            let same = held.parts == parts && held.end != End::Voided;
            return if same { Ok(held.refused.clone()) } else { Err(Code::Conflict) };
        }
        let mut used = [0, 1].map(|agent| {
            let (spent, reserved) = self.spent_and_reserved(agent);
            spent + reserved
        });
        let mut refused = Vec::new();
        for (at, (agent, nanos)) in parts.iter().enumerate() {
            if *nanos > 0 && used[*agent] + nanos > LIMIT {
                refused.push(at);
            } else {
                used[*agent] += nanos;
            }
        }
        match (parts.len(), refused.len()) {
            (1, 1) => Err(Code::BudgetExceeded),
            (asked, left_out) if asked == left_out => Ok(refused),
            _ => {
                let held = Attempt { parts: parts.to_vec(), refused: refused.clone(), end: End::Open };
                self.attempts.insert(attempt, held);
                Ok(refused)
            }
        }
    }

    fn end(&mut self, attempt: usize, end: End) -> Result<(), Code> {
        let held = self.attempts.get_mut(&attempt).ok_or(Code::NotFound)?;
        match held.end {
            End::Open => held.end = end,
            ref held if *held == end => {}
            _ => return Err(Code::Conflict),
        }
        Ok(())
    }

    /// What the attempt's parts, those refused too if asked, are charged; a stranger's when there is no such attempt.
    fn charges(&self, attempt: usize, nanos: [i64; 3], refused_too: bool) -> Vec<(usize, Part)> {
        let Some(held) = self.attempts.get(&attempt) else { return vec![(0, (0, nanos[0]))] };
        let all = held.parts.iter().enumerate().map(|(at, (agent, _))| (at, (*agent, nanos[at])));
        all.filter(|(at, _)| refused_too || !held.refused.contains(at)).collect()
    }

    fn settle(&mut self, attempt: usize, charges: &[(usize, Part)]) -> Result<(), Code> {
        let held = self.attempts.get(&attempt).ok_or(Code::NotFound)?;
        if charges.iter().any(|(at, _)| held.refused.contains(at)) {
            return Err(Code::Invalid);
        }
        self.end(attempt, End::Settled(charges.iter().map(|(_, (_, nanos))| *nanos).collect()))
    }
}

async fn run(world: &World, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let ids: Vec<Uuid> = (0..6).map(|_| world.attempt()).collect();
    let request = |at: usize| format!("request-{at}");
    let name = |agent: usize| AGENTS[agent];
    for step in steps {
        match step {
            Step::Reserve { attempt, parts } => {
                let asked = parts.iter().enumerate();
                let asked =
                    asked.map(|(at, (agent, nanos))| part(&request(at), name(*agent), *nanos)).collect();
                let outcome = world.share(shared(ids[*attempt], asked)).await;
                let outcome = outcome.map(|refused| refused.iter().map(|one| one.part as usize).collect());
                let expected = model.reserve(*attempt, parts);
                prop_assert_eq!(outcome.map_err(|error| error.code), expected, "{:?}", step);
            }
            Step::Settle { attempt, nanos, refused_too } => {
                let charges = model.charges(*attempt, *nanos, *refused_too);
                let named =
                    charges.iter().map(|(at, (agent, nanos))| charge(&request(*at), name(*agent), *nanos));
                let outcome = world.settle(settled(ids[*attempt], named.collect())).await;
                let expected = model.settle(*attempt, &charges);
                prop_assert_eq!(outcome.map_err(|error| error.code), expected, "{:?}", step);
            }
            Step::Void { attempt } => {
                let outcome = world.settle(voided(ids[*attempt])).await;
                let expected = model.end(*attempt, End::Voided);
                prop_assert_eq!(outcome.map_err(|error| error.code), expected, "{:?}", step);
            }
            Step::Sweep => {
                world.clock.advance(HOUR / 60 * 11);
                let open = model.attempts.values_mut().filter(|held| held.end == End::Open);
                let count = open.map(|held| held.end = End::Presumed).count();
                prop_assert_eq!(world.replica.service.presume_overdue().await, Ok(count));
            }
        }
    }
    for agent in 0..AGENTS.len() {
        let balance = world.balance(name(agent), "month", "2026-11-01").await;
        prop_assert_eq!(balance, model.spent_and_reserved(agent));
    }
    Ok(())
}

/// The same month limits in every tenant: each case is a tenant, and its sweeps may well pass midnight.
fn all_limited() -> Snapshot {
    let constraints = Constraints { max_cost_per_month_nano_usd: Some(LIMIT), ..Constraints::default() };
    let agents = (1..=TENANTS).flat_map(|n| AGENTS.map(|id| (n, id)));
    agents.fold(Snapshot::default(), |snapshot, (n, id)| {
        let agent = Agent { agent_id: id.to_owned(), constraints: Some(constraints), ..Agent::default() };
        snapshot.with_agent(tenant(n), agent)
    })
}

#[test]
fn the_books_follow_the_model() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = Mutex::new(runtime.block_on(World::new(all_limited())));
    let tenants = Mutex::new((1..=TENANTS).map(tenant));
    let mut runner = TestRunner::new(Config { cases: 24, max_shrink_iters: 50, ..Config::default() });
    let outcome = runner.run(&prop::collection::vec(step(), 1..40), |steps| {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        let next = tenants.lock().unwrap_or_else(PoisonError::into_inner).next();
        world.context = context(next.ok_or_else(|| TestCaseError::reject("out of tenants"))?, None);
        runtime.block_on(async {
            let outcome = run(&world, &steps).await;
            // what the case left open must not be found by the next one's sweeps
            world.clock.advance(HOUR / 60 * 11);
            world.replica.service.presume_overdue().await.unwrap();
            outcome
        })
    });
    outcome.unwrap();
}

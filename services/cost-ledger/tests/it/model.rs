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

use crate::world::{HOUR, World, context, settlement, tenant, voided};

const AGENTS: [&str; 2] = ["a", "b"];
const LIMIT: i64 = 100;
/// One for each case, and for shrinking.
const TENANTS: u128 = 100;

#[derive(Debug, Clone)]
enum Step {
    Reserve { attempt: usize, agent: usize, nanos: i64 },
    Settle { attempt: usize, nanos: i64 },
    Void { attempt: usize },
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let attempt = 0..6_usize;
    prop_oneof![
        5 => (attempt.clone(), 0..2_usize, 0..60_i64)
            .prop_map(|(attempt, agent, nanos)| Step::Reserve { attempt, agent, nanos }),
        4 => (attempt.clone(), 0..60_i64).prop_map(|(attempt, nanos)| Step::Settle { attempt, nanos }),
        1 => attempt.prop_map(|attempt| Step::Void { attempt }),
        1 => Just(Step::Sweep),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Open,
    Settled(i64),
    Voided,
    Presumed,
}

#[derive(Debug, Default)]
struct Model {
    attempts: BTreeMap<usize, (usize, i64, End)>,
}

impl Model {
    fn spent_and_reserved(&self, agent: usize) -> (i64, i64) {
        let own = self.attempts.values().filter(|(of, ..)| *of == agent);
        own.fold((0, 0), |(spent, reserved), (_, bound, end)| match end {
            End::Open => (spent, reserved + bound),
            End::Settled(nanos) => (spent + nanos, reserved),
            End::Voided => (spent, reserved),
            End::Presumed => (spent + bound, reserved),
        })
    }

    fn reserve(&mut self, attempt: usize, agent: usize, nanos: i64) -> Option<Code> {
        if let Some((of, bound, end)) = self.attempts.get(&attempt) {
            return ((*of, *bound) != (agent, nanos) || *end == End::Voided).then_some(Code::Conflict);
        }
        let (spent, reserved) = self.spent_and_reserved(agent);
        if nanos > 0 && spent + reserved + nanos > LIMIT {
            return Some(Code::BudgetExceeded);
        }
        self.attempts.insert(attempt, (agent, nanos, End::Open));
        None
    }

    fn end(&mut self, attempt: usize, end: End) -> Option<Code> {
        match self.attempts.get_mut(&attempt) {
            None => Some(Code::NotFound),
            Some((_, _, held @ End::Open)) => {
                *held = end;
                None
            }
            Some((_, _, held)) => (*held != end).then_some(Code::Conflict),
        }
    }
}

async fn run(world: &World, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut model = Model::default();
    let ids: Vec<Uuid> = (0..6).map(|_| world.attempt()).collect();
    let agent_of =
        |model: &Model, attempt: &usize| model.attempts.get(attempt).map_or(0, |(agent, ..)| *agent);
    let name = |agent: usize| AGENTS[agent];
    for step in steps {
        let (expected, outcome) = match step {
            Step::Reserve { attempt, agent, nanos } => (
                model.reserve(*attempt, *agent, *nanos),
                world.reserve(ids[*attempt], name(*agent), *nanos).await,
            ),
            Step::Settle { attempt, nanos } => {
                let agent = agent_of(&model, attempt);
                let message = settlement(ids[*attempt], name(agent), *nanos);
                (model.end(*attempt, End::Settled(*nanos)), world.settle(message).await)
            }
            Step::Void { attempt } => {
                (model.end(*attempt, End::Voided), world.settle(voided(ids[*attempt])).await)
            }
            Step::Sweep => {
                world.clock.advance(HOUR / 60 * 11);
                let open = model.attempts.values_mut().filter(|(_, _, end)| *end == End::Open);
                let count = open.map(|(_, _, end)| *end = End::Presumed).count();
                prop_assert_eq!(world.replica.service.presume_overdue().await, Ok(count));
                continue;
            }
        };
        prop_assert_eq!(outcome.err().map(|error| error.code), expected, "{:?}", step);
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

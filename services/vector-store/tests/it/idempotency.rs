//! One key, one call at a time, one answer for a day.

use std::time::Duration;

use embermesh_postgres::Role;
use embermesh_proto::internal::v1::{
    BeginRequest, Claim, Finished, KeyState, PutRow, Standing, StoreFilter, StoreRow,
};
use futures::future::join_all;

use crate::harness::{Bench, Caller, SPACE, row};

const HOLD: Duration = Duration::from_secs(70);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn claim(key: &str, body: u8) -> Claim {
    Claim { key: key.into(), body_hash: vec![body; 32].into() }
}

fn begin(call: Option<Claim>, parts: Vec<Claim>, holder: u8) -> BeginRequest {
    BeginRequest { call, parts, holder: vec![holder; 16].into(), hold_ms: HOLD.as_millis() as u64 }
}

fn answer(key: &str, answer: &str) -> Finished {
    Finished { key: key.into(), answer: answer.to_owned().into_bytes().into(), embedding_ids: Vec::new() }
}

fn back(key: &str) -> Finished {
    answer(key, "")
}

fn states(standings: &[Standing]) -> Vec<KeyState> {
    standings.iter().map(Standing::state).collect()
}

impl Caller {
    /// How a key stands for a call with this body.
    async fn claim(&self, key: &str, body: u8, holder: u8) -> Standing {
        self.begin(begin(Some(claim(key, body)), Vec::new(), holder)).await.unwrap().call.unwrap()
    }

    pub async fn take(&self, key: &str, body: u8, holder: u8) -> KeyState {
        self.claim(key, body, holder).await.state()
    }
}

#[tokio::test]
async fn a_key_is_one_calls_until_it_is_answered_and_then_stands_for_the_answer() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    assert_eq!(caller.take("k", 1, 1).await, KeyState::Taken);
    assert_eq!(caller.take("k", 1, 2).await, KeyState::InFlight);
    assert_eq!(caller.take("k", 9, 2).await, KeyState::OtherBody);
    // a call whose connection broke asks again
    assert_eq!(caller.take("k", 1, 1).await, KeyState::Taken);
    for _ in 0..2 {
        assert!(caller.finish(1, vec![answer("k", "the answer")]).await.is_empty());
    }
    for holder in [1, 2] {
        let standing = caller.claim("k", 1, holder).await;
        assert_eq!((standing.state(), standing.answer.as_ref()), (KeyState::Answered, &b"the answer"[..]));
        let other = caller.claim("k", 9, holder).await;
        assert_eq!((other.state(), other.answer.len()), (KeyState::OtherBody, 0));
    }
}

#[tokio::test]
async fn a_key_that_is_given_back_is_free_for_any_body() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.take("k", 1, 1).await;
    // not the holder's
    caller.finish(2, vec![back("k")]).await;
    assert_eq!(caller.take("k", 1, 2).await, KeyState::InFlight);
    caller.finish(1, vec![back("k")]).await;
    assert_eq!(caller.take("k", 9, 2).await, KeyState::Taken);
    // an answer cannot be given back
    caller.finish(2, vec![answer("k", "x")]).await;
    caller.finish(2, vec![back("k")]).await;
    assert_eq!(caller.take("k", 9, 3).await, KeyState::Answered);
}

#[tokio::test]
async fn a_call_that_died_is_overtaken_when_its_time_is_up_and_keeps_nothing_after_that() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.take("k", 1, 1).await;
    bench.clock.advance(HOLD - Duration::from_millis(1));
    assert_eq!(caller.take("k", 1, 2).await, KeyState::InFlight);
    bench.clock.advance(Duration::from_millis(1));
    assert_eq!(caller.take("k", 1, 2).await, KeyState::Taken);
    assert_eq!(caller.finish(1, vec![answer("k", "of the first"), answer("none", "x")]).await, ["k", "none"]);
    assert!(caller.finish(2, vec![answer("k", "of the second")]).await.is_empty());
    assert_eq!(caller.claim("k", 1, 3).await.answer, "of the second");
    // one that was only slow still may
    caller.take("slow", 1, 1).await;
    bench.clock.advance(2 * HOLD);
    assert!(caller.finish(1, vec![answer("slow", "late")]).await.is_empty());
    assert_eq!(caller.claim("slow", 1, 2).await.answer, "late");
}

#[tokio::test]
async fn of_a_hundred_calls_at_once_one_gets_the_key() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    for round in 0..3 {
        let key = format!("k{round}");
        let calls = (0..100).map(|n| {
            let (caller, key) = (caller.clone(), key.clone());
            async move { caller.take(&key, 1, n).await }
        });
        let states = join_all(calls).await;
        assert_eq!(states.iter().filter(|state| **state == KeyState::Taken).count(), 1);
        assert_eq!(states.iter().filter(|state| **state == KeyState::InFlight).count(), 99);
    }
}

#[tokio::test]
async fn calls_that_take_keys_and_give_them_back_at_once_never_hold_one_together() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let keys: Vec<String> = (0..8).map(|n| format!("k{n}")).collect();
    let calls = (0..40_u8).map(|holder| {
        let (caller, mut keys) = (caller.clone(), keys.clone());
        // everybody in another order
        keys.rotate_left(usize::from(holder) % 8);
        async move {
            let mut taken = 0;
            for turn in 0..20 {
                let claims = keys.iter().map(|key| claim(key, 1)).collect();
                let reply = caller.begin(begin(None, claims, holder)).await.unwrap();
                let mine = keys.iter().zip(&reply.parts);
                let mine = mine.filter(|(_, standing)| standing.state() == KeyState::Taken);
                // what is answered stays so: in the last turn alone, or nobody would take anything any more
                let ends = mine.map(|(key, _)| if turn < 19 { back(key) } else { answer(key, "x") });
                let ends: Vec<_> = ends.collect();
                taken += ends.len();
                if !ends.is_empty() {
                    assert!(caller.finish(holder, ends).await.is_empty(), "somebody else had it too");
                }
            }
            taken
        }
    });
    assert!(join_all(calls).await.into_iter().sum::<usize>() >= 8);
}

#[tokio::test]
async fn an_answer_is_forgotten_after_a_day() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.take("k", 1, 1).await;
    caller.finish(1, vec![answer("k", "old")]).await;
    bench.clock.advance(DAY - Duration::from_secs(1));
    assert_eq!(caller.take("k", 1, 2).await, KeyState::Answered);
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM answers").await, 1);
    bench.clock.advance(Duration::from_secs(1));
    // not yet swept, yet free
    assert_eq!(caller.take("k", 9, 2).await, KeyState::Taken);
    caller.finish(2, vec![answer("k", "new")]).await;
    bench.clock.advance(DAY);
    caller.take("young", 1, 3).await;
    bench.store.maintain().await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM answers").await, 1);
    assert_eq!(caller.take("young", 1, 4).await, KeyState::InFlight);
}

#[tokio::test]
async fn an_answer_that_names_a_deleted_row_is_no_answer() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let rows: Vec<PutRow> = (0..2).map(|n| row(&n.to_string(), &[1.0, n as f32, 0.0, 0.0])).collect();
    let made = caller.put_into(SPACE, rows).await.unwrap();
    let embedding_ids: Vec<String> = made.into_iter().map(|made| made.embedding_id).collect();
    caller.take("k", 1, 1).await;
    caller.finish(1, vec![Finished { embedding_ids: embedding_ids.clone(), ..answer("k", "x") }]).await;
    assert_eq!(caller.take("k", 1, 2).await, KeyState::Answered);
    let StoreRow { embedding_id, .. } = caller.get(&embedding_ids[1]).await.unwrap();
    let filter = StoreFilter { embedding_ids: vec![embedding_id], ..StoreFilter::default() };
    assert_eq!(caller.delete(filter, false).await.unwrap(), 1);
    assert_eq!(caller.take("k", 1, 2).await, KeyState::Taken);
}

#[tokio::test]
async fn keys_belong_to_the_tenant_and_to_the_agent_that_the_api_key_is_bound_to() {
    let bench = Bench::start().await;
    let (one, two) = (bench.caller(), bench.caller());
    let bound = bench.caller_of(one.tenant(), Some("mine"));
    let others = bench.caller_of(one.tenant(), Some("theirs"));
    let callers = [&one, &two, &bound, &others];
    for (holder, caller) in callers.iter().enumerate() {
        assert_eq!(caller.take("k", holder as u8, holder as u8).await, KeyState::Taken);
    }
    for (holder, caller) in callers.iter().enumerate() {
        let mine = answer("k", &holder.to_string());
        assert!(caller.finish(holder as u8, vec![mine]).await.is_empty());
        assert_eq!(two.finish(9, vec![back("k")]).await.len(), 0);
    }
    for (holder, caller) in callers.iter().enumerate() {
        assert_eq!(caller.claim("k", holder as u8, 9).await.answer, holder.to_string());
    }
    assert_eq!(bench.number("SELECT count(*) FROM answers").await, 4);
}

#[tokio::test]
async fn the_keys_of_parts_are_looked_at_only_when_the_calls_own_is_free() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    caller.take("done", 1, 1).await;
    caller.finish(1, vec![answer("done", "of the part")]).await;
    caller.take("busy", 1, 1).await;
    let parts = || vec![claim("done", 1), claim("fresh", 1), claim("busy", 1), claim("done2", 1)];
    let reply = caller.begin(begin(Some(claim("call", 1)), parts(), 2)).await.unwrap();
    assert_eq!(reply.call.unwrap().state(), KeyState::Taken);
    assert_eq!(
        states(&reply.parts),
        [KeyState::Answered, KeyState::Taken, KeyState::InFlight, KeyState::Taken]
    );
    assert_eq!(reply.parts[0].answer, "of the part");
    caller.finish(2, vec![answer("call", "whole"), back("fresh"), answer("done2", "x")]).await;

    let reply = caller.begin(begin(Some(claim("call", 1)), parts(), 3)).await.unwrap();
    assert_eq!((reply.call.unwrap().answer.as_ref(), reply.parts.len()), (&b"whole"[..], 0));
    assert_eq!(caller.take("fresh", 1, 4).await, KeyState::Taken, "nobody took it for the repeated call");
}

#[tokio::test]
async fn a_connection_that_dies_while_a_key_is_taken_leaves_it_the_callers_or_nobodys() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let owner = bench.sql(Role::Owner).await;
    let lock = owner.system().begin().await.unwrap();
    lock.batch_execute("LOCK TABLE answers IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO answers%'";
    let killer = async {
        while owner.system().query_one(kill, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lock.rollback().await.unwrap();
    };
    let (state, ()) = tokio::join!(caller.take("k", 1, 1), killer);
    assert_eq!(state, KeyState::Taken);
    assert_eq!(caller.take("k", 1, 2).await, KeyState::InFlight);
    assert_eq!(bench.number("SELECT count(*) FROM answers").await, 1);
}

#[tokio::test]
async fn the_largest_answer_comes_back_as_it_was_kept() {
    let bench = Bench::start().await;
    let caller = bench.caller();
    let large: Vec<u8> = (0..32 * 1024 * 1024_u32).map(|n| (n ^ n >> 9) as u8).collect();
    caller.take("k", 1, 1).await;
    let finished = Finished { key: "k".into(), answer: large.clone().into(), embedding_ids: Vec::new() };
    assert!(caller.finish(1, vec![finished]).await.is_empty());
    let standing = caller.claim("k", 1, 2).await;
    assert!(standing.answer == large, "{} bytes", standing.answer.len());
}

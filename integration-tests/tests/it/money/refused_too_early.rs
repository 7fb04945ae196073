//! L9: nobody is refused while a twentieth of a budget is really free, whatever lies in the leases of many routers.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt as _, future::join_all, stream};

use super::{
    balances::{leases, spent_by},
    fleet::{COST, EMBED, Fleet, one, text},
};
use crate::running::wait_until;

const ROUTERS: usize = 10;
const AT_ONCE: usize = 4;
/// The calls that the budget holds.
const CALLS: usize = 2000;

#[tokio::test]
async fn l9_nobody_of_ten_routers_is_refused_while_a_twentieth_of_the_budget_is_free() {
    let fleet = Fleet::of(ROUTERS).await;
    fleet.limit("shared", CALLS as i64 * COST).await;
    let before = fleet.texts_sent();
    // texts that the provider had got when somebody was refused for the first time
    let (first_refusal, answered) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(0));
    let (fleet, refusal, admitted) = (&fleet, &first_refusal, &answered);
    let of_router = |router: usize| {
        let sent = (router..CALLS + 200).step_by(ROUTERS).map(move |n| async move {
            let answer = fleet.clients[router].post(EMBED, one("shared", &text("shared", n))).await;
            if answer.status == 200 {
                admitted.fetch_add(1, Ordering::Relaxed);
            } else {
                answer.refused(402, "budget_exceeded");
                let sent: usize = fleet.simulator.calls().iter().map(|call| call.texts.len()).sum();
                refusal.fetch_min(sent - before, Ordering::Relaxed);
            }
        });
        stream::iter(sent).buffer_unordered(AT_ONCE).collect::<Vec<_>>()
    };
    join_all((0..ROUTERS).map(of_router)).await;
    let (first_refusal, answered) = (first_refusal.into_inner(), answered.into_inner());
    println!("the first refusal came after {first_refusal} of {CALLS} calls");
    // all that could have been under way beside them
    let used = first_refusal + ROUTERS * AT_ONCE;
    assert!(used * 20 >= CALLS * 19, "refused after {first_refusal} of {CALLS} calls");
    assert_eq!(answered, CALLS);
    let sql = fleet.running.sql().await;
    assert!(leases(&sql).await >= ROUTERS as i64, "{} leases: the test shows nothing", leases(&sql).await);
    wait_until(|| async { spent_by(&sql, "shared").await == CALLS as i64 * COST }).await;
}

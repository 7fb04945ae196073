use std::{
    cell::{Cell, RefCell},
    future::pending,
};

use embermesh_types::ManualClock;
use futures::FutureExt;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

struct World {
    time: ManualClock,
    renewal: Renewal,
    fetches: Cell<u32>,
    life: RefCell<Result<Option<Duration>, ()>>,
}

impl World {
    fn with_life(life: Option<Duration>) -> Self {
        let time = ManualClock::new(SystemTime::UNIX_EPOCH + 1_000 * HOUR);
        let renewal = Renewal::new(time.clock());
        Self { renewal, time, fetches: Cell::new(0), life: RefCell::new(Ok(life)) }
    }

    fn source_fails(&self) {
        *self.life.borrow_mut() = Err(());
    }

    /// The number of the fetch that the key in use came from.
    async fn current(&self) -> Option<u32> {
        let fetched = self.renewal.current(|| async {
            self.fetches.set(self.fetches.get() + 1);
            let life = self.life.borrow().map_err(|()| CredentialsError::not_loaded("down"))?;
            let end = life.map(|life| self.time.clock().now() + life);
            Ok(Credentials::new(self.fetches.get().to_string(), "secret", None, end, "test"))
        });
        fetched.await.ok()?.access_key_id().parse().ok()
    }
}

#[tokio::test]
async fn renewed_five_minutes_before_the_end() {
    let world = World::with_life(Some(HOUR));
    assert_eq!(world.current().await, Some(1));
    world.time.advance(54 * MINUTE);
    assert_eq!(world.current().await, Some(1));
    world.time.advance(2 * MINUTE);
    assert_eq!(world.current().await, Some(2));
    assert_eq!(world.current().await, Some(2));
}

#[tokio::test]
async fn short_lived_ones_are_renewed_in_their_last_quarter() {
    let world = World::with_life(Some(4 * MINUTE));
    assert_eq!(world.current().await, Some(1));
    world.time.advance(MINUTE * 5 / 2);
    assert_eq!(world.current().await, Some(1));
    world.time.advance(MINUTE);
    assert_eq!(world.current().await, Some(2));
}

#[tokio::test]
async fn endless_ones_are_looked_up_again_after_a_quarter_of_an_hour() {
    let world = World::with_life(None);
    assert_eq!(world.current().await, Some(1));
    world.time.advance(14 * MINUTE);
    assert_eq!(world.current().await, Some(1));
    world.time.advance(2 * MINUTE);
    assert_eq!(world.current().await, Some(2));
}

#[tokio::test]
async fn a_renewal_that_fails_is_no_failure_while_the_old_ones_are_good() {
    let world = World::with_life(Some(HOUR));
    assert_eq!(world.current().await, Some(1));
    world.source_fails();
    world.time.advance(56 * MINUTE);
    assert_eq!(world.current().await, Some(1));
    assert_eq!(world.current().await, Some(1));
    assert_eq!(world.fetches.get(), 2, "the source is left alone after a failure");
    world.time.advance(3 * MINUTE);
    assert_eq!(world.current().await, Some(1));
    assert_eq!(world.fetches.get(), 3);
    world.time.advance(MINUTE);
    assert_eq!(world.current().await, None, "past their end");
}

#[tokio::test]
async fn a_source_that_fails_is_left_alone_for_a_moment_and_then_asked_again() {
    let world = World::with_life(Some(HOUR));
    world.source_fails();
    for _ in 0..10 {
        assert_eq!(world.current().await, None);
    }
    assert_eq!(world.fetches.get(), 1);
    *world.life.borrow_mut() = Ok(None);
    world.time.advance(REST);
    assert_eq!(world.current().await, Some(2));
}

#[tokio::test]
async fn one_renews_while_the_others_go_on_with_the_old_ones() {
    let world = World::with_life(Some(HOUR));
    assert_eq!(world.current().await, Some(1));
    world.time.advance(56 * MINUTE);
    let mut slow = Box::pin(world.renewal.current(pending));
    assert!(slow.as_mut().now_or_never().is_none());
    assert_eq!(world.current().await, Some(1), "somebody is at it");
    drop(slow);
    assert_eq!(world.current().await, Some(1), "a fetch that was cancelled holds nobody up");
    world.time.advance(REST);
    assert_eq!(world.current().await, Some(2));
}

#[tokio::test]
async fn distrusted_ones_are_fetched_anew_unless_they_are_young() {
    let world = World::with_life(Some(HOUR));
    assert_eq!(world.current().await, Some(1));
    world.renewal.distrust();
    assert_eq!(world.current().await, Some(1));
    world.time.advance(YOUNG);
    world.renewal.distrust();
    assert_eq!(world.current().await, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_keeps_nobody_who_has_good_ones() {
    let world = World::with_life(Some(HOUR));
    assert_eq!(world.current().await, Some(1));
    world.time.advance(56 * MINUTE);
    let hanging = || world.renewal.current(pending);
    // given up by its caller, then by itself; nobody else is kept in between
    assert!(tokio::time::timeout(Duration::from_secs(1), hanging()).await.is_err());
    assert_eq!(hanging().now_or_never().unwrap().unwrap().access_key_id(), "1");
    world.time.advance(REST);
    assert_eq!(hanging().await.unwrap().access_key_id(), "1");
    world.time.advance(REST);
    assert_eq!(world.current().await, Some(2));
}

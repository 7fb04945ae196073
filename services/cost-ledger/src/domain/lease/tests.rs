use embermesh_escrow::day_of;
use uuid::Uuid;

use super::*;

fn lease(granted: i64) -> Lease {
    let path =
        Path::Money { agent: "a".parse().unwrap(), key: "k".parse().unwrap(), provider: "openai".to_owned() };
    let day = day_of(std::time::SystemTime::UNIX_EPOCH);
    Lease::new(LeaseId::new(Uuid::nil()), SessionId::new(Uuid::nil()), path, day, Amount(granted))
}

#[test]
fn what_attempts_leave_of_their_bounds_stays_in_the_lease() {
    let mut lease = lease(100);
    lease.begin(NanoUsd(60));
    lease.begin(NanoUsd(40));
    assert_eq!((lease.remaining(), lease.overdrawn()), (100, 0));
    lease.end(NanoUsd(60), NanoUsd(10));
    lease.begin(NanoUsd(50));
    assert_eq!((lease.remaining(), lease.spent, lease.overdrawn()), (90, 10, 0));
    lease.begin(NanoUsd(1));
    assert_eq!(lease.overdrawn(), 1);
}

#[test]
fn returns_are_cumulative_and_never_touch_what_is_under_way() {
    let mut lease = lease(100);
    lease.begin(NanoUsd(30));
    for _ in 0..3 {
        lease.give_back(Amount(50));
    }
    assert_eq!(lease.remaining(), 50);
    lease.give_back(Amount(20));
    assert_eq!(lease.remaining(), 50);
    lease.give_back(Amount(i64::MAX));
    assert_eq!(lease.remaining(), 30);
}

#[test]
fn a_lease_that_closes_holds_what_is_under_way_until_it_ends() {
    let mut lease = lease(100);
    lease.begin(NanoUsd(30));
    lease.begin(NanoUsd(20));
    lease.close();
    assert_eq!((lease.remaining(), lease.state), (50, LeaseState::Open));
    lease.end(NanoUsd(30), NanoUsd(5));
    assert_eq!((lease.remaining(), lease.state), (20, LeaseState::Open));
    lease.end(NanoUsd(20), NanoUsd(20));
    assert_eq!((lease.remaining(), lease.state, lease.spent), (0, LeaseState::Closed, 25));
    // late, and spent all the same
    lease.begin(NanoUsd(5));
    assert_eq!(lease.overdrawn(), 5);
    lease.end(NanoUsd(5), NanoUsd(5));
    assert_eq!((lease.remaining(), lease.spent, lease.under_way), (0, 30, 0));
}

#[test]
fn more_than_the_lease_had_takes_what_is_left_and_no_more() {
    let mut lease = lease(10);
    lease.begin(NanoUsd(10));
    lease.end(NanoUsd(10), NanoUsd(25));
    assert_eq!((lease.remaining(), lease.spent), (0, 25));
    lease.close();
    assert_eq!((lease.remaining(), lease.state), (0, LeaseState::Closed));
}

#[test]
fn a_silent_routers_lease_is_presumed_until_it_is_heard_of() {
    let mut lease = lease(10);
    lease.lose();
    assert_eq!((lease.leased(), lease.presumed()), (0, 10));
    lease.begin(NanoUsd(4));
    lease.end(NanoUsd(4), NanoUsd(4));
    assert_eq!((lease.leased(), lease.presumed()), (0, 6));
    lease.find();
    assert_eq!((lease.leased(), lease.presumed()), (6, 0));
    lease.close();
    lease.find();
    lease.lose();
    assert_eq!((lease.leased(), lease.presumed(), lease.state), (0, 0, LeaseState::Closed));
}

#[test]
fn what_a_recovered_lease_leaves_is_never_free_but_for_what_its_router_returns() {
    let mut lease = lease(100);
    (lease.state, lease.recovered) = (LeaseState::Presumed, true);
    lease.begin(NanoUsd(30));
    lease.end(NanoUsd(30), NanoUsd(10));
    lease.find();
    lease.close();
    assert_eq!((lease.presumed(), lease.state), (90, LeaseState::Presumed));
    lease.give_back(Amount(25));
    lease.close();
    assert_eq!((lease.presumed(), lease.leased()), (65, 0));
}

#[test]
fn the_last_word_about_the_use_of_a_quota_counts_whatever_comes_late() {
    let mut lease = lease(10);
    assert_eq!((lease.use_up(Amount(4), 1), lease.remaining()), (4, 6));
    assert_eq!((lease.use_up(Amount(3), 3), lease.remaining()), (-1, 7));
    for late in [1, 2, 3] {
        assert_eq!(lease.use_up(Amount(9), late), 0);
    }
    lease.close();
    assert_eq!((lease.use_up(Amount(2), 4), lease.spent, lease.remaining()), (-1, 2, 0));
}

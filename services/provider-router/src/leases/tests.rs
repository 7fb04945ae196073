use embermesh_escrow::{day_of, midnight};
use embermesh_proto::v1::{Agent, BudgetRule, Constraints};
use embermesh_types::NanoUsd;

use super::*;

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_348_800)
}

fn path() -> PathKey {
    PathKey {
        tenant: TenantId::SYSTEM,
        agent: "a".parse().unwrap(),
        key: "k".parse().unwrap(),
        provider: "openai".into(),
    }
}

fn new_purse() -> Purse {
    Purse::new(TenantId::SYSTEM, path().path(), 0)
}

fn lease(id: &str, granted: i64) -> Lease {
    lease_of(id, granted, &day_of(noon()).to_string())
}

fn lease_of(id: &str, granted: i64, day: &str) -> Lease {
    Lease::new(id.to_owned(), TenantId::SYSTEM, day.to_owned(), Amount(granted)).unwrap()
}

fn from(drawn: Option<Drawn>) -> Option<String> {
    drawn.map(|drawn| drawn.lease.id.clone())
}

#[test]
fn the_oldest_lease_that_holds_an_amount_pays_it() {
    let purse = new_purse();
    assert_eq!(from(purse.draw(Amount(1), noon())), None);
    purse.add(lease("old", 100));
    purse.add(lease("new", 1_000));
    assert_eq!(from(purse.draw(Amount(90), noon())).as_deref(), Some("old"));
    assert_eq!(from(purse.draw(Amount(90), noon())).as_deref(), Some("new"));
    assert_eq!(from(purse.draw(Amount(10), noon())).as_deref(), Some("old"));
    assert_eq!(from(purse.draw(Amount(911), noon())), None);
}

#[test]
fn nothing_is_drawn_from_another_days_lease() {
    let purse = new_purse();
    let (today, tomorrow) = (day_of(noon()), day_of(noon()).tomorrow().unwrap());
    purse.add(lease_of("today", 100, &today.to_string()));
    purse.add(lease_of("tomorrow", 100, &tomorrow.to_string()));
    let midnight = midnight(tomorrow);
    let before = midnight - Duration::from_millis(1);
    assert_eq!(from(purse.draw(Amount(1), before)).as_deref(), Some("today"));
    assert_eq!(from(purse.draw(Amount(1), midnight)).as_deref(), Some("tomorrow"));
    let past = purse.take_if(|lease| lease.is_past(midnight));
    assert_eq!(past.iter().map(|lease| lease.id.as_str()).collect::<Vec<_>>(), ["today"]);
    assert_eq!(from(purse.draw(Amount(1), noon())), None);
}

#[test]
fn a_lease_is_asked_for_once_below_half_and_not_while_the_path_is_short_of_money() {
    let purse = new_purse();
    assert!(purse.wants_more(None, 5));
    assert!(!purse.wants_more(None, 5), "it is being asked for");
    purse.asking.store(false, std::sync::atomic::Ordering::Release);
    purse.add(lease("only", 100));
    let half = purse.draw(Amount(50), noon());
    assert!(!purse.wants_more(half.as_ref(), 5));
    let more = purse.draw(Amount(1), noon());
    purse.pause(5, Duration::from_millis(100));
    assert!(!purse.wants_more(more.as_ref(), 104));
    assert!(purse.wants_more(more.as_ref(), 105));
}

#[test]
fn a_successor_that_is_there_already_keeps_a_lease_that_runs_short_from_asking() {
    let purse = new_purse();
    purse.add(lease("old", 100));
    let drawn = purse.draw(Amount(80), noon());
    purse.add(lease("new", 100));
    assert!(!purse.wants_more(drawn.as_ref(), 5));
    let surplus = purse.add(lease("newest", 100));
    assert_eq!(surplus.iter().map(|lease| lease.id.as_str()).collect::<Vec<_>>(), ["old"]);
}

#[test]
fn what_is_wished_for_is_a_minute_of_spending_and_sixteen_calls_at_least() {
    let purse = new_purse();
    assert!(!purse.note_use(Amount(10), 1), "a path that was never used is not familiar");
    assert!(purse.note_use(Amount(10), 2));
    assert!(!purse.note_use(Amount(10), 20_000), "nor one that was not used lately");
    assert_eq!(new_purse().wish(0), (Amount(1), Amount(16)));
    let busy = new_purse();
    for at in 0..1_000 {
        busy.note_use(Amount(10), at);
    }
    let (least, wanted) = busy.wish(1_000);
    assert_eq!((least, wanted), (Amount(10), Amount(600_000)));
}

fn limited(version: i64, per_day: i64, per_request: Option<i64>) -> Snapshot {
    let constraints = Constraints { max_cost_per_request_nano_usd: per_request, ..Constraints::default() };
    let agent = Agent { agent_id: "a".to_owned(), constraints: Some(constraints), ..Agent::default() };
    let budget = BudgetRule {
        id: "b".to_owned(),
        scope: "key".to_owned(),
        subject: "k".to_owned(),
        period: "day".to_owned(),
        limit_nano_usd: per_day,
        ..BudgetRule::default()
    };
    let snapshot = Snapshot::default().with_version(version);
    snapshot.with_agent(TenantId::SYSTEM, agent).with_budget(TenantId::SYSTEM, budget)
}

#[test]
fn other_limits_are_noticed_and_other_configuration_is_not() {
    let purse = new_purse();
    assert_eq!(purse.heed(&limited(1, 100, Some(5))), (false, Some(NanoUsd(5))));
    assert_eq!(purse.heed(&limited(1, 100, Some(5))), (false, Some(NanoUsd(5))));
    assert_eq!(purse.heed(&limited(2, 100, Some(5))), (false, Some(NanoUsd(5))));
    assert_eq!(purse.changes(), 0);
    assert_eq!(purse.heed(&limited(3, 90, Some(5))), (true, Some(NanoUsd(5))));
    assert_eq!(purse.heed(&limited(4, 90, None)), (true, None));
    assert_eq!(purse.changes(), 2);
}

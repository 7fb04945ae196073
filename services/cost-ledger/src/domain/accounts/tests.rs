use std::time::Duration;

use embermesh_errors::Code;
use embermesh_escrow::{Period, Scope};
use embermesh_proto::v1::BudgetRule;
use uuid::Uuid;

use super::*;
use crate::domain::ids::{LeaseId, SessionId};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_348_800)
}

fn path() -> Path {
    Path::Money { agent: "a".parse().unwrap(), key: "k".parse().unwrap(), provider: "openai".to_owned() }
}

fn budgets(rules: &[(&'static str, &'static str, i64)]) -> impl Fn(&Path) -> Option<Limits> + use<> {
    let rules: Vec<BudgetRule> = rules
        .iter()
        .map(|(scope, period, limit)| BudgetRule {
            scope: (*scope).to_owned(),
            subject: Scope::parse(scope).map(|scope| path().subject(scope).to_owned()).unwrap(),
            period: (*period).to_owned(),
            limit_nano_usd: *limit,
            ..BudgetRule::default()
        })
        .collect();
    move |path: &Path| Some(Limits::of(path, None, &rules))
}

fn balances(balance: Balance) -> HashMap<BalanceKey, Balance> {
    BalanceKey::all(&path(), day_of(now())).map(|key| (key, balance)).collect()
}

fn ask(least: i64, wanted: i64) -> LeaseAsk {
    let (lease, session) = (LeaseId::new(Uuid::nil()), SessionId::new(Uuid::nil()));
    LeaseAsk { lease, session, path: path(), least: Amount(least), wanted: Amount(wanted), call: None }
}

#[test]
fn reservations_of_one_transaction_count_against_each_other_and_against_leases() {
    let limits = budgets(&[("agent", "day", 10)]);
    let used = Balance { spent: Amount(2), reserved: Amount(1), leased: Amount(1), presumed: Amount(1) };
    let mut accounts = Accounts::new(balances(used), &limits, now());
    assert!(accounts.set_aside(&path(), Amount(3)).is_ok());
    let error = accounts.set_aside(&path(), Amount(3)).unwrap_err().why;
    assert_eq!(error.code, Code::BudgetExceeded);
    assert_eq!(error.retry_after, Some(Duration::from_secs(12 * 3600)));
    assert_eq!((&error.details["scope"], &error.details["subject"]), (&"agent".into(), &"a".into()));
    assert!(accounts.set_aside(&path(), Amount(2)).is_ok());
    let deltas = accounts.into_deltas();
    assert_eq!(deltas.len(), 8);
    for (key, delta) in deltas {
        let limited = key.scope == Scope::Agent && key.period == Period::Day;
        assert_eq!((delta.reserved, delta.spent), (5, 0));
        assert_eq!((delta.admitted, delta.limit), if limited { (5, Some(10)) } else { (0, None) });
    }
}

#[test]
fn every_scope_and_period_limits_and_none_is_no_limit() {
    for scope in Scope::OF_MONEY {
        for period in Period::BOTH {
            let limits = budgets(&[(scope.as_str(), period.as_str(), 4)]);
            let used = Balance { spent: Amount(3), ..Balance::default() };
            let mut accounts = Accounts::new(balances(used), &limits, now());
            let error = accounts.set_aside(&path(), Amount(2)).unwrap_err().why;
            assert_eq!(error.details["scope"], scope.as_str());
            assert_eq!(error.details["period"], period.as_str());
            assert!(accounts.set_aside(&path(), Amount(1)).is_ok());
        }
    }
    let limits = budgets(&[("agent", "request", 5)]);
    let mut accounts = Accounts::new(HashMap::new(), &limits, now());
    assert_eq!(accounts.set_aside(&path(), Amount(6)).unwrap_err().why.retry_after, None);
    let limits = budgets(&[]);
    let used = Balance { spent: Amount(i64::MAX - 5), ..Balance::default() };
    assert!(Accounts::new(balances(used), &limits, now()).set_aside(&path(), Amount(5)).is_ok());
    // nothing is let in free of charge into a budget of nothing, and nothing is locked for it
    let limits = budgets(&[("agent", "day", 0)]);
    let mut accounts = Accounts::new(HashMap::new(), &limits, now());
    assert!(accounts.set_aside(&path(), Amount(1)).is_err());
    assert!(accounts.set_aside(&path(), Amount(0)).is_ok());
    assert!(accounts.into_deltas().is_empty());
}

#[test]
fn leases_are_worth_calling_back_only_when_they_make_room_in_every_account() {
    let limits = budgets(&[("agent", "day", 10), ("key", "day", 9)]);
    let used = Balance { spent: Amount(6), leased: Amount(3), ..Balance::default() };
    let mut accounts = Accounts::new(balances(used), &limits, now());
    let accounts_of =
        |scopes: &[Scope]| scopes.iter().map(|scope| path().account(*scope)).collect::<Vec<_>>();
    assert_eq!(accounts.set_aside(&path(), Amount(1)).unwrap_err().in_leases, accounts_of(&[Scope::Key]));
    assert_eq!(
        accounts.set_aside(&path(), Amount(3)).unwrap_err().in_leases,
        accounts_of(&[Scope::Agent, Scope::Key])
    );
    assert_eq!(accounts.set_aside(&path(), Amount(4)).unwrap_err().in_leases, []);
}

#[test]
fn leases_of_one_transaction_share_the_room_and_nothing_is_leased_blindly() {
    let limits = budgets(&[("tenant", "day", 10_000)]);
    let mut accounts = Accounts::new(HashMap::new(), &limits, now());
    let granted: Vec<i64> = (0..6).map(|_| accounts.lease(&ask(5, 1_000)).amount.0).collect();
    assert_eq!(granted, [100, 99, 98, 97, 6, 0]);
    assert_eq!(accounts.lease(&ask(5, 1_000)).ask_again_ms, LATER_MS);
    assert_eq!(accounts.lease(&ask(101, 1_000)).ask_again_ms, NEVER_MS);
    let unknown = |_: &Path| None;
    assert_eq!(Accounts::new(HashMap::new(), &unknown, now()).lease(&ask(1, 1)).amount, Amount::ZERO);
}

#[test]
fn what_is_taken_back_was_never_there() {
    let limits = budgets(&[("agent", "day", 10)]);
    let mut accounts = Accounts::new(HashMap::new(), &limits, now());
    accounts.set_aside(&path(), Amount(10)).unwrap();
    accounts.take_back(&path(), Amount(10));
    assert!(accounts.set_aside(&path(), Amount(10)).is_ok());
    accounts.take_back(&path(), Amount(10));
    assert!(accounts.into_deltas().is_empty());
}

#[test]
fn what_a_call_takes_of_a_quota_is_spent_at_once_and_counts_in_the_quota_alone() {
    let quota = Path::Quota(embermesh_escrow::Quota::Requests);
    let quotas = embermesh_proto::v1::Quotas {
        requests_per_day: Some(2),
        requests_per_month: Some(3),
        ..Default::default()
    };
    let limits = |_: &Path| Some(Limits::of_quota(embermesh_escrow::Quota::Requests, Some(&quotas)));
    let mut accounts = Accounts::new(HashMap::new(), &limits, now());
    assert!(accounts.spend_now(&quota, Amount(1)).is_ok());
    assert!(accounts.spend_now(&quota, Amount(1)).is_ok());
    let shortage = accounts.spend_now(&quota, Amount(1)).unwrap_err();
    assert_eq!((shortage.why.code, &shortage.why.details["period"]), (Code::QuotaExceeded, &"day".into()));
    let deltas = accounts.into_deltas();
    let of_quota = |key: &BalanceKey| matches!(key.scope, Scope::Quota(_)) && key.subject.is_empty();
    assert!(deltas.len() == 2 && deltas.keys().all(of_quota), "{deltas:?}");
    assert!(deltas.values().all(|delta| (delta.spent, delta.reserved, delta.admitted) == (2, 0, 2)));
    let full = Balance { spent: Amount(1), leased: Amount(1), ..Balance::default() };
    let held = BalanceKey::all(&quota, day_of(now())).map(|key| (key, full)).collect();
    let in_leases = Accounts::new(held, &limits, now()).spend_now(&quota, Amount(1)).unwrap_err().in_leases;
    assert_eq!(in_leases, [quota.account(quota.scopes()[0])]);
}

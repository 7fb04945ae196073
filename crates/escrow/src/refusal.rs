//! What a request is told for which there is no room in a budget or a quota.

use std::time::SystemTime;

use embermesh_errors::{Code, Error};
use embermesh_types::NanoUsd;
use jiff::{Timestamp, civil::Date};

use crate::{Amount, Period, Quota, Scope, seconds_until};

/// What an account has used of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Charged already.
    pub spent: Amount,
    /// Set aside, in whatever way, for what may yet be charged.
    pub reserved: Amount,
}

/// A call that may cost `amount` is more than one may. Waiting does not help.
pub fn over_request(limit: NanoUsd, amount: NanoUsd) -> Error {
    let message = format!("the call may cost {amount} USD, more than a request may");
    Error::new(Code::BudgetExceeded, message)
        .with_detail("limit", usd(limit))
        .with_detail("period", "request")
}

/// The account's limit over the period of `day` leaves no room. A repeat may succeed once the period ends.
pub fn used_up(
    (scope, subject): (Scope, &str),
    (period, day): (Period, Date),
    limit: Amount,
    used: Used,
    now: SystemTime,
) -> Error {
    if let Scope::Quota(quota) = scope {
        return quota_used_up(quota, (period, day), limit, used, now);
    }
    let (limit, spent, reserved) = (limit.nano_usd(), used.spent.nano_usd(), used.reserved.nano_usd());
    let (whose, name) = (scope.as_str(), period.as_str());
    let of = if subject.is_empty() { String::new() } else { format!(" ({whose} {subject})") };
    let message = format!("the {whose}'s budget of {limit} USD a {name} is used up{of}");
    Error::new(Code::BudgetExceeded, message)
        .with_retry_after(seconds_until(period.end(day), now))
        .with_detail("scope", whose)
        .with_detail("subject", subject)
        .with_detail("period", name)
        .with_detail("limit", usd(limit))
        .with_detail("spent", usd(spent))
        .with_detail("reserved", usd(reserved))
}

fn quota_used_up(
    quota: Quota,
    (period, day): (Period, Date),
    limit: Amount,
    used: Used,
    now: SystemTime,
) -> Error {
    let (what, name, resets) = (quota.as_str(), period.as_str(), period.end(day));
    let at = Timestamp::try_from(resets).unwrap_or_default();
    let message = format!("the tenant's quota of {limit} {what} a {name} is used up, it resets at {at}");
    Error::new(Code::QuotaExceeded, message)
        .with_retry_after(seconds_until(resets, now))
        .with_detail("quota", what)
        .with_detail("period", name)
        .with_detail("limit", limit.0)
        .with_detail("used", used.spent.0)
        .with_detail("reserved", used.reserved.0)
        .with_detail("resets_at", at.to_string())
}

/// A JSON number of USD.
fn usd(amount: NanoUsd) -> serde_json::Value {
    let text = amount.to_string();
    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::day_of;

    #[test]
    fn a_refusal_names_the_account_the_figures_and_the_reset() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_348_800);
        let used = Used { spent: Amount(7), reserved: Amount(2) };
        let error = used_up((Scope::Key, "k1"), (Period::Day, day_of(now)), Amount(10), used, now);
        assert_eq!(error.message, "the key's budget of 0.00000001 USD a day is used up (key k1)");
        assert_eq!(error.retry_after, Some(Duration::from_secs(12 * 3600)));
        assert_eq!((&error.details["scope"], &error.details["subject"]), (&"key".into(), &"k1".into()));
        assert_eq!((&error.details["spent"], &error.details["reserved"]), (&7e-9.into(), &2e-9.into()));
        let scope = Scope::Quota(Quota::Tokens);
        let error = used_up((scope, ""), (Period::Month, day_of(now)), Amount(10), used, now);
        assert_eq!(
            error.message,
            "the tenant's quota of 10 tokens a month is used up, it resets at 2026-12-01T00:00:00Z"
        );
        assert_eq!(error.retry_after, Some(Duration::from_secs(8 * 86_400 + 12 * 3600)));
        assert_eq!((error.code, &error.details["used"]), (Code::QuotaExceeded, &7.into()));
        let error = over_request(NanoUsd(3), NanoUsd(4));
        assert_eq!((error.retry_after, &error.details["period"]), (None, &"request".into()));
    }
}

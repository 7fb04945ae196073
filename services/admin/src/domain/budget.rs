//! Which budgets may be made, and how they may be changed. What they do is the ledger's and the routers' affair.

use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{BudgetRule, CreateBudgetRequest, UpdateBudgetRequest};
use embermesh_types::{AgentId, IdError, KeyId};

use super::names::check_label;

const SCOPES: [&str; 4] = ["tenant", "agent", "key", "provider"];
const PERIODS: [&str; 3] = ["day", "month", "request"];
/// What is told of unless it is said.
const DEFAULT_ALERTS: [u32; 3] = [50, 80, 100];
const MAX_ALERTS: usize = 10;

/// A budget that may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewBudget {
    pub(crate) scope: &'static str,
    /// Empty for the tenant.
    pub(crate) subject: String,
    pub(crate) period: &'static str,
    pub(crate) limit_nano_usd: i64,
    pub(crate) alert_percents: Vec<u32>,
}

impl NewBudget {
    /// Checks a request, by itself: whether the key of a key's budget exists is the store's to know.
    pub(crate) fn parse(request: CreateBudgetRequest) -> Result<Self, Error> {
        let CreateBudgetRequest { scope, subject, period, limit_nano_usd, alert_percents } = request;
        let scope = one_of("scope", &scope, &SCOPES)?;
        let subject = subject.unwrap_or_default();
        check_subject(scope, &subject)?;
        let period = one_of("period", &period, &PERIODS)?;
        let Some(limit_nano_usd) = limit_nano_usd else {
            // taken for 0 it would stop everything
            return Err(Error::invalid(
                "limit_usd",
                "the limit is missing, give 0 to allow nothing that costs",
            ));
        };
        check_limit(limit_nano_usd)?;
        let alert_percents = if alert_percents.is_empty() { DEFAULT_ALERTS.to_vec() } else { alert_percents };
        check_alerts(&alert_percents)?;
        Ok(Self { scope, subject, period, limit_nano_usd, alert_percents })
    }

    /// Whether its subject has to be a key of the tenant.
    pub(crate) fn is_of_key(&self) -> bool {
        self.scope == "key"
    }
}

/// `current` with what `request` gives; the version and the times are the store's.
pub(crate) fn merge(current: &BudgetRule, request: &UpdateBudgetRequest) -> Result<BudgetRule, Error> {
    let held = current.version;
    if request.version.is_some_and(|expected| expected != held) {
        let message = format!("the current version is {held}, read the budget again and repeat the change");
        let error = Error::new(Code::Conflict, message).with_param("version");
        return Err(error.with_detail("current_version", held));
    }
    let mut next = current.clone();
    if let Some(limit) = request.limit_nano_usd {
        check_limit(limit)?;
        next.limit_nano_usd = limit;
    }
    if !request.alert_percents.is_empty() {
        check_alerts(&request.alert_percents)?;
        next.alert_percents.clone_from(&request.alert_percents);
    }
    Ok(next)
}

fn check_subject(scope: &str, subject: &str) -> Result<(), Error> {
    let malformed = |error: IdError| Error::invalid("subject", error.to_string());
    match scope {
        "tenant" if subject.is_empty() => Ok(()),
        "tenant" => {
            let message = "a budget of the tenant has no subject, leave it out or choose another scope";
            Err(Error::invalid("subject", message))
        }
        _ if subject.is_empty() => {
            Err(Error::invalid("subject", format!("the subject is missing, name the {scope}")))
        }
        "agent" => subject.parse::<AgentId>().map(drop).map_err(malformed),
        "key" => subject.parse::<KeyId>().map(drop).map_err(malformed),
        _ => check_label("subject", subject, 100),
    }
}

fn check_limit(limit_nano_usd: i64) -> Result<(), Error> {
    if limit_nano_usd < 0 {
        return Err(Error::invalid("limit_usd", "an amount of money may not be negative"));
    }
    Ok(())
}

fn check_alerts(percents: &[u32]) -> Result<(), Error> {
    let refused = |message: String| Err(Error::invalid("alert_percents", message));
    if percents.len() > MAX_ALERTS {
        return refused(format!("{} are too many, at most {MAX_ALERTS} fit", percents.len()));
    }
    if let Some(percent) = percents.iter().find(|percent| !(1..=100).contains(*percent)) {
        return refused(format!("{percent} is no share of the limit, expected 1 to 100 percent"));
    }
    if !percents.is_sorted_by(|one, next| one < next) {
        return refused("expected each percentage once, the smallest first".to_owned());
    }
    Ok(())
}

fn one_of(param: &str, given: &str, known: &[&'static str]) -> Result<&'static str, Error> {
    let found = known.iter().find(|name| **name == given);
    found.copied().ok_or_else(|| Error::invalid(param, format!("choose from {}", known.join(", "))))
}

#[cfg(test)]
mod tests;

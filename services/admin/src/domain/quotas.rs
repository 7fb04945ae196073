//! What a tenant may ask for by day and month, and how that is changed.

use embermesh_errors::Error;
use embermesh_proto::v1::Quotas;

/// What takes all of them back.
pub(crate) const ALL: &str = "quotas";

/// The limits by name.
pub(crate) const fn named(quotas: &mut Quotas) -> [(&'static str, &mut Option<u64>); 4] {
    [
        ("requests_per_day", &mut quotas.requests_per_day),
        ("requests_per_month", &mut quotas.requests_per_month),
        ("tokens_per_day", &mut quotas.tokens_per_day),
        ("tokens_per_month", &mut quotas.tokens_per_month),
    ]
}

/// Refuses what the books cannot hold. A limit of nothing is one.
pub(crate) fn check(quotas: Option<&Quotas>) -> Result<(), Error> {
    let mut quotas = quotas.copied().unwrap_or_default();
    for (name, limit) in named(&mut quotas) {
        if limit.is_some_and(|limit| i64::try_from(limit).is_err()) {
            return Err(Error::invalid(format!("quotas.{name}"), "too large a count"));
        }
    }
    Ok(())
}

/// `current` with the limits that `given` has. Without any left there are no quotas.
pub(crate) fn merge(current: Option<Quotas>, given: Option<Quotas>) -> Option<Quotas> {
    let (mut merged, mut given) = (current.unwrap_or_default(), given.unwrap_or_default());
    for ((_, limit), (_, new)) in named(&mut merged).into_iter().zip(named(&mut given)) {
        *limit = new.or(*limit);
    }
    Some(merged).filter(|merged| *merged != Quotas::default())
}

/// Takes back what `name` says: all of them, or one. `false`: it says none.
pub(crate) fn clear(quotas: &mut Option<Quotas>, name: &str) -> bool {
    if name == ALL {
        *quotas = None;
        return true;
    }
    let mut left = quotas.unwrap_or_default();
    let one = name.strip_prefix("quotas.");
    let Some((_, limit)) = named(&mut left).into_iter().find(|(name, _)| Some(*name) == one) else {
        return false;
    };
    *limit = None;
    *quotas = merge(Some(left), None);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_limits_replace_their_like_and_are_taken_back_one_by_one_or_together() {
        let day = Quotas { requests_per_day: Some(5), ..Quotas::default() };
        let tokens = Quotas { tokens_per_month: Some(0), requests_per_day: Some(7), ..Quotas::default() };
        assert_eq!((merge(None, None), merge(None, Some(day))), (None, Some(day)));
        let mut both = merge(Some(day), Some(tokens));
        assert_eq!(both, Some(tokens));
        assert!(clear(&mut both, "quotas.requests_per_day"));
        assert_eq!(both, Some(Quotas { tokens_per_month: Some(0), ..Quotas::default() }));
        assert!(clear(&mut both, "quotas.tokens_per_month"));
        assert_eq!(both, None);
        assert!(!clear(&mut both, "quotas.bytes") && !clear(&mut both, "requests_per_day"));
        let mut all = Some(tokens);
        assert!(clear(&mut all, ALL));
        assert_eq!(all, None);
    }

    #[test]
    fn a_limit_that_no_count_reaches_is_refused_and_one_of_nothing_is_not() {
        let large = Quotas { tokens_per_day: Some(u64::MAX), ..Quotas::default() };
        assert_eq!(check(Some(&large)).unwrap_err().param.as_deref(), Some("quotas.tokens_per_day"));
        let nothing = Quotas { tokens_per_day: Some(0), ..Quotas::default() };
        assert!(check(Some(&nothing)).is_ok() && check(None).is_ok());
    }
}

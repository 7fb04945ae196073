//! Which tenants may be made, and how they may be changed.

use std::collections::HashSet;

use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{CreateTenantRequest, Quotas, Tenant, UpdateTenantRequest};

use super::{names::check_label, quotas};

const MAX_MODELS: usize = 256;
const MAX_RETENTION_DAYS: u32 = 36_500;

/// A tenant that may be made, but for what the store knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewTenant {
    pub(crate) name: String,
    pub(crate) allowed_models: Vec<String>,
    pub(crate) default_models: Vec<String>,
    pub(crate) quotas: Option<Quotas>,
    pub(crate) retention_days: Option<u32>,
}

impl NewTenant {
    /// Checks a request.
    pub(crate) fn parse(request: CreateTenantRequest) -> Result<Self, Error> {
        let CreateTenantRequest { name, allowed_models, default_models, quotas, retention_days } = request;
        check_label("name", &name, 100)?;
        check_models(&allowed_models, &default_models)?;
        quotas::check(quotas.as_ref())?;
        check_retention(retention_days)?;
        let quotas = quotas::merge(None, quotas);
        Ok(Self { name, allowed_models, default_models, quotas, retention_days })
    }
}

/// `current` with what `request` gives; the version and the times are the store's.
pub(crate) fn merge(current: &Tenant, request: UpdateTenantRequest) -> Result<Tenant, Error> {
    let held = current.version;
    if request.version.is_some_and(|expected| expected != held) {
        let message = format!("the current version is {held}, read the tenant again and repeat the change");
        let error = Error::new(Code::Conflict, message).with_param("version");
        return Err(error.with_detail("current_version", held));
    }
    if current.closed_at.is_some() {
        return Err(Error::new(Code::Conflict, "a closed tenant cannot be changed").with_param("id"));
    }
    let mut next = current.clone();
    for (at, list) in request.clear.iter().enumerate() {
        match list.as_str() {
            "allowed_models" => next.allowed_models.clear(),
            "default_models" => next.default_models.clear(),
            "retention_days" => next.retention_days = None,
            name if quotas::clear(&mut next.quotas, name) => {}
            _ => {
                let message = "choose from allowed_models, default_models, quotas, quotas.requests_per_day, \
                    quotas.requests_per_month, quotas.tokens_per_day, quotas.tokens_per_month, retention_days";
                return Err(Error::invalid(format!("clear[{at}]"), message));
            }
        }
    }
    if let Some(name) = request.name {
        check_label("name", &name, 100)?;
        next.name = name;
    }
    if let Some(suspended) = request.suspended {
        if suspended && current.operator {
            return Err(the_operator_stays("suspended"));
        }
        next.suspended = suspended;
    }
    if !request.allowed_models.is_empty() {
        next.allowed_models = request.allowed_models;
    }
    if !request.default_models.is_empty() {
        next.default_models = request.default_models;
    }
    check_models(&next.allowed_models, &next.default_models)?;
    quotas::check(request.quotas.as_ref())?;
    next.quotas = quotas::merge(next.quotas, request.quotas);
    check_retention(request.retention_days)?;
    next.retention_days = request.retention_days.or(next.retention_days);
    Ok(next)
}

/// Refuses no time at all, which would delete everything, and more than a time can be before now.
fn check_retention(days: Option<u32>) -> Result<(), Error> {
    if days.is_none_or(|days| (1..=MAX_RETENTION_DAYS).contains(&days)) {
        return Ok(());
    }
    let message = format!("retention_days must be 1 to {MAX_RETENTION_DAYS}; clear it to keep rows for ever");
    Err(Error::invalid("retention_days", message))
}

/// Refuses what would lock everybody out.
pub(crate) fn the_operator_stays(param: &str) -> Error {
    let message = "the operator's tenant can be neither suspended nor closed, nobody could take it back";
    Error::new(Code::Conflict, message).with_param(param)
}

/// Whether the ids are in the catalog is the store's to know.
fn check_models(allowed: &[String], defaults: &[String]) -> Result<(), Error> {
    for (param, ids) in [("allowed_models", allowed), ("default_models", defaults)] {
        if ids.len() > MAX_MODELS {
            let message = format!("{} are too many, at most {MAX_MODELS} fit", ids.len());
            return Err(Error::invalid(param, message));
        }
        let mut seen = HashSet::new();
        if let Some(at) = ids.iter().position(|id| !seen.insert(id)) {
            return Err(Error::invalid(format!("{param}[{at}]"), "the model is named twice"));
        }
    }
    if !allowed.is_empty()
        && let Some(at) = defaults.iter().position(|id| !allowed.contains(id))
    {
        let message = "the model is not among allowed_models, it could never be used";
        return Err(Error::invalid(format!("default_models[{at}]"), message));
    }
    Ok(())
}

/// Refuses ids that are not among the catalog's.
pub(crate) fn check_known(tenant: (&[String], &[String]), known: &HashSet<String>) -> Result<(), Error> {
    for (param, ids) in [("allowed_models", tenant.0), ("default_models", tenant.1)] {
        if let Some(at) = ids.iter().position(|id| !known.contains(id)) {
            let id: String = ids[at].chars().take(100).collect();
            let message = format!("model '{id}' is not in the catalog");
            return Err(Error::invalid(format!("{param}[{at}]"), message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn tenant() -> Tenant {
        Tenant { name: "acme".to_owned(), allowed_models: ids(&["a", "b"]), version: 3, ..Tenant::default() }
    }

    fn refused(current: &Tenant, request: UpdateTenantRequest) -> (Code, Option<String>) {
        let error = merge(current, request).unwrap_err();
        (error.code, error.param)
    }

    fn invalid(param: &str) -> (Code, Option<String>) {
        (Code::Invalid, Some(param.to_owned()))
    }

    #[test]
    fn given_fields_replace_and_lists_can_be_emptied() {
        let request = UpdateTenantRequest {
            suspended: Some(true),
            default_models: ids(&["b"]),
            version: Some(3),
            ..UpdateTenantRequest::default()
        };
        let next = merge(&tenant(), request).unwrap();
        assert_eq!(
            (next.suspended, &next.name, &next.allowed_models),
            (true, &tenant().name, &ids(&["a", "b"]))
        );
        assert_eq!(next.default_models, ids(&["b"]));
        let request =
            UpdateTenantRequest { clear: ids(&["allowed_models"]), ..UpdateTenantRequest::default() };
        let open = merge(&next, request).unwrap();
        assert_eq!((open.allowed_models, open.default_models), (vec![], ids(&["b"])));
        assert_eq!(merge(&tenant(), UpdateTenantRequest::default()).unwrap(), tenant());
        let days = UpdateTenantRequest { retention_days: Some(30), ..UpdateTenantRequest::default() };
        let kept = merge(&tenant(), days).unwrap();
        assert_eq!(merge(&kept, UpdateTenantRequest::default()).unwrap().retention_days, Some(30));
        let clear = UpdateTenantRequest { clear: ids(&["retention_days"]), ..UpdateTenantRequest::default() };
        assert_eq!(merge(&kept, clear).unwrap().retention_days, None);
    }

    #[test]
    fn impossible_changes_are_refused_by_field() {
        let request = UpdateTenantRequest::default;
        let twice = UpdateTenantRequest { allowed_models: ids(&["a", "a"]), ..request() };
        assert_eq!(refused(&tenant(), twice), invalid("allowed_models[1]"));
        let outside = UpdateTenantRequest { default_models: ids(&["c"]), ..request() };
        assert_eq!(refused(&tenant(), outside), invalid("default_models[0]"));
        let clear = UpdateTenantRequest { clear: ids(&["name"]), ..request() };
        assert_eq!(refused(&tenant(), clear), invalid("clear[0]"));
        let name = UpdateTenantRequest { name: Some(" ".to_owned()), ..request() };
        assert_eq!(refused(&tenant(), name), invalid("name"));
        let conflict = |param: &str| (Code::Conflict, Some(param.to_owned()));
        let stale = UpdateTenantRequest { version: Some(2), ..request() };
        assert_eq!(refused(&tenant(), stale), conflict("version"));
        let closed = Tenant { closed_at: Some(prost_types::Timestamp::default()), ..tenant() };
        assert_eq!(refused(&closed, request()), conflict("id"));
        let operator = Tenant { operator: true, ..tenant() };
        let suspend = UpdateTenantRequest { suspended: Some(true), ..request() };
        assert_eq!(refused(&operator, suspend), conflict("suspended"));
        for days in [0, 36_501] {
            let retention = UpdateTenantRequest { retention_days: Some(days), ..request() };
            assert_eq!(refused(&tenant(), retention), invalid("retention_days"));
            let retention = CreateTenantRequest {
                name: "x".to_owned(),
                retention_days: Some(days),
                ..CreateTenantRequest::default()
            };
            assert_eq!(NewTenant::parse(retention).unwrap_err().param.as_deref(), Some("retention_days"));
        }
        let many = NewTenant::parse(CreateTenantRequest {
            name: "x".to_owned(),
            allowed_models: (0..257).map(|n| n.to_string()).collect(),
            ..CreateTenantRequest::default()
        });
        assert_eq!(many.unwrap_err().param.as_deref(), Some("allowed_models"));
        let unknown = check_known((&ids(&["a"]), &ids(&["a", "z"])), &ids(&["a"]).into_iter().collect());
        assert_eq!(unknown.unwrap_err().param.as_deref(), Some("default_models[1]"));
    }
}

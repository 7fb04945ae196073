//! Which providers may be made, and how they may be changed.

use embermesh_config::{Provider, ProviderKind, Security};
use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{CreateProviderRequest, ProviderEntry, ProviderRateLimit, UpdateProviderRequest};
use embermesh_provider_entry::{BadProvider, Credential, configured, destination, judge};

/// Longest name of an entry.
const NAME: usize = 64;

/// What a change does to the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CredentialChange {
    /// It stays, or there is still none.
    Keep,
    /// It goes, because it must not go along to where the provider is now.
    Remove,
    /// It goes, because the caller says so.
    Clear,
    /// There is a new one.
    Give(Credential),
}

impl CredentialChange {
    /// Its name in the audit chain.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Keep => "kept",
            Self::Remove => "removed",
            Self::Clear => "none",
            Self::Give(_) => "given",
        }
    }
}

/// A name that no path, header or deployment's name has to escape.
pub(crate) fn check_name(param: &str, name: &str) -> Result<(), Error> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=NAME).contains(&name.len()) && name.bytes().all(inner) {
        return Ok(());
    }
    Err(Error::invalid(
        param,
        format!("a provider's name has 1 to {NAME} of the characters A-Z a-z 0-9 . _ -"),
    ))
}

/// Reads a request for a new entry.
pub(crate) fn create(
    request: CreateProviderRequest,
    security: &Security,
) -> Result<(ProviderEntry, CredentialChange), Error> {
    check_name("name", &request.name)?;
    let given = Credential {
        api_key: some(request.api_key),
        secret_access_key: some(request.secret_access_key),
        session_token: some(request.session_token),
        service_account_key: some(request.service_account_key),
    };
    let entry = ProviderEntry {
        kind: some(request.kind).unwrap_or_else(|| request.name.clone()),
        name: request.name,
        enabled: request.enabled.unwrap_or(true),
        source: "api".to_owned(),
        base_url: some(request.base_url),
        models: request.models,
        model_names: request.model_names,
        region: some(request.region),
        api_version: some(request.api_version),
        project: some(request.project),
        access_key_id: some(request.access_key_id),
        assume_role_arn: some(request.assume_role_arn),
        external_id: some(request.external_id),
        sts_url: some(request.sts_url),
        timeout: some(request.timeout),
        rate_limit: request.rate_limit,
        ..ProviderEntry::default()
    };
    check(&entry, &given, security)?;
    let change = if given.is_empty() { CredentialChange::Clear } else { CredentialChange::Give(given) };
    Ok((entry, change))
}

/// `current` with what `request` gives; the version, the times and what is shown of the credential are the store's.
pub(crate) fn merge(
    current: &ProviderEntry,
    request: UpdateProviderRequest,
    security: &Security,
) -> Result<(ProviderEntry, CredentialChange), Error> {
    check_version(current, request.version)?;
    let mut next = current.clone();
    for (field, given) in [
        (&mut next.base_url, request.base_url),
        (&mut next.region, request.region),
        (&mut next.api_version, request.api_version),
        (&mut next.project, request.project),
        (&mut next.access_key_id, request.access_key_id),
        (&mut next.assume_role_arn, request.assume_role_arn),
        (&mut next.external_id, request.external_id),
        (&mut next.sts_url, request.sts_url),
        (&mut next.timeout, request.timeout),
    ] {
        if given.is_some() {
            *field = some(given);
        }
    }
    if let Some(kind) = request.kind {
        next.kind = kind;
    }
    if let Some(enabled) = request.enabled {
        next.enabled = enabled;
    }
    if !request.models.is_empty() {
        next.models = request.models;
    }
    if !request.model_names.is_empty() {
        next.model_names = request.model_names;
    }
    if request.rate_limit.is_some() {
        next.rate_limit = request.rate_limit;
    }
    let secrets =
        [&request.api_key, &request.secret_access_key, &request.session_token, &request.service_account_key];
    let mentioned = secrets.iter().any(|secret| secret.is_some());
    let given = Credential {
        api_key: some(request.api_key),
        secret_access_key: some(request.secret_access_key),
        session_token: some(request.session_token),
        service_account_key: some(request.service_account_key),
    };
    let moved = destination(current, 0) != destination(&next, 0);
    // what only switches off is always possible, even when the operator's list no longer has the host
    if moved || next.enabled || mentioned {
        check(&next, &given, security)?;
    }
    let change = match (mentioned, given.is_empty()) {
        (true, true) => CredentialChange::Clear,
        (true, false) => CredentialChange::Give(given),
        (false, _) if moved && current.has_credential => CredentialChange::Remove,
        (false, _) => CredentialChange::Keep,
    };
    Ok((next, change))
}

/// Of an entry of the configuration file one thing can be changed: whether it is switched on.
pub(crate) fn switch(
    current: &ProviderEntry,
    request: &UpdateProviderRequest,
) -> Result<ProviderEntry, Error> {
    check_version(current, request.version)?;
    let alone = UpdateProviderRequest {
        provider: request.provider.clone(),
        enabled: request.enabled,
        version: request.version,
        ..UpdateProviderRequest::default()
    };
    if *request != alone {
        let message = "the entry is in the configuration file, only enabled can be changed here";
        return Err(Error::invalid("provider", message));
    }
    Ok(ProviderEntry { enabled: request.enabled.unwrap_or(current.enabled), ..current.clone() })
}

fn check_version(current: &ProviderEntry, expected: Option<i64>) -> Result<(), Error> {
    let held = current.version;
    if expected.is_some_and(|expected| expected != held) {
        let message = format!("the current version is {held}, read the provider again and repeat the change");
        let error = Error::new(Code::Conflict, message).with_param("version");
        return Err(error.with_detail("current_version", held));
    }
    Ok(())
}

/// What a router would refuse is refused here, with the secrets as far as they are given.
fn check(entry: &ProviderEntry, given: &Credential, security: &Security) -> Result<(), Error> {
    let invalid = |bad: BadProvider| Error::invalid(bad.option(), bad.to_string());
    let (kind, provider) = configured(entry, given).map_err(invalid)?;
    let rules = security.egress(kind).map_err(|bad| Error::internal(bad.to_string()))?;
    judge(kind, &provider, &rules).map_err(invalid)?;
    check_texts(entry)
}

/// What is written into logs, headers and answers has bounds.
fn check_texts(entry: &ProviderEntry) -> Result<(), Error> {
    let fits = |text: &str| text.len() <= 2048 && !text.chars().any(char::is_control);
    let texts = [
        ("base_url", &entry.base_url),
        ("api_version", &entry.api_version),
        ("project", &entry.project),
        ("access_key_id", &entry.access_key_id),
        ("assume_role_arn", &entry.assume_role_arn),
        ("external_id", &entry.external_id),
        ("sts_url", &entry.sts_url),
    ];
    let refused = |param: &str| Error::invalid(param, "at most 2048 characters and no control characters");
    if let Some((param, _)) = texts.iter().find(|(_, text)| text.as_deref().is_some_and(|text| !fits(text))) {
        return Err(refused(param));
    }
    let models = || entry.models.iter().chain(entry.model_names.keys()).chain(entry.model_names.values());
    if models().count() > 1000 || models().any(|name| name.is_empty() || !fits(name)) {
        return Err(refused("models"));
    }
    Ok(())
}

/// An empty text is none.
fn some(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// An entry of the configuration file, as it is shown.
pub(crate) fn of_file(name: &str, provider: &Provider) -> ProviderEntry {
    let kind = provider.kind.or_else(|| ProviderKind::named(name));
    let secrets = [
        &provider.api_key,
        &provider.secret_access_key,
        &provider.session_token,
        &provider.service_account_key,
    ];
    ProviderEntry {
        name: name.to_owned(),
        kind: kind.map_or_else(String::new, |kind| kind.as_str().to_owned()),
        enabled: provider.enabled != Some(false),
        source: "file".to_owned(),
        base_url: provider.base_url.clone(),
        models: provider.models.clone().unwrap_or_default(),
        model_names: provider.model_names.clone(),
        region: provider.region.clone(),
        api_version: provider.api_version.clone(),
        project: provider.project.clone(),
        access_key_id: provider.access_key_id.clone(),
        assume_role_arn: provider.assume_role_arn.clone(),
        external_id: provider.external_id.clone(),
        sts_url: provider.sts_url.clone(),
        timeout: provider
            .timeout
            .and_then(|span| serde_json::to_value(span).ok()?.as_str().map(str::to_owned)),
        rate_limit: provider.rate_limit.map(|limit| ProviderRateLimit {
            requests_per_minute: limit.requests_per_minute,
            tokens_per_minute: limit.tokens_per_minute,
        }),
        has_credential: secrets.iter().any(|secret| secret.is_some()),
        ..ProviderEntry::default()
    }
}

#[cfg(test)]
mod tests;

//! Options of an entry: which kind has a use for which, and the forms that kinds share.

use embermesh_config::{Provider as Entry, ProviderKind, Secret};
use http::{HeaderName, HeaderValue, Uri, header};

use crate::BadEntry;

/// Refuses an option that `kind` has no use for: silently ignored, it would let somebody believe that it holds.
pub(super) fn check_useful(kind: ProviderKind, entry: &Entry) -> Result<(), BadEntry> {
    let useful: &[&str] = match kind {
        ProviderKind::OpenAi | ProviderKind::Gemini | ProviderKind::Voyage | ProviderKind::Cohere => {
            &["api_key", "base_url"]
        }
        ProviderKind::AzureOpenAi => &["api_key", "base_url", "api_version"],
        ProviderKind::Bedrock => &[
            "base_url",
            "region",
            "access_key_id",
            "secret_access_key",
            "session_token",
            "profile",
            "assume_role_arn",
            "external_id",
            "sts_url",
        ],
        ProviderKind::Vertex => &["base_url", "region", "project", "credentials_file", "metadata_url"],
        ProviderKind::Local => &[],
    };
    let given = given(entry);
    let useless = given.iter().find(|(option, given)| *given && !useful.contains(option));
    useless.map_or(Ok(()), |(option, _)| Err(BadEntry::Useless { kind: kind.as_str(), option }))
}

/// Every option that some kinds have no use for, and whether it is there.
fn given(entry: &Entry) -> [(&'static str, bool); 14] {
    // named one by one, so that a new option cannot be forgotten here
    let Entry {
        kind: _,
        enabled: _,
        models: _,
        model_names: _,
        timeout: _,
        rate_limit: _,
        api_key,
        base_url,
        region,
        api_version,
        project,
        credentials_file,
        metadata_url,
        access_key_id,
        secret_access_key,
        session_token,
        profile,
        assume_role_arn,
        external_id,
        sts_url,
    } = entry;
    [
        ("api_key", api_key.is_some()),
        ("base_url", base_url.is_some()),
        ("region", region.is_some()),
        ("api_version", api_version.is_some()),
        ("project", project.is_some()),
        ("credentials_file", credentials_file.is_some()),
        ("metadata_url", metadata_url.is_some()),
        ("access_key_id", access_key_id.is_some()),
        ("secret_access_key", secret_access_key.is_some()),
        ("session_token", session_token.is_some()),
        ("profile", profile.is_some()),
        ("assume_role_arn", assume_role_arn.is_some()),
        ("external_id", external_id.is_some()),
        ("sts_url", sts_url.is_some()),
    ]
}

/// The value of an option without which the kind cannot work.
pub(crate) fn required<'a, T>(name: &'static str, value: Option<&'a T>) -> Result<&'a T, BadEntry> {
    value.ok_or(BadEntry::Missing(name))
}

/// `path` below the URL that an option gives: `http` or `https`, a host, no user, query or fragment.
pub(crate) fn url(option: &'static str, base: &str, path: &str) -> Result<Uri, BadEntry> {
    let base = base.trim_end_matches('/');
    // what follows the path may be a key
    let shown = base.split(['?', '#']).next().unwrap_or_default();
    let wrong = || BadEntry::Url { option, value: shown.to_owned() };
    if base.contains(['?', '#']) {
        return Err(wrong());
    }
    let url: Uri = format!("{base}{path}").parse().map_err(|_| wrong())?;
    let authority = url.authority().ok_or_else(wrong)?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || authority.as_str().contains('@') {
        return Err(wrong());
    }
    Ok(url)
}

/// `Authorization: Bearer <key>`.
pub(crate) fn bearer(key: &Secret) -> Result<(HeaderName, HeaderValue), BadEntry> {
    Ok((header::AUTHORIZATION, header_value(&format!("Bearer {}", key.reveal()))?))
}

/// A header that no debug output shows.
pub(crate) fn header_value(secret: &str) -> Result<HeaderValue, BadEntry> {
    let mut value = HeaderValue::from_str(secret).map_err(|_| BadEntry::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

//! Options of an entry: which kind has a use for which, and the forms that kinds share.

use embermesh_config::{Provider as Entry, ProviderKind, Secret};
use http::{HeaderName, HeaderValue, Uri, header};

use crate::BadEntry;

/// Refuses an option that `kind` has no use for: silently ignored, it would let somebody believe that it holds.
pub(super) fn check_useful(kind: ProviderKind, entry: &Entry) -> Result<(), BadEntry> {
    let useless = entry.useless_option(kind);
    useless.map_or(Ok(()), |option| Err(BadEntry::Useless { kind: kind.as_str(), option }))
}

/// Refuses an entry that would fall back on a credential of the machine's own.
pub(super) fn check_own(kind: ProviderKind, entry: &Entry) -> Result<(), BadEntry> {
    let missing = match kind {
        ProviderKind::Vertex if entry.service_account_key.is_none() => "service_account_key",
        ProviderKind::Bedrock if entry.access_key_id.is_none() => "access_key_id",
        ProviderKind::Bedrock if entry.secret_access_key.is_none() => "secret_access_key",
        _ => return Ok(()),
    };
    Err(BadEntry::Own(missing))
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

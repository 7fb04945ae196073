//! A provider of the stream. Its credential stays sealed here, in memory and on disk.

use embermesh_proto::internal::v1::SealedProvider;

use crate::entry::BadEntry;

/// Which provider it is.
pub(crate) fn name(provider: &SealedProvider) -> Result<&str, BadEntry> {
    let name = provider.entry.as_ref().map_or("", |entry| entry.name.as_str());
    if name.is_empty() { Err(BadEntry("a provider without a name")) } else { Ok(name) }
}

/// One whose source nobody knows must not pass for the operator's own, which is called unguarded.
pub(crate) fn check(provider: &SealedProvider) -> Result<(), BadEntry> {
    let source = provider.entry.as_ref().map_or("", |entry| entry.source.as_str());
    if !matches!(source, "api" | "file") {
        return Err(BadEntry("a provider of an unknown source"));
    }
    if source == "file" && !provider.sealed_credential.is_empty() {
        return Err(BadEntry("a provider of the file with a credential of the stream"));
    }
    Ok(())
}

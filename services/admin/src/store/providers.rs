//! Providers that came over the API, and what is switched of those in the configuration file. Belong to no tenant: providers are the
//! installation's. What is secret of them comes here sealed.

use embermesh_postgres::{DbError, Row};
use embermesh_proto::{
    internal::v1::{SealedProvider, Section},
    v1::ProviderEntry,
};
use embermesh_types::TenantId;
use serde_json::{Value, json};

use super::{
    Store,
    change::{Author, Change, Changed},
    timestamp,
};

/// Reads every provider.
pub(crate) const SELECT: &str = "SELECT name, of_file, enabled, entry::text, credential, sealed_credential,
        credential_fingerprint, credential_version, version, created_at, updated_at
    FROM providers";

/// A sealed credential on its way into the table.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) bytes: Vec<u8>,
    /// The number of the key.
    pub(crate) with: u32,
    pub(crate) fingerprint: String,
}

/// What becomes of the credential that the table holds.
#[derive(Debug)]
pub(crate) enum Credentials {
    Keep,
    /// Removed, because the provider went elsewhere.
    Remove,
    None,
    Give(Sealed),
}

/// A change of one provider, with what is there now.
pub(crate) struct ProviderChange {
    change: Change,
    name: String,
    pub(crate) current: Option<SealedProvider>,
}

impl Store {
    /// All of them, in the order of their names.
    pub(crate) async fn providers(&self, tenant: TenantId) -> Result<Vec<SealedProvider>, DbError> {
        let rows = self.tenant(tenant).query(&format!("{SELECT} ORDER BY name"), &[]).await?;
        rows.iter().map(provider_of).collect()
    }

    pub(crate) async fn provider(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<SealedProvider>, DbError> {
        let row = self.tenant(tenant).query_opt(&format!("{SELECT} WHERE name = $1"), &[&name]).await?;
        row.map(|row| provider_of(&row)).transpose()
    }

    /// Those whose credentials are sealed with another key than the one of this number.
    pub(crate) async fn sealed_otherwise(&self, tenant: TenantId, key: u32) -> Result<Vec<String>, DbError> {
        let sql = "SELECT name FROM providers WHERE sealed_with <> $1 ORDER BY name";
        let rows = self.tenant(tenant).query(sql, &[&i64::from(key)]).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    pub(crate) async fn change_provider(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<ProviderChange, DbError> {
        let change = Change::begin(self.tenant(tenant)).await?;
        let row = change.query_opt(&format!("{SELECT} WHERE name = $1"), &[&name]).await?;
        let current = row.map(|row| provider_of(&row)).transpose()?;
        Ok(ProviderChange { change, name: name.to_owned(), current })
    }
}

impl ProviderChange {
    /// The version that a credential given now will have.
    pub(crate) fn next_credential(&self) -> i64 {
        self.current.as_ref().map_or(0, |current| current.credential_version) + 1
    }

    /// Puts `next` in force; `how` is what the audit chain is told of the credential.
    pub(crate) async fn put(
        self,
        next: &ProviderEntry,
        credentials: Credentials,
        how: &'static str,
        author: Author<'_>,
    ) -> Result<Changed<ProviderEntry>, DbError> {
        let text = serde_json::to_string(next)
            .map_err(|error| DbError::Protocol(format!("a provider cannot be written: {error}")))?;
        let (of_file, now) = (next.source == "file", author.at);
        let (keep, state, sealed) = match credentials {
            Credentials::Keep => (true, "none", None),
            Credentials::Remove => (false, "removed", None),
            Credentials::None => (false, "none", None),
            Credentials::Give(sealed) => (false, "held", Some(sealed)),
        };
        let version = if state == "held" { self.next_credential() } else { self.next_credential() - 1 };
        let bytes = sealed.as_ref().map(|sealed| &sealed.bytes);
        let with = sealed.as_ref().map(|sealed| i64::from(sealed.with));
        let fingerprint = sealed.as_ref().map(|sealed| &sealed.fingerprint);
        self.change
            .execute(
                "INSERT INTO providers (name, of_file, enabled, entry, credential, sealed_credential, sealed_with,
                     credential_fingerprint, credential_version, version, created_at, updated_at)
                 VALUES ($1, $2, $3, $4::text::json, $5, $6, $7, $8, $9, 1, $10, $10)
                 ON CONFLICT (name) DO UPDATE SET of_file = excluded.of_file, enabled = excluded.enabled,
                     entry = excluded.entry, version = providers.version + 1, updated_at = excluded.updated_at",
                &[
                    &self.name, &of_file, &next.enabled, &text, &state, &bytes, &with, &fingerprint, &version, &now,
                ],
            )
            .await?;
        if !keep {
            let sql = "UPDATE providers SET credential = $2, sealed_credential = $3, sealed_with = $4,
                           credential_fingerprint = $5, credential_version = $6 WHERE name = $1";
            self.change.execute(sql, &[&self.name, &state, &bytes, &with, &fingerprint, &version]).await?;
        }
        let row = self.change.query_one(&format!("{SELECT} WHERE name = $1"), &[&self.name]).await?;
        let made = provider_of(&row)?.entry.unwrap_or_default();
        let (action, details) = match self.current.as_ref().and_then(|current| current.entry.as_ref()) {
            Some(before) => {
                let details = json!({"now": terms(&made), "before": terms(before), "credential": how});
                ("provider.update", details)
            }
            None if of_file => ("provider.update", json!({"now": terms(&made), "credential": how})),
            None => ("provider.create", json!({"now": terms(&made), "credential": how})),
        };
        self.change.touch(Section::Providers, None, &[&self.name]).await?;
        self.change.record(&author.did(action, &self.name, details)).await?;
        Ok(Changed { made, version: self.change.commit().await? })
    }

    /// The same credential, sealed with another key: nothing else of the provider changes.
    pub(crate) async fn reseal(
        self,
        sealed: &[u8],
        with: u32,
        author: Author<'_>,
    ) -> Result<Changed<()>, DbError> {
        let sql = "UPDATE providers SET sealed_credential = $2, sealed_with = $3 WHERE name = $1";
        self.change.execute(sql, &[&self.name, &sealed, &i64::from(with)]).await?;
        self.change.touch(Section::Providers, None, &[&self.name]).await?;
        let details = json!({"sealed_with": with});
        self.change.record(&author.did("provider.reseal", &self.name, details)).await?;
        Ok(Changed { made: (), version: self.change.commit().await? })
    }

    /// Takes it out of force, with its credential.
    pub(crate) async fn delete(self, author: Author<'_>) -> Result<Changed<()>, DbError> {
        self.change.execute("DELETE FROM providers WHERE name = $1", &[&self.name]).await?;
        self.change.touch(Section::Providers, None, &[&self.name]).await?;
        let before = self.current.as_ref().and_then(|current| current.entry.as_ref()).map(terms);
        let details = json!({"before": before});
        self.change.record(&author.did("provider.delete", &self.name, details)).await?;
        Ok(Changed { made: (), version: self.change.commit().await? })
    }
}

/// What a record says of a provider: everything that its readers are told, but for the times.
fn terms(entry: &ProviderEntry) -> Value {
    let shown = ProviderEntry { created_at: None, updated_at: None, ..entry.clone() };
    serde_json::to_value(&shown).unwrap_or_default()
}

/// Reads a row of [`SELECT`].
pub(crate) fn provider_of(row: &Row) -> Result<SealedProvider, DbError> {
    let unreadable = |error: serde_json::Error| {
        DbError::Protocol(format!("a provider's entry is unreadable at {}", error.column()))
    };
    let mut entry: ProviderEntry = serde_json::from_str(row.try_get("entry")?).map_err(unreadable)?;
    let credential: &str = row.try_get("credential")?;
    entry.name = row.try_get("name")?;
    entry.source = if row.try_get("of_file")? { "file" } else { "api" }.to_owned();
    entry.enabled = row.try_get("enabled")?;
    entry.has_credential = credential == "held";
    entry.credential_removed = credential == "removed";
    entry.credential_fingerprint = row.try_get("credential_fingerprint")?;
    entry.version = row.try_get("version")?;
    entry.created_at = timestamp(row.try_get("created_at")?);
    entry.updated_at = timestamp(row.try_get("updated_at")?);
    let sealed: Option<Vec<u8>> = row.try_get("sealed_credential")?;
    Ok(SealedProvider {
        entry: Some(entry),
        sealed_credential: sealed.unwrap_or_default().into(),
        credential_version: row.try_get("credential_version")?,
    })
}

//! The settings that are turned at run time. One row, or none while nothing was turned; belongs to no tenant.

use std::time::SystemTime;

use embermesh_postgres::{DbError, Row};
use embermesh_proto::{
    internal::v1::{Section, SettingsEntry},
    v1::Tuning,
};
use serde_json::{Value, json};

use super::{
    Store,
    change::{Author, Change, Changed},
};
use crate::domain::tuning::by_name;

/// Reads the row.
pub(crate) const SELECT: &str = "SELECT version, given::text, changed_by, changed_at FROM settings";

/// What was given so far, and by whom; version 0 when nothing was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub(crate) tuning: Tuning,
    pub(crate) version: i64,
    pub(crate) last_change: Option<(String, SystemTime)>,
}

/// A change of the settings, with what is there now.
pub(crate) struct SettingsChange {
    change: Change,
    pub(crate) current: Given,
}

impl Store {
    pub(crate) async fn settings(&self) -> Result<Given, DbError> {
        let row = self.all_tenants().query_opt(SELECT, &[]).await?;
        Ok(row.map(|row| given(&row)).transpose()?.unwrap_or_default())
    }

    pub(crate) async fn change_settings(&self, author: Author<'_>) -> Result<SettingsChange, DbError> {
        let change = Change::begin(self.tenant(author.tenant)).await?;
        let row = change.query_opt(SELECT, &[]).await?;
        let current = row.map(|row| given(&row)).transpose()?.unwrap_or_default();
        Ok(SettingsChange { change, current })
    }
}

impl SettingsChange {
    /// Puts `next` in force in place of what was given before.
    pub(crate) async fn put(self, next: Tuning, author: Author<'_>) -> Result<Changed<Given>, DbError> {
        let version = self.current.version + 1;
        let text = serde_json::to_string(&next)
            .map_err(|error| DbError::Protocol(format!("settings cannot be written: {error}")))?;
        let sql = "INSERT INTO settings (version, given, changed_by, changed_at)
                   VALUES ($1, $2::text::json, $3, $4)
                   ON CONFLICT (only_row) DO UPDATE SET version = excluded.version, given = excluded.given,
                       changed_by = excluded.changed_by, changed_at = excluded.changed_at";
        self.change.execute(sql, &[&version, &text, &author.by.as_str(), &author.at]).await?;
        self.change.touch(Section::Settings, None, &[]).await?;
        let details = json!({"version": version, "changed": difference(&self.current.tuning, &next)});
        self.change.record(&author.did("settings.change", "settings", details)).await?;
        let last_change = Some((author.by.to_string(), author.at));
        Ok(Changed {
            made: Given { tuning: next, version, last_change },
            version: self.change.commit().await?,
        })
    }
}

/// What a record says: of each setting that changed what was given before and what is now; `null` is the file's value.
fn difference(before: &Tuning, after: &Tuning) -> Value {
    let (before, after) = (by_name(before), by_name(after));
    let names = before.keys().chain(after.keys());
    let changed = names
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| (name.clone(), json!({"before": before.get(name), "now": after.get(name)})));
    Value::Object(changed.collect())
}

fn given(row: &Row) -> Result<Given, DbError> {
    let tuning = serde_json::from_str(row.try_get("given")?)
        .map_err(|error| DbError::Protocol(format!("the settings are unreadable at {}", error.column())))?;
    let last_change = Some((row.try_get("changed_by")?, row.try_get("changed_at")?));
    Ok(Given { tuning, version: row.try_get("version")?, last_change })
}

/// Reads a row of [`SELECT`] for the stream.
pub(crate) fn entry_of(row: &Row) -> Result<SettingsEntry, DbError> {
    let Given { tuning, version, .. } = given(row)?;
    Ok(SettingsEntry { version, given: Some(tuning) })
}

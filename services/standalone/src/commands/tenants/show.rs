//! What is read of the server's answers, and how people see it.

use serde::Deserialize;

use crate::commands::{output::printable, table::table};

const COLUMNS: [&str; 7] =
    ["id", "name", "state", "allowed models", "default models", "rows stay", "created"];

#[derive(Debug, Deserialize)]
pub(super) struct Tenant {
    id: String,
    name: String,
    operator: bool,
    suspended: bool,
    allowed_models: Vec<String>,
    default_models: Vec<String>,
    #[serde(default)]
    retention_days: Option<u32>,
    created_at: String,
    closed_at: Option<String>,
}

/// Has the secret.
#[derive(Deserialize)]
pub(super) struct CreatedTenant {
    id: String,
    name: String,
    admin_key_id: String,
    admin_key: String,
}

impl Tenant {
    const fn state(&self) -> &'static str {
        match (&self.closed_at, self.suspended, self.operator) {
            (Some(_), ..) => "closed",
            (None, true, _) => "suspended",
            (None, false, true) => "operator",
            (None, false, false) => "active",
        }
    }

    fn cells(&self) -> Vec<String> {
        let list = |models: &[String], none: &str| match models {
            [] => none.to_owned(),
            models => models.join(","),
        };
        vec![
            self.id.clone(),
            self.name.clone(),
            self.state().to_owned(),
            list(&self.allowed_models, "all"),
            list(&self.default_models, "-"),
            self.retention_days.map_or_else(|| "always".to_owned(), |days| format!("{days} days")),
            self.created_at.clone(),
        ]
    }
}

/// A row each.
pub(super) fn tenants(tenants: &[Tenant]) -> String {
    let rows: Vec<Vec<String>> = tenants.iter().map(Tenant::cells).collect();
    table(COLUMNS.len(), &COLUMNS, &rows)
}

/// A line for each field.
pub(super) fn tenant(tenant: &Tenant) -> String {
    fields(COLUMNS.into_iter().zip(tenant.cells()))
}

/// With the secret.
pub(super) fn created(made: &CreatedTenant) -> String {
    let secret = ("admin key", made.admin_key.clone());
    let once = "The key is shown this once; the server keeps only its hash.";
    format!("{}\n{once}\n", fields(described(made).into_iter().chain([secret])))
}

/// Without the secret, which is in a file.
pub(super) fn kept(made: &CreatedTenant) -> String {
    fields(described(made))
}

fn described(made: &CreatedTenant) -> [(&'static str, String); 3] {
    [("id", made.id.clone()), ("name", made.name.clone()), ("key id", made.admin_key_id.clone())]
}

fn fields(fields: impl IntoIterator<Item = (&'static str, String)>) -> String {
    fields.into_iter().map(|(name, value)| format!("{name:<15} {}\n", printable(&value))).collect()
}

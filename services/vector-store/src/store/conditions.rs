//! A filter as SQL. Only the parts that restrict are written, so that every shape of filter gets a plan of its own.

use embermesh_postgres::types::ToSql;

use super::Owner;
use crate::domain::{
    filter::Filter,
    id,
    metadata_filter::{Condition, Test},
};

type Value = Box<dyn ToSql + Sync + Send>;

/// What follows WHERE, and its parameters. `$1` is the tenant and `$2` the shard.
pub(super) struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    /// All of a filter but its space, which is a table.
    pub(super) fn of(owner: Owner, filter: &Filter) -> Self {
        let mut conditions = Self::indexed(owner, filter);
        if let Some(context) = &filter.context {
            conditions.and("context_id = ", context.clone(), "");
        }
        if let Some(metadata) = &filter.metadata {
            if let Some(equal) = &metadata.equal {
                conditions.and("metadata::jsonb @> ", equal.text.clone(), "::text::jsonb");
            }
            for condition in &metadata.conditions {
                conditions.of_metadata(condition);
            }
        }
        conditions
    }

    fn of_metadata(&mut self, condition: &Condition) {
        let path = self.parameter(condition.path.clone());
        let value = format!("(metadata::jsonb #> {path}::text[])");
        // only CASE keeps PostgreSQL from casting what is no number
        let (kind, holds) = match &condition.test {
            Test::Exists(true) => return self.and_text(&format!("{value} IS NOT NULL")),
            Test::Exists(false) => return self.and_text(&format!("{value} IS NULL")),
            Test::In(values) => {
                let among = format!("= ANY({}::text[]::jsonb[])", self.parameter(values.clone()));
                let held =
                    format!("EXISTS (SELECT FROM jsonb_array_elements({value}) AS item WHERE item {among})");
                return self.and_text(&format!(
                    "CASE jsonb_typeof({value}) WHEN 'array' THEN {value} {among} OR {held} ELSE {value} {among} END"
                ));
            }
            Test::Number(how, bound) => {
                let bound = self.parameter(bound.clone());
                ("number", format!("({value} #>> '{{}}')::numeric {} {bound}::text::numeric", how.sql()))
            }
            Test::Text(how, bound) => {
                let bound = self.parameter(bound.clone());
                ("string", format!("({value} #>> '{{}}') COLLATE \"C\" {} {bound}::text", how.sql()))
            }
            Test::Prefix(prefix) => {
                let prefix = self.parameter(prefix.clone());
                ("string", format!("starts_with({value} #>> '{{}}', {prefix}::text)"))
            }
        };
        self.and_text(&format!("CASE jsonb_typeof({value}) WHEN '{kind}' THEN {holds} ELSE false END"));
    }

    /// The parts of a filter that the tenant's indexes answer.
    pub(super) fn indexed(owner: Owner, filter: &Filter) -> Self {
        let sql = "tenant_id = $1 AND shard_key = $2".to_owned();
        let mut conditions = Self { sql, values: vec![Box::new(owner.tenant), Box::new(owner.shard)] };
        if let Some(agent) = &filter.agent {
            conditions.and("agent_id = ", agent.as_str().to_owned(), "");
        }
        if let Some(after) = filter.after {
            conditions.and("created_at >= ", after, "");
        }
        if let Some(before) = filter.before {
            conditions.and("created_at < ", before, "");
        }
        if !filter.ids.is_empty() {
            // an id tells its time, and the time its partition and its place in the primary key
            let times: Vec<_> = filter.ids.iter().map(|id| id::created_at(*id)).collect();
            let ids: Vec<_> = filter.ids.iter().map(|id| id.uuid()).collect();
            conditions.and("created_at = ANY(", times, ")");
            conditions.and("embedding_id = ANY(", ids, ")");
        }
        conditions
    }

    /// Adds `before $n after`.
    pub(super) fn and(&mut self, before: &str, value: impl ToSql + Sync + Send + 'static, after: &str) {
        let place = self.parameter(value);
        self.sql.push_str(&format!(" AND {before}{place}{after}"));
    }

    /// Adds text that needs no parameter of its own.
    pub(super) fn and_text(&mut self, text: &str) {
        self.sql.push_str(" AND ");
        self.sql.push_str(text);
    }

    /// Adds a parameter that the caller's own text uses; returns its name.
    pub(super) fn parameter(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.values.push(Box::new(value));
        format!("${}", self.values.len())
    }

    pub(super) fn sql(&self) -> &str {
        &self.sql
    }

    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

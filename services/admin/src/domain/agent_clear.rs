//! Taking fields out of an agent's configuration, by the names that they have in JSON.

use embermesh_errors::Error;
use embermesh_proto::v1::Agent;

/// The name of a field, and how it goes.
type Field = (&'static str, fn(&mut Agent));

/// Every field that can be taken out, each part before its fields.
const FIELDS: [Field; 25] = [
    ("embedding_strategy", |agent| agent.embedding_strategy = None),
    ("model_preferences", |agent| agent.model_preferences.clear()),
    ("constraints", |agent| agent.constraints = None),
    ("constraints.max_cost_per_day", |agent| {
        within(&mut agent.constraints, |own| own.max_cost_per_day_nano_usd = None);
    }),
    ("constraints.max_cost_per_month", |agent| {
        within(&mut agent.constraints, |own| own.max_cost_per_month_nano_usd = None);
    }),
    ("constraints.max_cost_per_request", |agent| {
        within(&mut agent.constraints, |own| own.max_cost_per_request_nano_usd = None);
    }),
    ("constraints.max_latency_p99_ms", |agent| {
        within(&mut agent.constraints, |own| own.max_latency_p99_ms = None);
    }),
    ("constraints.max_tokens_per_request", |agent| {
        within(&mut agent.constraints, |own| own.max_tokens_per_request = None);
    }),
    ("constraints.preferred_dimensions", |agent| {
        within(&mut agent.constraints, |own| own.preferred_dimensions = None);
    }),
    ("constraints.rate_limits", |agent| within(&mut agent.constraints, |own| own.rate_limits = None)),
    ("constraints.rate_limits.requests_per_minute", |agent| {
        within(&mut agent.constraints, |own| {
            within(&mut own.rate_limits, |rates| rates.requests_per_minute = None);
        });
    }),
    ("constraints.rate_limits.tokens_per_minute", |agent| {
        within(&mut agent.constraints, |own| {
            within(&mut own.rate_limits, |rates| rates.tokens_per_minute = None);
        });
    }),
    ("constraints.rate_limits.concurrent_requests", |agent| {
        within(&mut agent.constraints, |own| {
            within(&mut own.rate_limits, |rates| rates.concurrent_requests = None);
        });
    }),
    ("fallback_behavior", |agent| agent.fallback_behavior = None),
    ("fallback_behavior.max_retries", |agent| {
        within(&mut agent.fallback_behavior, |own| own.max_retries = None);
    }),
    ("fallback_behavior.cross_space", |agent| {
        within(&mut agent.fallback_behavior, |own| own.cross_space = None);
    }),
    ("fallback_behavior.use_cache_on_failure", |agent| {
        within(&mut agent.fallback_behavior, |own| own.use_cache_on_failure = None);
    }),
    ("fallback_behavior.on_budget_exceeded", |agent| {
        within(&mut agent.fallback_behavior, |own| own.on_budget_exceeded = None);
    }),
    ("cache", |agent| agent.cache = None),
    ("cache.enabled", |agent| within(&mut agent.cache, |own| own.enabled = None)),
    ("cache.ttl", |agent| within(&mut agent.cache, |own| own.ttl = None)),
    ("pii", |agent| agent.pii = None),
    ("pii.action", |agent| within(&mut agent.pii, |own| own.action = None)),
    ("pii.entities", |agent| within(&mut agent.pii, |own| own.entities.clear())),
    ("metadata", |agent| agent.metadata.clear()),
];

/// Takes the fields of these names out of `agent`. A part that nothing is left of goes, too.
///
/// # Errors
/// When there is no field of a name.
pub(crate) fn clear(agent: &mut Agent, names: &[String]) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    for name in names {
        let field = FIELDS.iter().find(|(known, _)| known == name);
        let (_, take_out) = field.ok_or_else(|| unknown(name))?;
        take_out(agent);
    }
    within(&mut agent.constraints, |own| drop_empty(&mut own.rate_limits));
    drop_empty(&mut agent.constraints);
    drop_empty(&mut agent.fallback_behavior);
    drop_empty(&mut agent.cache);
    drop_empty(&mut agent.pii);
    Ok(())
}

fn unknown(name: &str) -> Error {
    let name: String = name.chars().take(100).collect();
    let known = FIELDS.map(|(known, _)| known).join(", ");
    Error::invalid("clear", format!("there is no field '{name}' to clear, choose from {known}"))
}

fn within<T>(part: &mut Option<T>, change: impl FnOnce(&mut T)) {
    if let Some(part) = part {
        change(part);
    }
}

fn drop_empty<T: Default + PartialEq>(part: &mut Option<T>) {
    if part.as_ref().is_some_and(|part| *part == T::default()) {
        *part = None;
    }
}

#[cfg(test)]
mod tests;

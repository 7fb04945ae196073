//! Settings that operators turn at run time: how a change meets what was given before, and what comes of it over the file.

use std::collections::BTreeMap;

use embermesh_config::{Config, Span};
use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{BreakerTuning, CacheTuning, LogTuning, SettingsInput, Tuning};
use serde_json::Value;

use super::tuning_clear::clear;

/// What the configuration file says of everything that can be turned.
pub(crate) fn of_file(config: &Config) -> Tuning {
    let breaker = config.embedding.circuit_breaker;
    let ttl = config.redis.cache_strategies.embeddings.ttl.unwrap_or(config.embedding.router.cache_ttl);
    Tuning {
        logging: Some(LogTuning {
            level: Some(config.logging.level.clone()),
            components: config.logging.components.clone(),
        }),
        cache: Some(CacheTuning { ttl: Some(text(ttl)), emergency: Some(false) }),
        circuit_breaker: Some(BreakerTuning {
            failure_threshold: Some(breaker.failure_threshold),
            success_threshold: Some(breaker.success_threshold),
            timeout: Some(text(breaker.timeout)),
            window: Some(text(breaker.window)),
            minimum_calls: Some(breaker.minimum_calls),
            failure_rate: Some(breaker.failure_rate),
            minimum_failure_rate: Some(breaker.minimum_failure_rate),
            slow_call_rate: Some(breaker.slow_call_rate),
            slow_call_duration: Some(text(breaker.slow_call_duration)),
            half_open_calls: Some(breaker.half_open_calls),
            ramp: Some(text(breaker.ramp)),
        }),
    }
}

fn text(span: Span) -> String {
    humantime::format_duration(span.0).to_string()
}

/// `held`, which is of version `version`, without what `input` clears and with what it gives.
///
/// # Errors
/// When the change was made from another version, or a name in `clear` is of no setting.
pub(crate) fn merge(held: &Tuning, version: i64, input: SettingsInput) -> Result<Tuning, Error> {
    let SettingsInput { logging, cache, circuit_breaker, version: expected, clear: cleared } = input;
    if expected.is_some_and(|expected| expected != version) {
        let message =
            format!("the current version is {version}, read the settings again and repeat the change");
        let error = Error::new(Code::Conflict, message).with_param("version");
        return Err(error.with_detail("current_version", version));
    }
    let mut next = held.clone();
    clear(&mut next, &cleared)?;
    Ok(over(next, Tuning { logging, cache, circuit_breaker }))
}

/// `base` with everything that `given` has.
pub(crate) fn over(mut base: Tuning, given: Tuning) -> Tuning {
    let Tuning { logging, cache, circuit_breaker } = given;
    if let Some(LogTuning { level, components }) = logging {
        let held = base.logging.get_or_insert_default();
        set(&mut held.level, level);
        held.components.extend(components);
    }
    if let Some(CacheTuning { ttl, emergency }) = cache {
        let held = base.cache.get_or_insert_default();
        set(&mut held.ttl, ttl);
        set(&mut held.emergency, emergency);
    }
    if let Some(given) = circuit_breaker {
        set_breaker(base.circuit_breaker.get_or_insert_default(), given);
    }
    drop_empty(&mut base);
    base
}

fn set_breaker(held: &mut BreakerTuning, given: BreakerTuning) {
    let BreakerTuning {
        failure_threshold,
        success_threshold,
        timeout,
        window,
        minimum_calls,
        failure_rate,
        minimum_failure_rate,
        slow_call_rate,
        slow_call_duration,
        half_open_calls,
        ramp,
    } = given;
    set(&mut held.failure_threshold, failure_threshold);
    set(&mut held.success_threshold, success_threshold);
    set(&mut held.timeout, timeout);
    set(&mut held.window, window);
    set(&mut held.minimum_calls, minimum_calls);
    set(&mut held.failure_rate, failure_rate);
    set(&mut held.minimum_failure_rate, minimum_failure_rate);
    set(&mut held.slow_call_rate, slow_call_rate);
    set(&mut held.slow_call_duration, slow_call_duration);
    set(&mut held.half_open_calls, half_open_calls);
    set(&mut held.ramp, ramp);
}

fn set<T>(held: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *held = given;
    }
}

/// A part that holds nothing is none: else the same settings could differ.
fn drop_empty(tuning: &mut Tuning) {
    tuning.logging.take_if(|part| *part == LogTuning::default());
    tuning.cache.take_if(|part| *part == CacheTuning::default());
    tuning.circuit_breaker.take_if(|part| *part == BreakerTuning::default());
}

/// Every setting that `tuning` has, by its name, such as `cache.ttl`.
pub(crate) fn by_name(tuning: &Tuning) -> BTreeMap<String, Value> {
    let mut named = BTreeMap::new();
    // none of it is anything that JSON could not hold
    collect("", serde_json::to_value(tuning).unwrap_or_default(), &mut named);
    named
}

fn collect(name: &str, value: Value, named: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(parts) => {
            for (part, value) in parts {
                let name = if name.is_empty() { part } else { format!("{name}.{part}") };
                collect(&name, value, named);
            }
        }
        Value::Null => {}
        value => {
            named.insert(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests;

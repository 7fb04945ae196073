//! Taking settings back, by the names that they have in JSON.

use embermesh_errors::Error;
use embermesh_proto::v1::{BreakerTuning, CacheTuning, LogTuning, Tuning};

/// The name of a setting, and how it goes.
type Setting = (&'static str, fn(&mut Tuning));

/// Names one component's level, with the component's name behind it.
const COMPONENT: &str = "logging.components.";

/// Every setting that can be taken back, each group before what is in it.
const SETTINGS: [Setting; 18] = [
    ("logging", |tuning| tuning.logging = None),
    ("logging.level", |tuning| logging(tuning).level = None),
    ("logging.components", |tuning| logging(tuning).components.clear()),
    ("cache", |tuning| tuning.cache = None),
    ("cache.ttl", |tuning| cache(tuning).ttl = None),
    ("cache.emergency", |tuning| cache(tuning).emergency = None),
    ("circuit_breaker", |tuning| tuning.circuit_breaker = None),
    ("circuit_breaker.failure_threshold", |tuning| breaker(tuning).failure_threshold = None),
    ("circuit_breaker.success_threshold", |tuning| breaker(tuning).success_threshold = None),
    ("circuit_breaker.timeout", |tuning| breaker(tuning).timeout = None),
    ("circuit_breaker.window", |tuning| breaker(tuning).window = None),
    ("circuit_breaker.minimum_calls", |tuning| breaker(tuning).minimum_calls = None),
    ("circuit_breaker.failure_rate", |tuning| breaker(tuning).failure_rate = None),
    ("circuit_breaker.minimum_failure_rate", |tuning| breaker(tuning).minimum_failure_rate = None),
    ("circuit_breaker.slow_call_rate", |tuning| breaker(tuning).slow_call_rate = None),
    ("circuit_breaker.slow_call_duration", |tuning| breaker(tuning).slow_call_duration = None),
    ("circuit_breaker.half_open_calls", |tuning| breaker(tuning).half_open_calls = None),
    ("circuit_breaker.ramp", |tuning| breaker(tuning).ramp = None),
];

/// Takes the settings of these names out of `tuning`. A component's level may be taken back whether there is one or not.
///
/// # Errors
/// When there is no setting of a name.
pub(crate) fn clear(tuning: &mut Tuning, names: &[String]) -> Result<(), Error> {
    for name in names {
        if let Some(component) = name.strip_prefix(COMPONENT) {
            logging(tuning).components.remove(component);
            continue;
        }
        let known = SETTINGS.iter().find(|(known, _)| known == name);
        let (_, take_back) = known.ok_or_else(|| unknown(name))?;
        take_back(tuning);
    }
    Ok(())
}

fn unknown(name: &str) -> Error {
    let name: String = name.chars().take(100).collect();
    let known: Vec<&str> = SETTINGS.iter().map(|(known, _)| *known).collect();
    let message = format!(
        "there is no setting '{name}' to clear, choose from {} or {COMPONENT}COMPONENT",
        known.join(", ")
    );
    Error::invalid("clear", message)
}

fn logging(tuning: &mut Tuning) -> &mut LogTuning {
    tuning.logging.get_or_insert_default()
}

fn cache(tuning: &mut Tuning) -> &mut CacheTuning {
    tuning.cache.get_or_insert_default()
}

fn breaker(tuning: &mut Tuning) -> &mut BreakerTuning {
    tuning.circuit_breaker.get_or_insert_default()
}

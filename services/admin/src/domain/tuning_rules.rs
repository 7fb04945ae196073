//! Which values a setting may have. Every refusal names the setting and says what would do.

use std::{collections::BTreeMap, fmt::Display, ops::RangeInclusive, time::Duration};

use embermesh_errors::Error;
use embermesh_proto::v1::{BreakerTuning, LogTuning, Tuning};
use embermesh_telemetry::{LOG_LEVELS, log_components};

const HOUR: Duration = Duration::from_secs(3600);
/// Nothing is kept longer in memory.
const LONGEST_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// Checks all that was given.
pub(crate) fn check(given: &Tuning) -> Result<(), Error> {
    if let Some(LogTuning { level, components }) = &given.logging {
        check_level("logging.level", level.as_deref())?;
        check_components(components)?;
    }
    if let Some(cache) = &given.cache {
        let range = Duration::from_secs(1)..=LONGEST_TTL;
        check_span("cache.ttl", cache.ttl.as_deref(), &range, "from 1s to 7d")?;
    }
    given.circuit_breaker.as_ref().map_or(Ok(()), check_breaker)
}

fn check_level(name: &str, level: Option<&str>) -> Result<(), Error> {
    if level.is_none_or(|level| LOG_LEVELS.contains(&level)) {
        return Ok(());
    }
    Err(Error::invalid(name, format!("choose from {}", LOG_LEVELS.join(", "))))
}

fn check_components(components: &BTreeMap<String, String>) -> Result<(), Error> {
    for (component, level) in components {
        if !log_components().any(|known| known == component) {
            let component: String = component.chars().take(100).collect();
            let known = log_components().collect::<Vec<_>>().join(", ");
            let message = format!("there is no component '{component}', choose from {known}");
            return Err(Error::invalid("logging.components", message));
        }
        check_level(&format!("logging.components.{component}"), Some(level))?;
    }
    Ok(())
}

fn check_breaker(breaker: &BreakerTuning) -> Result<(), Error> {
    let name = |field: &str| format!("circuit_breaker.{field}");
    for (field, given, most) in [
        ("failure_threshold", breaker.failure_threshold, 10_000),
        ("success_threshold", breaker.success_threshold, 1_000),
        ("minimum_calls", breaker.minimum_calls, 1_000_000),
        ("half_open_calls", breaker.half_open_calls, 100),
    ] {
        check_number(&name(field), given, &(1..=most))?;
    }
    for (field, given) in [("failure_rate", breaker.failure_rate), ("slow_call_rate", breaker.slow_call_rate)]
    {
        // 0 would open it at the first call
        if given.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
            return Err(Error::invalid(name(field), "expected a share above 0 and up to 1"));
        }
    }
    if breaker.minimum_failure_rate.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        return Err(Error::invalid(name("minimum_failure_rate"), "expected a share from 0 to 1"));
    }
    for (field, given, least, range) in [
        ("timeout", &breaker.timeout, Duration::from_millis(100), "from 100ms to 1h"),
        ("window", &breaker.window, Duration::from_secs(1), "from 1s to 1h"),
        ("slow_call_duration", &breaker.slow_call_duration, Duration::from_millis(1), "from 1ms to 1h"),
        ("ramp", &breaker.ramp, Duration::ZERO, "from 0s to 1h"),
    ] {
        check_span(&name(field), given.as_deref(), &(least..=HOUR), range)?;
    }
    Ok(())
}

fn check_number<T: PartialOrd + Display>(
    name: &str,
    given: Option<T>,
    range: &RangeInclusive<T>,
) -> Result<(), Error> {
    if given.is_none_or(|number| range.contains(&number)) {
        return Ok(());
    }
    Err(Error::invalid(name, format!("expected a number from {} to {}", range.start(), range.end())))
}

fn check_span(
    name: &str,
    given: Option<&str>,
    range: &RangeInclusive<Duration>,
    in_words: &str,
) -> Result<(), Error> {
    let Some(text) = given else { return Ok(()) };
    if humantime::parse_duration(text).is_ok_and(|span| range.contains(&span)) {
        return Ok(());
    }
    Err(Error::invalid(name, format!("expected a duration such as 90s or 15m, {in_words}")))
}

#[cfg(test)]
mod tests {
    use embermesh_proto::v1::CacheTuning;

    use super::*;

    #[test]
    fn what_is_out_of_range_is_refused_under_its_name() {
        let breaker = |change: fn(&mut BreakerTuning)| {
            let mut breaker = BreakerTuning::default();
            change(&mut breaker);
            Tuning { circuit_breaker: Some(breaker), ..Tuning::default() }
        };
        let ttl = |ttl: &str| {
            let cache = CacheTuning { ttl: Some(ttl.to_owned()), emergency: None };
            Tuning { cache: Some(cache), ..Tuning::default() }
        };
        let logging = |level: Option<&str>, component: Option<(&str, &str)>| {
            let components = component.map(|(name, level)| (name.to_owned(), level.to_owned()));
            let logging =
                LogTuning { level: level.map(str::to_owned), components: components.into_iter().collect() };
            Tuning { logging: Some(logging), ..Tuning::default() }
        };
        for (tuning, param) in [
            (logging(Some("loud"), None), "logging.level"),
            (logging(None, Some(("embedding.rooter", "debug"))), "logging.components"),
            (logging(None, Some(("embedding.router", "DEBUG"))), "logging.components.embedding.router"),
            (ttl("0s"), "cache.ttl"),
            (ttl("8d"), "cache.ttl"),
            (ttl("soon"), "cache.ttl"),
            (breaker(|b| b.failure_threshold = Some(0)), "circuit_breaker.failure_threshold"),
            (breaker(|b| b.failure_threshold = Some(10_001)), "circuit_breaker.failure_threshold"),
            (breaker(|b| b.success_threshold = Some(0)), "circuit_breaker.success_threshold"),
            (breaker(|b| b.minimum_calls = Some(0)), "circuit_breaker.minimum_calls"),
            (breaker(|b| b.half_open_calls = Some(101)), "circuit_breaker.half_open_calls"),
            (breaker(|b| b.failure_rate = Some(0.0)), "circuit_breaker.failure_rate"),
            (breaker(|b| b.failure_rate = Some(f64::NAN)), "circuit_breaker.failure_rate"),
            (breaker(|b| b.slow_call_rate = Some(1.01)), "circuit_breaker.slow_call_rate"),
            (breaker(|b| b.minimum_failure_rate = Some(-0.1)), "circuit_breaker.minimum_failure_rate"),
            (breaker(|b| b.timeout = Some("50ms".to_owned())), "circuit_breaker.timeout"),
            (breaker(|b| b.window = Some("500ms".to_owned())), "circuit_breaker.window"),
            (breaker(|b| b.slow_call_duration = Some("2h".to_owned())), "circuit_breaker.slow_call_duration"),
            (breaker(|b| b.ramp = Some("-1s".to_owned())), "circuit_breaker.ramp"),
        ] {
            assert_eq!(check(&tuning).unwrap_err().param.as_deref(), Some(param), "{tuning:?}");
        }
        for tuning in [
            Tuning::default(),
            ttl("7d"),
            logging(Some("off"), Some(("embedding.provider.openai", "trace"))),
            breaker(|b| b.minimum_failure_rate = Some(0.0)),
            breaker(|b| b.ramp = Some("0s".to_owned())),
        ] {
            check(&tuning).unwrap();
        }
    }

    #[test]
    fn what_the_file_says_unless_it_says_otherwise_passes() {
        check(&crate::domain::tuning::of_file(&embermesh_config::Config::default())).unwrap();
    }
}

//! What operators have turned at run time, read from admin's text into what services go by.

use std::{collections::BTreeMap, time::Duration};

use embermesh_proto::{
    internal::v1::SettingsEntry,
    v1::{BreakerTuning, Tuning},
};

use crate::entry::BadEntry;

/// The settings that were given; what is `None` is as the configuration file of the process says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunSettings {
    /// Level of all components that have none of their own.
    pub log_level: Option<String>,
    /// Levels by component, over those of the file.
    pub log_components: BTreeMap<String, String>,
    /// How long a cached vector may be served.
    pub cache_ttl: Option<Duration>,
    /// Whether whatever is still cached is served, however old.
    pub emergency_caching: bool,
    /// When breakers open and close.
    pub breaker: BreakerChanges,
    /// As admin wrote it, for the copy on disk.
    entry: SettingsEntry,
}

/// Settings of circuit breakers that were given; the names are those of the configuration file.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[expect(missing_docs, reason = "each means what `embedding.circuit_breaker` of the configuration says")]
pub struct BreakerChanges {
    pub failure_threshold: Option<u32>,
    pub success_threshold: Option<u32>,
    pub timeout: Option<Duration>,
    pub window: Option<Duration>,
    pub minimum_calls: Option<u32>,
    pub failure_rate: Option<f64>,
    pub minimum_failure_rate: Option<f64>,
    pub slow_call_rate: Option<f64>,
    pub slow_call_duration: Option<Duration>,
    pub half_open_calls: Option<u32>,
    pub ramp: Option<Duration>,
}

impl RunSettings {
    /// Reads what admin sent.
    pub(crate) fn read(entry: &SettingsEntry) -> Result<Self, BadEntry> {
        let Tuning { logging, cache, circuit_breaker } =
            entry.given.clone().ok_or(BadEntry("settings without a value"))?;
        let (logging, cache) = (logging.unwrap_or_default(), cache.unwrap_or_default());
        Ok(Self {
            log_level: logging.level,
            log_components: logging.components,
            cache_ttl: span(cache.ttl.as_deref())?,
            emergency_caching: cache.emergency.unwrap_or_default(),
            breaker: BreakerChanges::read(&circuit_breaker.unwrap_or_default())?,
            entry: entry.clone(),
        })
    }

    /// The message that [`Self::read`] reads.
    pub(crate) fn write(&self) -> SettingsEntry {
        self.entry.clone()
    }
}

impl BreakerChanges {
    fn read(tuning: &BreakerTuning) -> Result<Self, BadEntry> {
        Ok(Self {
            failure_threshold: tuning.failure_threshold,
            success_threshold: tuning.success_threshold,
            timeout: span(tuning.timeout.as_deref())?,
            window: span(tuning.window.as_deref())?,
            minimum_calls: tuning.minimum_calls,
            failure_rate: share(tuning.failure_rate)?,
            minimum_failure_rate: share(tuning.minimum_failure_rate)?,
            slow_call_rate: share(tuning.slow_call_rate)?,
            slow_call_duration: span(tuning.slow_call_duration.as_deref())?,
            half_open_calls: tuning.half_open_calls,
            ramp: span(tuning.ramp.as_deref())?,
        })
    }
}

fn span(text: Option<&str>) -> Result<Option<Duration>, BadEntry> {
    let read = text.map(humantime::parse_duration).transpose();
    read.map_err(|_| BadEntry("a setting that is no duration"))
}

fn share(share: Option<f64>) -> Result<Option<f64>, BadEntry> {
    match share {
        Some(share) if !(0.0..=1.0).contains(&share) => Err(BadEntry("a setting that is no share")),
        share => Ok(share),
    }
}

//! One traced observation for each bucket of a histogram, so that a slow bucket leads to a trace that fell into it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::Trace;

/// Series with exemplars; routes and methods are tens.
const MAX_SERIES: usize = 500;

/// What was observed last in a bucket, of what is traced.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exemplar {
    pub trace_id: String,
    pub value: f64,
    pub at: SystemTime,
}

impl Exemplar {
    /// Seconds since 1970.
    pub fn timestamp(&self) -> f64 {
        self.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }
}

/// The values of a series' labels, in the order of the labels' names.
type Series = Vec<String>;
type OfBuckets = Vec<Option<Exemplar>>;

/// The exemplars of one histogram. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exemplars {
    /// Upper bounds, but for the last, which has none.
    buckets: &'static [f64],
    series: Arc<Mutex<HashMap<Series, OfBuckets>>>,
}

impl Exemplars {
    pub(super) fn new(buckets: &'static [f64]) -> Self {
        Self { buckets, series: Arc::default() }
    }

    /// Keeps an observation of the series with these values of its labels, which are in the order of the labels' names. It is let go
    /// where somebody else is just here: the next will do.
    pub fn note(&self, labels: &[&str], value: f64, trace: &Trace, at: SystemTime) {
        let Ok(mut series) = self.series.try_lock() else { return };
        let key: Series = labels.iter().map(|label| (*label).to_owned()).collect();
        if series.len() >= MAX_SERIES && !series.contains_key(&key) {
            return;
        }
        let bucket = self.buckets.partition_point(|bound| *bound < value);
        let of_buckets = series.entry(key).or_insert_with(|| vec![None; self.buckets.len() + 1]);
        of_buckets[bucket] = Some(Exemplar { trace_id: trace.id(), value, at });
    }

    /// Of the bucket up to `bound`, infinity for the last.
    pub(super) fn get(&self, labels: &[&str], bound: f64) -> Option<Exemplar> {
        let bucket = self.buckets.partition_point(|one| *one < bound);
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let key: Series = labels.iter().map(|label| (*label).to_owned()).collect();
        series.get(&key)?.get(bucket)?.clone()
    }
}

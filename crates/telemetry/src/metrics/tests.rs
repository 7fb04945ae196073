use std::time::{Duration, SystemTime};

use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts};

use super::*;
use crate::Trace;

static BUCKETS: [f64; 3] = [0.25, 1.0, 2.5];

fn metrics() -> (Metrics, HistogramVec, Exemplars) {
    let metrics = Metrics::default();
    let opts = HistogramOpts::new("took_seconds", "Time.").buckets(BUCKETS.to_vec());
    let histogram = metrics.register(HistogramVec::new(opts, &["path", "method"]).unwrap());
    let exemplars = metrics.exemplars("took_seconds", &BUCKETS);
    (metrics, histogram, exemplars)
}

fn open(metrics: &Metrics) -> String {
    metrics.exposition(Some("application/openmetrics-text")).1
}

#[test]
fn whoever_prefers_openmetrics_gets_it() {
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, is_open) in [
        (None, false),
        (Some("*/*"), false),
        (Some("text/plain"), false),
        (Some("application/openmetrics-text; version=1.0.0"), true),
        (Some("text/plain, Application/OpenMetrics-Text"), true),
        (Some("application/openmetrics-text;q=0.2, text/plain;q=0.9"), false),
        (Some("application/openmetrics-text;q=0"), false),
        (Some(prometheus_3), true),
    ] {
        let (media_type, text) = Metrics::default().exposition(accept);
        assert_eq!(media_type.starts_with("application/openmetrics-text;"), is_open, "{accept:?}");
        assert_eq!(text.ends_with("# EOF\n"), is_open, "{accept:?}");
    }
}

#[test]
fn each_kind_is_written_as_the_format_wants_it() {
    let (metrics, histogram, _) = metrics();
    let calls = IntCounterVec::new(Opts::new("calls_total", "Say \"a\\b\"\nand more."), &["of"]).unwrap();
    metrics.register(calls).with_label_values(&["x\"y\\z\n"]).inc_by(3);
    metrics.register(IntGauge::new("level", "Level.").unwrap()).set(-2);
    metrics.register(IntCounter::new("odd", "A counter without the ending.").unwrap()).inc();
    histogram.with_label_values(&["/a", "GET"]).observe(0.5);
    let expected = r#"# HELP calls Say \"a\\b\"\nand more.
# TYPE calls counter
calls_total{of="x\"y\\z\n"} 3
# HELP level Level.
# TYPE level gauge
level -2
# HELP odd A counter without the ending.
# TYPE odd unknown
odd 1
# HELP took_seconds Time.
# TYPE took_seconds histogram
took_seconds_bucket{method="GET",path="/a",le="0.25"} 0
took_seconds_bucket{method="GET",path="/a",le="1.0"} 1
took_seconds_bucket{method="GET",path="/a",le="2.5"} 1
took_seconds_bucket{method="GET",path="/a",le="+Inf"} 1
took_seconds_count{method="GET",path="/a"} 1
took_seconds_sum{method="GET",path="/a"} 0.5
# EOF
"#;
    assert_eq!(open(&metrics), expected);
}

#[test]
fn the_last_traced_observation_of_a_bucket_is_its_exemplar() {
    let (metrics, histogram, exemplars) = metrics();
    let at = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    for (value, trace, seconds) in [(0.3, 1, 10), (1.0, 2, 11), (99.0, 3, 12)] {
        histogram.with_label_values(&["/a", "GET"]).observe(value);
        exemplars.note(&["GET", "/a"], value, &Trace::numbered(trace), at(seconds));
    }
    histogram.with_label_values(&["/b", "GET"]).observe(0.3);
    let text = open(&metrics);
    let with: Vec<&str> = text.lines().filter(|line| line.contains(" # ")).collect();
    assert_eq!(
        with,
        [
            r#"took_seconds_bucket{method="GET",path="/a",le="1.0"} 2 # {trace_id="00000000000000000000000000000002"} 1 11.000"#,
            r#"took_seconds_bucket{method="GET",path="/a",le="+Inf"} 3 # {trace_id="00000000000000000000000000000003"} 99 12.000"#,
        ]
    );
    assert!(!metrics.render().contains("trace_id"));
}

#[test]
fn exemplars_are_bounded() {
    let (metrics, histogram, exemplars) = metrics();
    for n in 0..2_000 {
        let path = format!("/{n}");
        histogram.with_label_values(&[path.as_str(), "GET"]).observe(0.3);
        exemplars.note(&["GET", &path], 0.3, &Trace::numbered(n), SystemTime::UNIX_EPOCH);
    }
    assert_eq!(open(&metrics).matches("trace_id").count(), 500);
}

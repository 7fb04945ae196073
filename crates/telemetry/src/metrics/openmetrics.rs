//! The OpenMetrics text format, which unlike Prometheus' own has exemplars:
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>.

use std::fmt::Write as _;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

use super::Exemplars;

/// The media type of what [`encode`] writes.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes the families, and the exemplars that `of` has for one.
pub(super) fn encode(families: &[MetricFamily], of: impl Fn(&str) -> Option<Exemplars>) -> String {
    let mut text = String::new();
    for family in families {
        let kind = family.get_field_type();
        // the format names a counter without its ending, and knows none that has none
        let (name, kind) = match (kind, family.name().strip_suffix("_total")) {
            (MetricType::COUNTER, Some(name)) => (name, "counter"),
            (MetricType::GAUGE, _) => (family.name(), "gauge"),
            (MetricType::HISTOGRAM, _) => (family.name(), "histogram"),
            (MetricType::SUMMARY, _) => (family.name(), "summary"),
            _ => (family.name(), "unknown"),
        };
        let _infallible = writeln!(text, "# HELP {name} {}", escaped(family.help()));
        let _infallible = writeln!(text, "# TYPE {name} {kind}");
        let exemplars = of(family.name());
        for metric in family.get_metric() {
            sample(&mut text, family, metric, exemplars.as_ref());
        }
    }
    text.push_str("# EOF\n");
    text
}

fn sample(text: &mut String, family: &MetricFamily, metric: &Metric, exemplars: Option<&Exemplars>) {
    let name = family.name();
    match family.get_field_type() {
        MetricType::COUNTER => line(text, name, metric, None, metric.get_counter().get_value()),
        MetricType::GAUGE => line(text, name, metric, None, metric.get_gauge().get_value()),
        // nothing of ours is untyped
        MetricType::UNTYPED => {}
        MetricType::SUMMARY => {
            let summary = metric.get_summary();
            line(text, &format!("{name}_count"), metric, None, summary.sample_count() as f64);
            line(text, &format!("{name}_sum"), metric, None, summary.sample_sum());
        }
        MetricType::HISTOGRAM => {
            let (histogram, bucket) = (metric.get_histogram(), format!("{name}_bucket"));
            let labels: Vec<&str> = metric.get_label().iter().map(LabelPair::value).collect();
            let bounds = histogram.get_bucket().iter().map(|one| (one.upper_bound(), one.cumulative_count()));
            for (bound, count) in bounds.chain([(f64::INFINITY, histogram.get_sample_count())]) {
                line(text, &bucket, metric, Some(bound), count as f64);
                if let Some(one) = exemplars.and_then(|exemplars| exemplars.get(&labels, bound)) {
                    text.pop();
                    let (trace, value) = (&one.trace_id, number(one.value));
                    let at = one.timestamp();
                    let _infallible = writeln!(text, " # {{trace_id=\"{trace}\"}} {value} {at:.3}");
                }
            }
            line(text, &format!("{name}_count"), metric, None, histogram.get_sample_count() as f64);
            line(text, &format!("{name}_sum"), metric, None, histogram.get_sample_sum());
        }
    }
}

fn line(text: &mut String, name: &str, metric: &Metric, bound: Option<f64>, value: f64) {
    let labels = metric.get_label().iter().map(|label| (label.name(), escaped(label.value())));
    let bound = bound.map(|bound| ("le", canonical(bound)));
    let labels: Vec<String> =
        labels.chain(bound).map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _infallible = writeln!(text, "{name}{labels} {}", number(value));
}

/// Bounds are written as floats even where they are whole.
fn canonical(bound: f64) -> String {
    if bound.is_finite() { format!("{bound:?}") } else { number(bound) }
}

fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        value.to_string()
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('"', "\\\"")
}

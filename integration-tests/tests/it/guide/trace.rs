//! The same run once more, with how long the guide's own conditions have to hold: a second of it is played as a minute, by promtool.

use std::fmt::Write as _;

use tempfile::TempDir;

use crate::{
    prometheus::{Prometheus, Series, promtool},
    running::root,
};

/// What the guide's four expressions ask for, at the gateway and for the route that was called.
const RECORDED: &str = r#"{__name__=~"circuit_breaker_state|embedding_provider_health|embedding_cost_total|http_requests_total",path=~"|/api/v1/embeddings"}"#;
/// Minutes for which everything stands still at the end: the guide's widest window, and some.
const STILL: usize = 75;
/// The file that the repository keeps of one such run, which promtool reads with the other unit tests.
const KEPT: &str = "monitoring/tests/guide-recorded.yaml";

const HEAD: &str = "# A run of integration-tests/tests/it/guide/alerts.rs as Prometheus recorded it, a second of it played as a minute: a provider was killed
# and healed, its callers got errors, and one agent spent too much. So the guide's alerts are seen with the guide's own `for`. At the end
# everything stands still for more than the widest window. Written by that test when EMBERMESH_WRITE is set.
";

/// At which minute of the trace what begins and ends.
struct Moments {
    opened: usize,
    unhealthy: usize,
    first_error: usize,
    last_error: usize,
    spending: usize,
    spent: usize,
    closed: usize,
    healthy: usize,
}

/// Records what happened since `began` and holds the shipped rules against it.
pub async fn is_right_with_the_guides_own_for(prometheus: &Prometheus, began: f64, ended: f64) {
    let recorded = prometheus.range(RECORDED, began, ended).await;
    let moments = Moments::of(&recorded);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("recorded.yaml");
    let shipped = root().join("monitoring/rules/guide.yaml");
    std::fs::write(&file, unit_test(&recorded, &moments, &shipped.display().to_string())).unwrap();
    let (passed, said) = promtool(&file);
    assert!(passed, "{said}\n{}", std::fs::read_to_string(&file).unwrap());
    if std::env::var_os("EMBERMESH_WRITE").is_some() {
        std::fs::write(root().join(KEPT), unit_test(&recorded, &moments, "../rules/guide.yaml")).unwrap();
    }
}

impl Moments {
    fn of(recorded: &[Series]) -> Self {
        let one = |name: &str, labels: &[(&str, &str)]| {
            let mut found = recorded.iter().filter(|series| series.is(name, labels));
            let series = found.next().unwrap_or_else(|| panic!("no {name} {labels:?} in the trace"));
            assert!(found.next().is_none(), "{name} {labels:?} is not one series");
            &series.values
        };
        let open = one("circuit_breaker_state", &[("provider", "openai"), ("state", "open")]);
        let down = one("embedding_provider_health", &[("provider", "openai"), ("status", "unhealthy")]);
        let errors = one("http_requests_total", &[("status", "503")]);
        let cost = one("embedding_cost_total", &[("agent_id", "dear")]);
        let (opened, closed) = span(open);
        let (unhealthy, healthy) = span(down);
        let moves: Vec<usize> = (1..cost.len())
            .filter(|at| matches!((cost[at - 1], cost[*at]), (Some(before), Some(now)) if now > before))
            .collect();
        let first_error = errors.iter().position(Option::is_some).unwrap();
        let last = errors.last().copied().flatten();
        let last_error = errors.iter().position(|value| *value == last).unwrap();
        Self {
            opened,
            unhealthy,
            first_error,
            last_error,
            spending: moves[0],
            spent: *moves.last().unwrap(),
            closed,
            healthy,
        }
    }

    /// Minute, alert, and whether it fires then: just before and just after what its `for` says, and after the end of it.
    fn expectations(&self) -> Vec<(usize, &'static str, bool)> {
        vec![
            (self.opened + 4, "CircuitBreakerOpen", false),
            (self.opened + 6, "CircuitBreakerOpen", true),
            (self.closed - 1, "CircuitBreakerOpen", true),
            (self.closed + 1, "CircuitBreakerOpen", false),
            (self.unhealthy + 1, "ProviderDown", false),
            (self.unhealthy + 3, "ProviderDown", true),
            (self.healthy - 1, "ProviderDown", true),
            (self.healthy + 1, "ProviderDown", false),
            (self.first_error + 4, "HighErrorRate", false),
            (self.last_error, "HighErrorRate", true),
            (self.last_error + 7, "HighErrorRate", false),
            (self.spending + 9, "HighCostRate", false),
            (self.spent + 11, "HighCostRate", true),
            (self.spent + 30, "HighCostRate", true),
            (self.spent + 62, "HighCostRate", false),
        ]
    }
}

/// From when on a state holds, and from when on it does so no more.
fn span(values: &[Option<f64>]) -> (usize, usize) {
    let from = values.iter().position(|value| *value == Some(1.0)).unwrap();
    let to = values.iter().rposition(|value| *value == Some(1.0)).unwrap() + 1;
    assert!(values[from..to].iter().all(|value| *value == Some(1.0)), "it was not the same throughout");
    assert!(to < values.len(), "it has not ended");
    (from, to)
}

fn unit_test(recorded: &[Series], moments: &Moments, rules: &str) -> String {
    let mut text = format!(
        "{HEAD}rule_files: [{rules}]\nevaluation_interval: 30s\ntests:\n  - name: a recorded run\n    interval: 1m\n    input_series:\n"
    );
    for series in recorded {
        let labels: Vec<String> = series
            .labels
            .iter()
            .filter(|(name, _)| *name != "__name__")
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let name = &series.labels["__name__"];
        writeln!(
            text,
            "      - series: '{name}{{{}}}'\n        values: '{}'",
            labels.join(","),
            notation(&series.values)
        )
        .unwrap();
    }
    text.push_str("    promql_expr_test:\n");
    for (minute, alert, fires) in moments.expectations() {
        let samples = if fires {
            format!("[{{labels: '{{alertname=\"{alert}\"}}', value: 1}}]")
        } else {
            "[]".to_owned()
        };
        writeln!(
            text,
            "      - expr: group by (alertname) (ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}})\n        eval_time: {minute}m\n        exp_samples: {samples}"
        )
        .unwrap();
    }
    text
}

/// The values in promtool's notation, equal ones together, and the last one for [`STILL`] minutes more.
fn notation(values: &[Option<f64>]) -> String {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < values.len() {
        let mut end = at + 1;
        while end < values.len() && values[end] == values[at] {
            end += 1;
        }
        let still = if end == values.len() { STILL } else { 0 };
        // `x` counts what comes after the first
        let more = end - at - 1 + still;
        parts.push(match values[at] {
            Some(value) if more == 0 => value.to_string(),
            Some(value) => format!("{value}x{more}"),
            None if more == 0 => "_".to_owned(),
            None => format!("_x{}", more + 1),
        });
        at = end;
    }
    parts.join(" ")
}

#[test]
fn values_are_written_as_promtool_reads_them() {
    let last = format!("2x{}", STILL + 1);
    assert_eq!(notation(&[None, None, Some(1.5), Some(2.0), Some(2.0)]), format!("_x2 1.5 {last}"));
}

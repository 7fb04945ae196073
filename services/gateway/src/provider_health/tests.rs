use std::sync::atomic::Ordering;

use embermesh_config::Span;
use embermesh_subscription::Snapshot;

use super::*;
use crate::embeddings::stand_ins::Bench;

fn deployment(name: &str, status: &str, breaker: &str) -> DeploymentHealth {
    DeploymentHealth {
        provider: name.into(),
        deployment: name.into(),
        status: status.into(),
        breaker: breaker.into(),
        ..Default::default()
    }
}

/// Whether the metrics hold a line, and those without a value whether they hold any such.
fn has(metrics: &Metrics, line: &str) -> bool {
    metrics.render().lines().any(|shown| shown.starts_with(line))
}

#[tokio::test]
async fn the_router_is_asked_without_an_identity() {
    let (bench, tasks) = (Bench::new(Snapshot::default()), Tasks::new());
    start(bench.parts.router.clone(), &HealthCache::default(), &bench.metrics, &tasks).unwrap();
    let line = r#"embedding_provider_health{provider="stand-in",status="healthy"} 1"#;
    while !bench.metrics.render().contains(line) {
        tokio::task::yield_now().await;
    }
    tasks.stop();
    tasks.finished().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_silent_router_told_counts_for_its_time() {
    let (bench, tasks) = (Bench::new(Snapshot::default()), Tasks::new());
    let keep = HealthCache { ttl: Some(Span::seconds(30)), max_entries: Some(1) };
    start(bench.parts.router.clone(), &keep, &bench.metrics, &tasks).unwrap();
    let is_shown = || has(&bench.metrics, r#"embedding_provider_health{provider="stand-in""#);
    while !is_shown() {
        tokio::time::sleep(EVERY).await;
    }
    bench.router.is_silent.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(is_shown());
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!is_shown());
    bench.router.is_silent.store(false, Ordering::Relaxed);
    tokio::time::sleep(2 * EVERY).await;
    assert!(is_shown());
    tasks.stop();
}

#[test]
fn open_stays_until_the_breaker_closes_and_what_is_forced_shows_as_such() {
    let metrics = Metrics::default();
    let mut gauges = Gauges::new(&metrics, MAX_SHOWN).unwrap();
    for (status, breaker, on) in [
        ("healthy", "closed", &["closed"][..]),
        ("unhealthy", "open", &["open"]),
        ("unhealthy", "half_open", &["open", "half_open"]),
        ("healthy", "closed", &["closed"]),
        ("unhealthy", "forced_open", &["open", "forced_open"]),
        ("healthy", "forced_closed", &["closed", "forced_closed"]),
        ("healthy", "closed", &["closed"]),
    ] {
        gauges.show(&[deployment("x", status, breaker)]);
        let text = metrics.render();
        for state in ["closed", "open", "half_open", "forced_open", "forced_closed"] {
            let value = i64::from(on.contains(&state));
            let line = format!(
                "circuit_breaker_state{{deployment=\"x\",provider=\"x\",state=\"{state}\"}} {value}\n"
            );
            assert!(text.contains(&line), "{line}{text}");
        }
        for other in STATUSES {
            let value = i64::from(other == status);
            let line = format!("embedding_provider_health{{provider=\"x\",status=\"{other}\"}} {value}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
    }
}

#[test]
fn a_provider_that_is_gone_is_shown_no_longer() {
    let metrics = Metrics::default();
    let mut gauges = Gauges::new(&metrics, MAX_SHOWN).unwrap();
    gauges.show(&[deployment("x", "unhealthy", "open"), deployment("y", "healthy", "closed")]);
    gauges.show(&[deployment("y", "healthy", "closed")]);
    let text = metrics.render();
    assert!(!text.contains(r#"provider="x""#) && text.contains(r#"provider="y""#), "{text}");
}

#[test]
fn a_provider_is_as_well_as_the_worst_of_its_deployments() {
    let metrics = Metrics::default();
    let mut gauges = Gauges::new(&metrics, MAX_SHOWN).unwrap();
    let of = |model: &str, status: &str, availability| DeploymentHealth {
        deployment: format!("x/{model}"),
        availability,
        ..deployment("x", status, "closed")
    };
    let drifted = DeploymentHealth { drifted: true, ..of("a", "healthy", None) };
    for (deployments, expected, availability) in [
        (vec![of("a", "healthy", Some(1.0)), of("b", "healthy", None)], "healthy", Some("1")),
        (vec![of("a", "unhealthy", Some(0.25)), of("b", "healthy", Some(1.0))], "unhealthy", Some("0.25")),
        (vec![of("a", "healthy", Some(1.0)), of("b", "degraded", Some(0.5))], "degraded", Some("0.5")),
        (vec![drifted, of("b", "healthy", None)], "unhealthy", None),
        (vec![of("a", "never heard of", None)], "unhealthy", None),
    ] {
        gauges.show(&deployments);
        for status in STATUSES {
            let line = format!("embedding_provider_health{{provider=\"x\",status=\"{status}\"}}");
            assert!(has(&metrics, &format!("{line} {}", u8::from(status == expected))), "{line} {expected}");
        }
        let line = "embedding_provider_availability_ratio{provider=\"x\"}";
        assert_eq!(has(&metrics, line), availability.is_some());
        assert!(availability.is_none_or(|ratio| has(&metrics, &format!("{line} {ratio}"))));
    }
}

#[test]
fn what_the_canary_found_is_shown_by_deployment_until_the_deployment_is_gone() {
    let metrics = Metrics::default();
    let mut gauges = Gauges::new(&metrics, MAX_SHOWN).unwrap();
    let of = |deployment: &str, canary_cosine, drifted| DeploymentHealth {
        provider: "x".into(),
        deployment: deployment.into(),
        canary_cosine,
        drifted,
        ..Default::default()
    };
    gauges.show(&[of("x/a", Some(0.5), true), of("x/b", None, false)]);
    assert!(has(&metrics, r#"embedding_canary_cosine{deployment="x/a",provider="x"} 0.5"#));
    assert!(has(&metrics, r#"embedding_drift{deployment="x/a",provider="x"} 1"#));
    assert!(has(&metrics, r#"embedding_drift{deployment="x/b",provider="x"} 0"#));
    assert!(!has(&metrics, r#"embedding_canary_cosine{deployment="x/b""#));
    gauges.show(&[of("x/b", Some(1.0), false)]);
    assert!(!metrics.render().contains("x/a"), "{}", metrics.render());
    assert!(has(&metrics, r#"embedding_canary_cosine{deployment="x/b",provider="x"} 1"#));
    assert!(has(&metrics, r#"embedding_provider_health{provider="x",status="unhealthy"} 1"#));
}

#[test]
fn labels_are_bounded() {
    let metrics = Metrics::default();
    let mut gauges = Gauges::new(&metrics, MAX_SHOWN).unwrap();
    let many: Vec<_> = (0..=MAX_SHOWN).map(|n| deployment(&n.to_string(), "healthy", "closed")).collect();
    gauges.show(&many);
    let shown = metrics.render().lines().filter(|line| line.starts_with("embedding_drift{")).count();
    assert_eq!(shown, MAX_SHOWN);
}

use embermesh_config::Security;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    internal::v1::{SealedProvider, throttle_client::ThrottleClient},
    v1::{ProviderEntry, ProviderRateLimit},
};
use embermesh_provider_entry::Credential;
use embermesh_providers::Connector;
use embermesh_sealing::Keys;
use embermesh_transport::Endpoint;

use super::*;
use crate::pace::{Burst, Pace};

fn keys() -> Keys {
    Keys::parse(&format!("1:{}", "ab".repeat(32))).unwrap()
}

fn deployments(file: &[(&str, Entry)]) -> Deployments {
    let tasks = Tasks::new();
    let nowhere = Endpoint::parse("http://127.0.0.1:1").unwrap().connect(None, &tasks).unwrap();
    let throttle = ThrottleClient::new(nowhere);
    let builder = AccountBuilder {
        connector: Connector::new(None).unwrap(),
        pace: Box::new(move |name, limit| Pace::new(name, limit, Burst::Tenth, 1, &throttle, &tasks)),
        security: Security::default(),
        keys: Some(keys()),
    };
    let file = file.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone())).collect();
    Deployments::new(file, CircuitBreaker::default(), &Router::default(), builder)
}

fn entry(name: &str) -> ProviderEntry {
    ProviderEntry {
        name: name.to_owned(),
        kind: "openai".to_owned(),
        enabled: true,
        source: "api".to_owned(),
        has_credential: true,
        version: 1,
        ..ProviderEntry::default()
    }
}

fn sealed(entry: ProviderEntry, key: &str, version: i64) -> SealedProvider {
    let credential = Credential { api_key: Some(key.to_owned()), ..Credential::default() };
    SealedProvider {
        sealed_credential: credential.seal(&keys(), &entry, version).unwrap().into(),
        credential_version: version,
        entry: Some(entry),
    }
}

fn state(providers: &[SealedProvider]) -> Snapshot {
    providers.iter().fold(Snapshot::default(), |snapshot, provider| snapshot.with_provider(provider.clone()))
}

fn model() -> CatalogModel {
    CatalogModel {
        id: "small".to_owned(),
        provider_kinds: vec!["openai".to_owned()],
        ..CatalogModel::default()
    }
}

fn names(deployments: &Deployments) -> Vec<String> {
    deployments.of(&model()).iter().map(|deployment| deployment.name.to_string()).collect()
}

fn lone(deployments: &Deployments) -> Arc<Deployment> {
    let [one] = &deployments.of(&model())[..] else { panic!("not one deployment") };
    Arc::clone(one)
}

fn reasons(deployments: &Deployments) -> Vec<String> {
    deployments.refused_for(&model()).iter().map(|one| format!("{}: {}", one.name, one.reason)).collect()
}

#[tokio::test]
async fn what_does_not_change_stays_and_what_goes_is_gone() {
    let deployments = deployments(&[]);
    let (one, two) = (sealed(entry("one"), "sk-1", 1), sealed(entry("two"), "sk-2", 1));
    deployments.follow(&state(std::slice::from_ref(&one)));
    let before = lone(&deployments);
    deployments.follow(&state(&[one.clone(), two.clone()]));
    assert_eq!(names(&deployments), ["one/small", "two/small"]);
    assert!(Arc::ptr_eq(&deployments.of(&model())[0], &before));
    let off = SealedProvider { entry: Some(ProviderEntry { enabled: false, ..entry("one") }), ..one.clone() };
    deployments.follow(&state(&[off, two]));
    assert_eq!(names(&deployments), ["two/small"]);
    // and nobody keeps it but whoever still calls it
    assert_eq!((Arc::strong_count(&before), Arc::strong_count(&before.account)), (1, 1));
    deployments.follow(&state(&[]));
    assert!(names(&deployments).is_empty() && deployments.refused().is_empty());
}

#[tokio::test]
async fn another_credential_keeps_breaker_and_proof_and_another_place_does_not() {
    let deployments = deployments(&[]);
    deployments.follow(&state(&[sealed(entry("one"), "sk-1", 1)]));
    let before = lone(&deployments);
    before.proof.looked(1.0, true);
    before.breaker.force_open(std::time::Instant::now());
    before.account.credential.refused(std::time::Instant::now());
    before.account.credential.refused(std::time::Instant::now());

    deployments.follow(&state(&[sealed(entry("one"), "sk-2", 2)]));
    let rotated = lone(&deployments);
    assert!(
        !Arc::ptr_eq(&rotated, &before) && !Arc::ptr_eq(&rotated.account.provider, &before.account.provider)
    );
    assert!(
        Arc::ptr_eq(&rotated.breaker, &before.breaker)
            && Arc::ptr_eq(&rotated.account.host, &before.account.host)
    );
    assert_eq!(rotated.proof.cosine(), Some(1.0));
    // what was held against the old credential is not held against the new one
    let now = std::time::Instant::now();
    assert!(before.account.credential.out(now).is_some() && rotated.account.credential.out(now).is_none());

    let moved = ProviderEntry { base_url: Some("https://eu.api.openai.com/v1".to_owned()), ..entry("one") };
    deployments.follow(&state(&[sealed(moved, "sk-2", 3)]));
    let moved = lone(&deployments);
    assert!(
        !Arc::ptr_eq(&moved.breaker, &before.breaker)
            && !Arc::ptr_eq(&moved.account.host, &before.account.host)
    );
    assert_eq!(moved.proof.cosine(), None);
    assert!(moved.account.is_newcomer());
}

#[tokio::test]
async fn an_entry_that_cannot_be_used_says_why_and_takes_nobody_down() {
    let deployments = deployments(&[]);
    let good = sealed(entry("good"), "sk-1", 1);
    let elsewhere = sealed(entry("bad"), "sk-1", 1);
    let text = |text: &str| Some(text.to_owned());
    for (bad, expected) in [
        (
            SealedProvider {
                entry: Some(ProviderEntry {
                    has_credential: false,
                    credential_removed: true,
                    ..entry("bad")
                }),
                ..SealedProvider::default()
            },
            "its credential was removed",
        ),
        // whoever writes to the database moves no credential elsewhere
        (
            SealedProvider {
                entry: Some(ProviderEntry { base_url: text("https://eu.api.openai.com/v1"), ..entry("bad") }),
                ..elsewhere.clone()
            },
            "its credential cannot be opened",
        ),
        (SealedProvider { credential_version: 2, ..elsewhere.clone() }, "its credential cannot be opened"),
        (
            SealedProvider { sealed_credential: Vec::new().into(), ..elsewhere.clone() },
            "its credential did not come with it",
        ),
        (
            sealed(ProviderEntry { base_url: text("https://evil.example/v1"), ..entry("bad") }, "sk-1", 1),
            "base_url: evil.example is none of",
        ),
        (
            sealed(ProviderEntry { base_url: text("https://127.0.0.1/v1"), ..entry("bad") }, "sk-1", 1),
            "base_url: it names an address",
        ),
        (
            sealed(ProviderEntry { region: text("eu"), ..entry("bad") }, "sk-1", 1),
            "openai has no use for region",
        ),
    ] {
        deployments.follow(&state(&[good.clone(), bad]));
        assert_eq!(names(&deployments), ["good/small"], "{expected}");
        let reasons = reasons(&deployments);
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].starts_with("bad: ") && reasons[0].contains(expected), "{reasons:?}");
        assert!(!format!("{:?}", deployments.refused()).contains("sk-1"));
    }
}

#[tokio::test]
async fn the_file_goes_before_the_stream_which_may_switch_it() {
    let file = Entry { api_key: Some(embermesh_config::Secret::new("sk-file")), ..Entry::default() };
    let deployments = deployments(&[("openai", file)]);
    deployments.follow(&Snapshot::default());
    let before = lone(&deployments);
    assert!(!before.account.is_newcomer());
    // an entry of the stream under its name changes nothing
    deployments.follow(&state(&[sealed(entry("openai"), "sk-other", 1)]));
    assert!(Arc::ptr_eq(&lone(&deployments), &before));
    let switch = |enabled| SealedProvider {
        entry: Some(ProviderEntry {
            source: "file".to_owned(),
            enabled,
            has_credential: false,
            ..entry("openai")
        }),
        ..SealedProvider::default()
    };
    deployments.follow(&state(&[switch(true)]));
    assert!(Arc::ptr_eq(&lone(&deployments), &before));
    deployments.follow(&state(&[switch(false)]));
    assert!(names(&deployments).is_empty());
    deployments.follow(&state(&[]));
    assert_eq!(names(&deployments), ["openai/small"]);
}

#[tokio::test]
async fn a_rate_limit_goes_on_counting_until_it_is_another_one() {
    let deployments = deployments(&[]);
    let limited = |calls| ProviderEntry {
        rate_limit: Some(ProviderRateLimit {
            requests_per_minute: Some(calls),
            ..ProviderRateLimit::default()
        }),
        ..entry("one")
    };
    let exhausted = |deployment: &Deployment| {
        let now = std::time::Instant::now();
        let pace = deployment.account.pace.as_ref().unwrap();
        (0..1000).any(|_| pace.try_take(now, 1).is_err())
    };
    deployments.follow(&state(&[sealed(limited(60), "sk-1", 1)]));
    assert!(exhausted(&lone(&deployments)));
    deployments.follow(&state(&[sealed(limited(60), "sk-2", 2)]));
    assert!(
        lone(&deployments).account.pace.as_ref().unwrap().try_take(std::time::Instant::now(), 1).is_err()
    );
    deployments.follow(&state(&[sealed(entry("one"), "sk-2", 2)]));
    assert!(lone(&deployments).account.pace.is_none());
}

use std::time::{Duration, SystemTime};

use embermesh_auth::{ApiKey, Scopes};
use embermesh_subscription::{KeyRecord, Snapshot};
use embermesh_types::ManualClock;
use http::HeaderValue;

use super::*;

fn record(key: &ApiKey) -> KeyRecord {
    KeyRecord {
        hash: key.hash(),
        principal: Principal {
            tenant: "0192d5a0-0000-7000-8000-000000000001".parse().unwrap(),
            key: key.id().clone(),
            agent: None,
            scopes: Scopes::parse(["embed"]).unwrap(),
        },
        expires_at: None,
        revoked: false,
        rotation_due: false,
    }
}

fn key() -> ApiKey {
    ApiKey::generate("test", &mut rand::rng())
}

fn authenticator(record: KeyRecord, clock: &ManualClock) -> Authenticator {
    let uses = KeyUse::new(&clock.clock());
    Authenticator::new(Subscription::fixed(Snapshot::default().with_key(record)), clock.clock(), uses)
}

fn headers<const N: usize>(pairs: [(&'static str, &str); N]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_key_is_taken_from_either_header() {
    let key = key();
    let authenticator = authenticator(record(&key), &ManualClock::new(SystemTime::UNIX_EPOCH));
    let bearer = |scheme: &str| format!("{scheme} {}", key.reveal());
    for (name, value) in [
        ("x-api-key", key.reveal().to_owned()),
        ("authorization", bearer("Bearer")),
        ("authorization", bearer("bearer")),
        ("authorization", bearer("BEARER ")),
    ] {
        let found = authenticator.authenticate(&headers([(name, &value)])).unwrap();
        assert_eq!(&found.key, key.id(), "{name}");
    }
}

#[test]
fn every_other_request_gets_the_same_refusal() {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let (good, other) = (key(), key());
    let shown = good.reveal().to_owned();
    let forged = KeyRecord { hash: other.hash(), ..record(&good) };
    let revoked = KeyRecord { revoked: true, ..record(&good) };
    let expired = KeyRecord { expires_at: Some(SystemTime::UNIX_EPOCH), ..record(&good) };
    let bearer = format!("Bearer {shown}");
    let mistyped = format!("{}{}", &shown[..shown.len() - 1], if shown.ends_with('0') { '1' } else { '0' });
    let cases = [
        ("no key", record(&good), headers([])),
        ("not a key", record(&good), headers([("x-api-key", "hello")])),
        ("a wrong checksum", record(&good), headers([("x-api-key", &mistyped)])),
        ("unknown", record(&other), headers([("x-api-key", &shown)])),
        ("wrong secret", forged, headers([("x-api-key", &shown)])),
        ("revoked", revoked, headers([("x-api-key", &shown)])),
        ("expired", expired, headers([("x-api-key", &shown)])),
        ("another scheme", record(&good), headers([("authorization", &format!("Basic {shown}"))])),
        ("two keys", record(&good), headers([("x-api-key", &shown), ("x-api-key", other.reveal())])),
        (
            "a wrong key before a right one",
            record(&good),
            headers([("x-api-key", "no"), ("authorization", &bearer)]),
        ),
    ];
    let expected = authenticator(record(&good), &clock).authenticate(&HeaderMap::new()).unwrap_err();
    assert!(expected.message.contains("X-API-Key"), "{expected}");
    for (name, record, headers) in cases {
        assert_eq!(authenticator(record, &clock).authenticate(&headers).unwrap_err(), expected, "{name}");
    }
}

#[test]
fn a_key_works_until_it_expires() {
    let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
    let key = key();
    let expires_at = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(10));
    let authenticator = authenticator(KeyRecord { expires_at, ..record(&key) }, &clock);
    let headers = headers([("x-api-key", key.reveal())]);
    assert!(authenticator.authenticate(&headers).is_ok());
    clock.advance(Duration::from_secs(10));
    assert!(authenticator.authenticate(&headers).is_err());
}

#[test]
fn before_the_keys_are_known_nobody_is_told_that_a_key_is_wrong() {
    let clock = Clock::system();
    let authenticator = Authenticator::new(Subscription::unknown(), clock.clone(), KeyUse::new(&clock));
    let error = authenticator.authenticate(&headers([("x-api-key", key().reveal())])).unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
}

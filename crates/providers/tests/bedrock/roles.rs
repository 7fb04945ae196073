//! Roles: taken on at STS with the entry's keys, and what it looks like when that does not work.

use std::time::Duration;

use embermesh_config::{Provider as Entry, Secret};
use embermesh_providers::Failure;
use embermesh_testing::sim::Fault;
use tokio::{net::TcpListener, time::timeout};

use crate::account::*;

/// An entry that takes on that role at the account's own STS.
fn entry_as(account: &Account, role: &str) -> Entry {
    Entry {
        assume_role_arn: Some(format!("arn:aws:iam::123456789012:role/{role}")),
        sts_url: Some(account.deployment().origin()),
        ..account.entry()
    }
}

fn asked_sts(account: &Account) -> usize {
    account.sim.calls().iter().filter(|call| call.path == "/").count()
}

#[tokio::test]
async fn a_role_is_taken_on_once_for_many_calls() {
    let account = Account::open().await;
    let provider = connect(&entry_as(&account, "embedder"));
    let calls = (0..20).map(|_| ask(&provider));
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!(asked_sts(&account), 1);
    assert_eq!(account.invocations().len(), 20);
}

#[tokio::test]
async fn the_external_id_is_given() {
    let account = Account::open().await;
    let mut entry = entry_as(&account, "for-customer-17");
    assert_eq!(failure(&connect(&entry)).await, Failure::Local);
    entry.external_id = Some("customer-17".to_owned());
    ask(&connect(&entry)).await.unwrap();
}

#[tokio::test]
async fn a_role_that_cannot_be_taken_on_is_local_and_says_what_to_do() {
    let account = Account::open().await;
    let mut wrong_keys = entry_as(&account, "embedder");
    wrong_keys.secret_access_key = Some(Secret::new("another-secret"));
    let mut nowhere = entry_as(&account, "embedder");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    nowhere.sts_url = Some(format!("http://{closed}"));
    for entry in [entry_as(&account, "forbidden"), wrong_keys, nowhere] {
        let error = ask(&connect(&entry)).await.unwrap_err();
        assert_eq!(error.failure, Failure::Local, "{error}");
        assert!(error.message.starts_with("cannot take on arn:aws:iam::123456789012:role/"), "{error}");
        assert!(error.message.contains("external_id") && !error.message.contains("secret"), "{error}");
    }
    assert_eq!(account.invocations(), [], "without credentials nothing is sent");
}

#[tokio::test]
async fn a_profile_that_the_machine_does_not_have_is_local_and_named() {
    let account = Account::open().await;
    let entry = Entry {
        access_key_id: None,
        secret_access_key: None,
        profile: Some("embermesh-no-such-profile".to_owned()),
        ..account.entry()
    };
    let error = ask(&connect(&entry)).await.unwrap_err();
    assert_eq!(error.failure, Failure::Local);
    assert!(error.message.contains("profile embermesh-no-such-profile"), "{error}");
}

#[tokio::test]
async fn an_sts_that_hangs_is_local_within_the_calls_timeout() {
    let account = Account::open().await;
    account.deployment().inject([Fault::Hang.forever()]);
    let provider = connect(&entry_as(&account, "embedder"));
    let mut call = call(&titan_v2(), texts(1));
    call.timeout = Duration::from_millis(300);
    let error = timeout(PATIENCE, provider.embed(call)).await.unwrap().unwrap_err();
    assert_eq!(error.failure, Failure::Local, "nothing was sent: {error}");
    account.deployment().heal();
    ask(&provider).await.unwrap();
}

#[tokio::test]
async fn an_sts_that_is_broken_for_a_moment_is_not_asked_by_every_call() {
    let account = Account::open().await;
    account.deployment().inject([Fault::status(500).forever()]);
    let provider = connect(&entry_as(&account, "embedder"));
    for _ in 0..10 {
        assert_eq!(failure(&provider).await, Failure::Local);
    }
    assert!(asked_sts(&account) < 10, "every call asked");
}

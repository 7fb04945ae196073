//! Vertex AI's format against the simulator, with the access tokens that it takes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "harness/google.rs"]
mod google;
#[path = "harness/vertex_world.rs"]
mod vertex_world;

use std::{sync::Arc, time::Duration};

use embermesh_providers::{Billing, Failure, InputType, ProviderCall, verify};
use embermesh_testing::sim::Fault;
use google::Row;
use serde_json::json;
use tokio::{io::AsyncReadExt, net::TcpListener};
use vertex_world::{PREDICT, TOKEN, World};

const GEMINI: Row = Row::of("gemini-embedding-001", 3072);
const ENGLISH: Row = Row::of("text-embedding-005", 768);
const MANY_LANGUAGES: Row = Row::of("text-multilingual-embedding-002", 768);
const GECKO: Row = Row::of("textembedding-gecko@003", 768);
const OLD_GECKO: Row = Row::of("textembedding-gecko-multilingual@001", 768);

#[tokio::test]
async fn every_row_of_the_table_is_served() {
    let world = World::start().await;
    for row in [
        GEMINI,
        Row { dimensions: 1536, ..GEMINI },
        Row { input_type: InputType::Query, ..GEMINI },
        ENGLISH,
        Row { texts: 7, ..ENGLISH },
        Row { texts: 250, ..ENGLISH },
        Row { texts: 7, input_type: InputType::Query, ..ENGLISH },
        Row { texts: 7, dimensions: 256, ..ENGLISH },
        MANY_LANGUAGES,
        Row { texts: 7, input_type: InputType::Query, ..MANY_LANGUAGES },
        Row { texts: 250, dimensions: 128, ..MANY_LANGUAGES },
        GECKO,
        Row { texts: 5, ..GECKO },
        Row { texts: 5, input_type: InputType::Query, ..GECKO },
        OLD_GECKO,
        Row { texts: 5, ..OLD_GECKO },
    ] {
        let call = row.call();
        let attempt = call.attempt.to_string();
        let answer = world.provider.embed(call).await.unwrap_or_else(|e| panic!("{row:?}: {e}"));
        assert_eq!(answer.vectors, row.vectors(), "{row:?}");
        verify::check(&answer.vectors, row.texts, row.dimensions).unwrap();
        assert_eq!(answer.usage.tokens, Some(row.tokens()), "{row:?}");
        let billable = row.texts().concat().chars().filter(|c| !c.is_whitespace()).count() as u64;
        assert_eq!(answer.usage.characters, Some(billable), "{row:?}");

        let seen = world.sim.calls().pop().unwrap();
        let model = row.model;
        let place = "/v1/projects/acme-prod/locations/europe-west4/publishers/google/models";
        assert_eq!(seen.path, format!("{place}/{model}:predict"));
        assert_eq!((seen.method.as_str(), seen.query, seen.attempt), ("POST", None, Some(attempt)));
        assert_eq!(seen.headers["authorization"], "Bearer …");
        let instance = |text: &Arc<str>| json!({"content": text, "task_type": row.task_type()});
        let instances: Vec<_> = row.texts().iter().map(instance).collect();
        let mut body = json!({"instances": instances, "parameters": {"autoTruncate": false}});
        if row.dimensions != row.native {
            body["parameters"]["outputDimensionality"] = json!(row.dimensions);
        }
        assert_eq!(seen.body, Some(body), "{row:?}");
    }
    assert_eq!(world.google().granted(), 1);
}

#[tokio::test]
async fn limits_are_the_apis_for_each_model() {
    let world = World::start().await;
    for (row, most) in [(GEMINI, 1), (ENGLISH, 250), (MANY_LANGUAGES, 250), (GECKO, 5), (OLD_GECKO, 5)] {
        let limits = world.provider.limits(&row.call().model);
        assert_eq!((limits.texts, limits.tokens), (most, 20_000), "{row:?}");
        let error = world.provider.embed(Row { texts: most as usize + 1, ..row }.call()).await.unwrap_err();
        assert_eq!(error.failure, Failure::Refused, "{row:?}");
    }
}

#[tokio::test]
async fn a_text_that_is_too_long_is_refused_and_never_cut() {
    let world = World::start().await;
    let long: Arc<str> = "hello ".repeat(2100).into();
    // one text beyond the model's length, and ten that are too much together
    for texts in [vec![long.clone()], vec!["hello ".repeat(2010).into(); 10]] {
        let error = world.provider.embed(ProviderCall { texts, ..ENGLISH.call() }).await.unwrap_err();
        assert_eq!((error.failure, error.failure.billing()), (Failure::TooLong, Billing::NotBilled));
        assert!(!error.to_string().contains("hello"), "{error}");
    }
}

#[tokio::test]
async fn a_length_that_a_model_cannot_give_is_an_error_that_names_it() {
    let world = World::start().await;
    let error = world.provider.embed(Row { dimensions: 256, ..GECKO }.call()).await.unwrap_err();
    assert_eq!(
        (error.failure, error.to_string().as_str()),
        (Failure::Refused, "textembedding-gecko@003 takes no dimensions")
    );
    assert!(world.sim.calls().is_empty());
}

#[tokio::test]
async fn every_fault_is_the_failure_that_it_is() {
    let world = World::start().await;
    let row = Row { texts: 3, ..ENGLISH };
    world.provider.embed(row.call()).await.unwrap();
    let deployment = &world.sim.deployments()[0];
    for (fault, failure) in [
        (Fault::status(400), Failure::Refused),
        (Fault::status(403), Failure::Unauthorized),
        (Fault::status(404), Failure::NotHere),
        (Fault::status(429), Failure::Throttled),
        (Fault::QuotaUsedUp, Failure::Exhausted),
        (Fault::status(499), Failure::Intermediary),
        (Fault::status(500), Failure::Server),
        (Fault::status(503), Failure::Server),
        (Fault::status(504), Failure::Intermediary),
        (Fault::ResetBeforeRead, Failure::Broken),
        (Fault::ResetAfterRead, Failure::Broken),
        (Fault::TruncatedJson, Failure::BadAnswer),
        (Fault::ErrorWithStatus200, Failure::BadAnswer),
        (Fault::WrongCount, Failure::BadAnswer),
        (Fault::WrongIndex, Failure::BadAnswer),
        (Fault::NotANumber, Failure::BadAnswer),
    ] {
        deployment.inject([fault.clone().forever()]);
        assert_eq!(world.provider.embed(row.call()).await.unwrap_err().failure, failure, "{fault:?}");
    }
    deployment.inject([Fault::Hang.forever()]);
    let hurried = ProviderCall { timeout: Duration::from_millis(200), ..row.call() };
    assert_eq!(world.provider.embed(hurried).await.unwrap_err().failure, Failure::TimedOut);
    deployment.heal();
    assert_eq!(world.provider.embed(row.call()).await.unwrap().vectors, row.vectors());
    // none of this was the token's fault
    assert_eq!(world.google().granted(), 1);
}

#[tokio::test]
async fn a_thousand_calls_at_once_ask_for_one_token() {
    let world = World::start().await;
    let calls = (0..1000).map(|_| {
        let (provider, call) = (Arc::clone(&world.provider), ENGLISH.call());
        async move { provider.embed(call).await }
    });
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!((world.calls(TOKEN), world.calls(PREDICT)), (1, 1000));
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end_while_calls_go_on() {
    let world = World::start().await;
    world.embed().await.unwrap();
    world.advance(Duration::from_secs(3600 - 230));
    world.embed().await.unwrap();
    assert_eq!(world.google().granted(), 1, "there is time left");

    // the source is away: the token that is still good is kept, and the source is asked again after a pause only
    world.advance(Duration::from_secs(10));
    world.google().refuse_with(Some(http::StatusCode::SERVICE_UNAVAILABLE));
    world.embed_until(|world| world.calls(TOKEN) == 2).await;
    for _ in 0..5 {
        world.embed().await.unwrap();
    }
    assert_eq!((world.calls(TOKEN), world.google().granted()), (2, 1));

    world.google().refuse_with(None);
    world.embed_until(|world| world.google().granted() == 2).await;
    // the first token has ended by now, and nobody asks for another one
    world.advance(Duration::from_secs(240));
    world.embed().await.unwrap();
    assert_eq!(world.google().granted(), 2);
    let refused = world
        .sim
        .calls()
        .iter()
        .filter(|call| call.path.ends_with(PREDICT) && call.status != Some(200))
        .count();
    assert_eq!(refused, 0);
}

#[tokio::test]
async fn a_token_that_has_ended_is_never_sent() {
    let world = World::start().await;
    world.embed().await.unwrap();
    world.advance(Duration::from_secs(7200));
    world.embed().await.unwrap();
    assert_eq!(world.google().granted(), 2);
    assert!(world.sim.calls().iter().all(|call| call.status == Some(200)));
}

#[tokio::test]
async fn a_token_that_the_api_no_longer_takes_is_replaced_within_the_call() {
    let world = World::start().await;
    world.embed().await.unwrap();
    world.google().revoke();
    world.embed().await.unwrap();
    let statuses: Vec<_> = world.sim.calls().iter().map(|call| call.status.unwrap()).collect();
    // token, call; refused call, token, call
    assert_eq!(statuses, [200, 200, 401, 200, 200]);
}

#[tokio::test]
async fn a_new_token_that_the_api_does_not_take_is_an_error_and_the_source_is_left_alone() {
    let world = World::start().await;
    for _ in 0..3 {
        // the one call that gets through is answered with 401
        world.sim.deployments()[0].inject([Fault::Delay { ms: 0 }.times(1), Fault::status(401).forever()]);
        let error = world.embed().await.unwrap_err();
        assert_eq!((error.failure, error.failure.billing()), (Failure::Unauthorized, Billing::NotBilled));
    }
    assert_eq!((world.calls(TOKEN), world.calls(PREDICT)), (1, 1));
    world.sim.deployments()[0].heal();
    world.advance(Duration::from_secs(2));
    world.embed().await.unwrap();
}

#[tokio::test]
async fn a_refused_key_is_the_credentials_fault() {
    let world = World::start().await;
    let stranger = World::start().await;
    // another account's key for this account's endpoint
    let mut key: serde_json::Value =
        serde_json::from_str(&stranger.sim.deployments()[0].google_key_file()).unwrap();
    key["token_uri"] = json!(format!("{}/token", world.sim.deployments()[0].origin()));
    std::fs::write(&world.key_file, key.to_string()).unwrap();
    for _ in 0..3 {
        let error = world.embed().await.unwrap_err();
        assert_eq!((error.failure, error.failure.billing()), (Failure::Unauthorized, Billing::NotBilled));
        assert!(error.to_string().contains("key.json is refused: check that it is not deleted"), "{error}");
    }
    assert_eq!((world.calls(TOKEN), world.calls(PREDICT)), (1, 0));
    // the right key in its place is found without a restart
    std::fs::write(&world.key_file, world.sim.deployments()[0].google_key_file()).unwrap();
    world.advance(Duration::from_secs(2));
    world.embed().await.unwrap();
}

#[tokio::test]
async fn a_token_that_cannot_be_had_is_nobodys_refusal() {
    let world = World::start().await;
    world.google().refuse_with(Some(http::StatusCode::INTERNAL_SERVER_ERROR));
    let error = world.embed().await.unwrap_err();
    assert_eq!((error.failure, error.failure.billing()), (Failure::Local, Billing::NotBilled));
    assert!(error.to_string().starts_with("no access token from the service account in "), "{error}");

    world.google().refuse_with(None);
    world.advance(Duration::from_secs(2));
    world.sim.deployments()[0].inject([Fault::Hang.forever()]);
    let hurried = ProviderCall { timeout: Duration::from_millis(200), ..ENGLISH.call() };
    let error = world.provider.embed(hurried).await.unwrap_err();
    assert_eq!(error.failure, Failure::Local, "{error}");
    assert_eq!(world.calls(PREDICT), 0);
}

#[tokio::test]
async fn a_call_that_gives_up_takes_the_token_from_nobody() {
    let world = World::start().await;
    let mut gone = Box::pin(world.embed());
    assert!(futures::poll!(&mut gone).is_pending());
    drop(gone);
    world.embed().await.unwrap();
    assert_eq!(world.calls(TOKEN), 1);
}

#[tokio::test]
async fn dropping_a_call_closes_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let world = World::at(&format!("http://{}", listener.local_addr().unwrap())).await;
    let mut embed = Box::pin(world.embed());
    let (mut stream, _) = tokio::select! {
        accepted = listener.accept() => accepted.unwrap(),
        answer = &mut embed => panic!("{answer:?}"),
    };
    let mut buffer = vec![0; 64 * 1024];
    tokio::select! {
        read = stream.read(&mut buffer) => assert!(read.unwrap() > 0),
        answer = &mut embed => panic!("{answer:?}"),
    }
    drop(embed);
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

#[tokio::test]
async fn a_machine_on_google_cloud_needs_no_key() {
    let world = World::on_google_cloud().await;
    world.embed().await.unwrap();
    world.embed().await.unwrap();
    let calls = world.sim.calls();
    assert_eq!(calls[0].path, "/computeMetadata/v1/instance/service-accounts/default/token");
    assert_eq!((calls[0].headers["metadata-flavor"].as_str(), calls.len()), ("Google", 3));
}

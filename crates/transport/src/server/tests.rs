use embermesh_proto::internal::v1::{PostRequest, ledger_client::LedgerClient, router_client::RouterClient};

use crate::{
    CallContext, MAX_MESSAGE_BYTES,
    testing::{World, ask, call, context, refusal, router, until},
};

use super::*;

const SERVICE: &str = "embermesh.internal.v1.Router";

fn handled(metrics: &Metrics, code: &str) -> Option<u64> {
    let labels = format!("{{grpc_code=\"{code}\",grpc_method=\"Embed\",grpc_service=\"{SERVICE}\"}} ");
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("grpc_server_handled_total{labels}")));
    line.map(|count| count.parse().unwrap())
}

#[tokio::test]
async fn a_panic_ends_its_own_call_and_no_other() {
    for World { path, transport, handler, .. } in World::both().await {
        let (mut client, mut waiting) = (router(&transport), router(&transport));
        let others = async { waiting.embed(context().request(ask("wait"))).await };
        let panics = async {
            let error = Error::from(client.embed(context().request(ask("panic"))).await.unwrap_err());
            handler.gate.open();
            error
        };
        let (others, error) = tokio::join!(others, panics);
        assert_eq!(error.code, Code::Internal, "{path}");
        assert!(error.message.contains("request id"), "{path}: {error}");
        assert!(others.is_ok(), "{path}");
        assert!(call(&transport, "").await.is_ok(), "{path}");
    }
}

#[tokio::test]
async fn an_error_arrives_as_it_was_sent() {
    for World { path, transport, .. } in World::both().await {
        assert_eq!(call(&transport, "refuse").await.unwrap_err(), refusal(), "{path}");
    }
}

#[tokio::test]
async fn a_callers_identity_arrives_and_a_missing_or_broken_one_is_refused() {
    for World { path, transport, .. } in World::both().await {
        let seen = call(&transport, "who").await.unwrap().model;
        assert_eq!(seen, format!("{:?}", context()), "{path}");

        let nobody = router(&transport).embed(tonic::Request::new(ask("who"))).await.unwrap_err();
        assert_eq!(Error::from(nobody).code, Code::Unauthenticated, "{path}");

        let mut claimed = context().request(ask("who"));
        claimed.metadata_mut().insert("x-embermesh-scopes", "root".parse().unwrap());
        let refused = router(&transport).embed(claimed).await.unwrap_err();
        assert_eq!(Error::from(refused).code, Code::Unauthenticated, "{path}");
    }
}

#[tokio::test]
async fn the_time_that_is_left_travels_with_the_call() {
    let (soon, past) = (std::time::Duration::from_secs(30), std::time::Duration::ZERO);
    for left in [soon, past] {
        let context = CallContext { deadline: Some(std::time::Instant::now() + left), ..context() };
        let received = CallContext::of(&context.request(())).unwrap();
        assert!(received.time_left().unwrap() <= left + std::time::Duration::from_millis(1));
    }
}

#[tokio::test]
async fn twenty_mebibytes_pass_both_ways() {
    const SIZE: u32 = 20 * 1024 * 1024;
    for World { path, transport, .. } in World::both().await {
        let mut message = ask("weigh");
        message.texts = vec!["a".repeat(SIZE as usize)];
        message.dimensions = SIZE;
        let reply = router(&transport).embed(context().request(message)).await.unwrap().into_inner();
        assert_eq!(reply.dimensions, SIZE, "{path}");
        assert_eq!(reply.items[0].vector.len(), SIZE as usize, "{path}");
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_next_one_passes() {
    let over = MAX_MESSAGE_BYTES + 1;
    for World { path, transport, .. } in World::both().await {
        let mut asked = ask("weigh");
        asked.texts = vec!["a".repeat(over)];
        let mut answered = ask("weigh");
        answered.dimensions = u32::try_from(over).unwrap();
        for message in [asked, answered] {
            let error = Error::from(router(&transport).embed(context().request(message)).await.unwrap_err());
            assert_eq!(error.code, Code::TooLarge, "{path}: {error}");
            assert!(error.message.contains(&MAX_MESSAGE_BYTES.to_string()), "{path}: {error}");
        }
        assert!(call(&transport, "").await.is_ok(), "{path}");
    }
}

#[tokio::test]
async fn a_service_that_is_not_served_is_told_from_one_that_is_down() {
    for World { path, transport, metrics, .. } in World::both().await {
        let request = context().request(PostRequest::default());
        let error = Error::from(LedgerClient::new(transport).post(request).await.unwrap_err());
        assert_eq!(error.code, Code::NotImplemented, "{path}");
        assert!(!metrics.render().contains("Ledger"), "{path}");
    }
}

#[tokio::test]
async fn every_call_counts_once_by_its_outcome() {
    for World { path, transport, metrics, .. } in World::both().await {
        for (what, code) in [("", "Ok"), ("refuse", "FailedPrecondition"), ("panic", "Internal")] {
            let _outcome = call(&transport, what).await;
            assert_eq!(handled(&metrics, code), Some(1), "{path} {code}");
        }
        let context = CallContext { deadline: Some(std::time::Instant::now()), ..context() };
        assert!(router(&transport).embed(context.request(ask("hang"))).await.is_err());
        assert!(call(&transport, "").await.is_ok());
        assert_eq!(handled(&metrics, "Ok"), Some(2), "{path}");
    }
}

#[tokio::test]
async fn a_missed_deadline_counts_as_one_or_as_a_caller_that_left() {
    for World { transport, metrics, .. } in World::both().await {
        let soon = std::time::Instant::now() + std::time::Duration::from_millis(50);
        let context = CallContext { deadline: Some(soon), ..context() };
        assert!(router(&transport).embed(context.request(ask("hang"))).await.is_err());
        // over a socket both sides watch the clock, and either may be first
        until(async || {
            let counts = [handled(&metrics, "DeadlineExceeded"), handled(&metrics, "Cancelled")];
            counts.into_iter().flatten().sum::<u64>() == 1
        })
        .await;
    }
}

#[tokio::test]
async fn a_single_server_in_this_process_needs_no_name() {
    let metrics = Metrics::default();
    let handler = crate::testing::Handler::default();
    let server = embermesh_proto::internal::v1::router_server::RouterServer::new(handler);
    let transport = in_process(server, &GrpcMetrics::new(&metrics).unwrap());
    assert!(RouterClient::new(transport).embed(context().request(ask(""))).await.is_ok());
}

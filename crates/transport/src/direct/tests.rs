use std::time::Instant;

use embermesh_errors::{Code, Error};
use embermesh_proto::internal::v1::{
    RouteReply,
    config_server::Config,
    router_server::{Router, RouterServer},
};
use embermesh_telemetry::Metrics;

use crate::{
    CallContext, GrpcMetrics, InProcess, Transport,
    testing::{Handler, World, ask, context, refusal, until, without_deadline},
};

fn world() -> World {
    let (handler, metrics) = (Handler::default(), Metrics::default());
    let transport = InProcess::new(GrpcMetrics::new(&metrics).unwrap())
        .direct::<RouterServer<()>, dyn Router>(std::sync::Arc::new(handler.clone()))
        .transport();
    World { path: "direct", transport, handler, metrics }
}

async fn call(transport: &Transport, context: &CallContext, what: &str) -> Result<RouteReply, Error> {
    let router = transport.direct::<dyn Router>().unwrap();
    let answer = router.call("Embed", context, ask(what), |router, request| router.embed(request)).await;
    answer.map_err(Error::from)
}

fn until_then(left: std::time::Duration) -> CallContext {
    CallContext { deadline: Some(Instant::now() + left), ..context() }
}

fn handled(metrics: &Metrics, code: &str) -> bool {
    let labels =
        format!(r#"grpc_code="{code}",grpc_method="Embed",grpc_service="embermesh.internal.v1.Router""#);
    metrics.render().contains(&format!("grpc_server_handled_total{{{labels}}} 1\n"))
}

#[tokio::test]
async fn only_what_is_offered_has_a_short_way() {
    let offered = world().transport;
    assert!(offered.direct::<dyn Router>().is_some());
    let config = offered.direct::<dyn Config<SubscribeStream = <Handler as Config>::SubscribeStream>>();
    assert!(config.is_none());
    for World { path, transport, .. } in World::both().await {
        assert!(transport.direct::<dyn Router>().is_none(), "{path}");
    }
}

#[tokio::test]
async fn the_context_arrives_as_it_was() {
    let transport = world().transport;
    let asked = until_then(std::time::Duration::from_secs(30));
    let seen = call(&transport, &asked, "who").await.unwrap().model;
    assert_eq!(seen, format!("{:?}", without_deadline(&asked)));
}

#[tokio::test]
async fn an_error_arrives_as_it_was_sent_and_a_panic_ends_its_own_call() {
    let World { transport, metrics, .. } = world();
    assert_eq!(call(&transport, &context(), "refuse").await.unwrap_err(), refusal());
    let error = call(&transport, &context(), "panic").await.unwrap_err();
    assert_eq!(error.code, Code::Internal);
    assert!(error.message.contains("request id"), "{error}");
    assert!(call(&transport, &context(), "").await.is_ok());
    for code in ["FailedPrecondition", "Internal", "Ok"] {
        assert!(handled(&metrics, code), "{code}");
    }
}

#[tokio::test]
async fn a_call_ends_with_its_deadline_and_what_worked_on_it_is_dropped() {
    let World { transport, metrics, handler, .. } = world();
    let error =
        call(&transport, &until_then(std::time::Duration::from_millis(20)), "hang").await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    assert!(handled(&metrics, "DeadlineExceeded"));
    assert_eq!(handler.dropped.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_is_counted_and_its_call_dropped() {
    let World { transport, metrics, handler, .. } = world();
    let context = context();
    let mut left = Box::pin(call(&transport, &context, "hang"));
    until(async || {
        assert!(futures::poll!(&mut left).is_pending());
        handler.begun.load(std::sync::atomic::Ordering::SeqCst) == 1
    })
    .await;
    drop(left);
    assert_eq!(handler.dropped.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(handled(&metrics, "Cancelled"));
}

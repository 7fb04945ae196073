use std::{future::pending, sync::atomic::Ordering};

use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{SubscribeRequest, config_client::ConfigClient};
use tokio::net::TcpListener;

use super::*;
use crate::{
    CallContext, Endpoint,
    testing::{World, ask, call, context, router, until},
};

fn hurried() -> CallContext {
    CallContext { deadline: Some(std::time::Instant::now() + Duration::from_millis(50)), ..context() }
}

#[test]
fn timeouts_are_read_in_every_unit() {
    for (text, expected) in [
        ("50m", Some(Duration::from_millis(50))),
        ("2S", Some(Duration::from_secs(2))),
        ("3M", Some(Duration::from_secs(180))),
        ("1H", Some(Duration::from_secs(3600))),
        ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
        ("7u", Some(Duration::from_micros(7))),
        ("99999999n", Some(Duration::from_nanos(99_999_999))),
        ("123456789S", None),
        ("S", None),
        ("", None),
        ("-1S", None),
        ("5x", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_static(text));
        assert_eq!(read(&headers), expected, "{text}");
    }
}

#[test]
fn a_written_timeout_is_read_back_rounded_up() {
    let mut headers = HeaderMap::new();
    write(&mut headers, Duration::from_micros(1_500));
    assert_eq!(read(&headers), Some(Duration::from_millis(2)));
    write(&mut headers, Duration::from_secs(1_000_000_000));
    assert_eq!(read(&headers), Some(Duration::from_millis(99_999_999)));
}

#[tokio::test]
async fn a_handler_that_never_ends_is_dropped_at_the_deadline() {
    for World { path, transport, handler, .. } in World::both().await {
        let error = Error::from(router(&transport).embed(hurried().request(ask("hang"))).await.unwrap_err());
        assert_eq!(error, Error::from(&passed()), "{path}");
        until(async || handler.dropped.load(Ordering::SeqCst) == 1).await;
    }
}

#[tokio::test]
async fn a_handler_is_dropped_when_its_caller_goes_away() {
    for World { transport, handler, metrics, .. } in World::both().await {
        tokio::select! {
            _ = call(&transport, "hang") => unreachable!(),
            () = until(async || handler.begun.load(Ordering::SeqCst) == 1) => {}
        }
        until(async || handler.dropped.load(Ordering::SeqCst) == 1).await;
        until(async || metrics.render().contains("grpc_code=\"Cancelled\"")).await;
    }
}

#[tokio::test]
async fn a_deadline_holds_for_the_whole_of_a_stream() {
    for World { path, transport, handler, .. } in World::both().await {
        let request = hurried().request(SubscribeRequest::default());
        let mut updates = ConfigClient::new(transport).subscribe(request).await.unwrap().into_inner();
        assert_eq!(updates.message().await.unwrap().unwrap().version, 1, "{path}");
        assert_eq!(Error::from(updates.message().await.unwrap_err()).code, Code::DeadlineExceeded, "{path}");
        drop(updates);
        until(async || handler.dropped.load(Ordering::SeqCst) == 1).await;
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_cannot_hold_a_caller() {
    // the kernel accepts for a listener that nobody asks
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let transport = Endpoint::parse(&url).unwrap().connect(None, &Tasks::new()).unwrap();
    let error = Error::from(router(&transport).embed(hurried().request(ask(""))).await.unwrap_err());
    assert_eq!(error.code, Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_name_that_never_resolves_cannot_hold_a_caller() {
    let endpoint = Endpoint::parse("http://service.test:1").unwrap();
    let transport = endpoint.connect_to(futures::stream::pending(), None, &Tasks::new()).unwrap();
    let error = Error::from(router(&transport).embed(hurried().request(ask(""))).await.unwrap_err());
    assert_eq!(error.code, Code::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_deadline_ends_too() {
    let World { transport, handler, .. } = World::in_process();
    let ended = tokio::time::timeout(LONGEST * 2, call(&transport, "hang")).await.unwrap();
    assert_eq!(ended.unwrap_err().code, Code::DeadlineExceeded);
    assert_eq!(handler.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_deadline_goes_on() {
    let World { transport, .. } = World::in_process();
    let request = context().request(SubscribeRequest::default());
    let mut updates = ConfigClient::new(transport).subscribe(request).await.unwrap().into_inner();
    for version in [1, 2] {
        assert_eq!(updates.message().await.unwrap().unwrap().version, version);
    }
    assert!(updates.message().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_server_waits_as_long_as_a_caller_without_a_deadline_does() {
    let handler = tower::service_fn(|_: Request| pending::<Result<Response, Status>>());
    let mut served = DeadlineLayer::for_servers().layer(handler);
    let call = served.call(Request::new(Body::empty()));
    assert!(tokio::time::timeout(LONGEST * 10, call).await.is_err());
}

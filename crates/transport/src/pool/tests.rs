use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use embermesh_errors::{Code, Error};
use embermesh_lifecycle::Tasks;
use embermesh_proto::internal::v1::{SubscribeRequest, config_client::ConfigClient};
use futures::stream;
use tokio::{io::AsyncWriteExt, net::TcpListener, sync::mpsc};

use crate::{
    CallContext, Endpoint, HttpLimits, Transport,
    testing::{Server, ask, balanced, call, context, router, until},
};

/// Calls until one succeeds, and refuses any failure but `unavailable`.
async fn recovered(transport: &Transport) {
    until(async || match call(transport, "").await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.code, Code::Unavailable);
            assert!(error.retry_after.is_some());
            false
        }
    })
    .await;
}

async fn both_are_called(transport: &Transport, first: &Server, second: &Server) {
    until(async || {
        call(transport, "").await.unwrap();
        first.calls() > 0 && second.calls() > 0
    })
    .await;
}

#[tokio::test]
async fn nobody_listening_is_unavailable_until_somebody_does() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoint = Endpoint::parse(&format!("http://{free}")).unwrap();
    let transport = endpoint.connect(None, &Tasks::new()).unwrap();
    // a call that waited for the address would miss its deadline instead
    let context = CallContext { deadline: Some(Instant::now() + Duration::from_millis(1_500)), ..context() };
    let error = Error::from(router(&transport).embed(context.request(ask(""))).await.unwrap_err());
    assert_eq!(error.code, Code::Unavailable);
    assert!(!error.message.contains("127.0.0.1"), "{error}");

    let _server = Server::at(free, None, HttpLimits::default()).await;
    recovered(&transport).await;
}

#[tokio::test]
async fn a_server_may_restart_on_its_port() {
    let first = Server::start().await;
    let transport = first.endpoint("http", "127.0.0.1").connect(None, &Tasks::new()).unwrap();
    assert!(call(&transport, "").await.is_ok());
    first.crash().await;
    let _second = Server::at(first.address, None, HttpLimits::default()).await;
    recovered(&transport).await;
}

#[tokio::test]
async fn the_first_call_after_a_long_outage_is_served() {
    let first = Server::start().await;
    let transport = first.endpoint("http", "127.0.0.1").connect(None, &Tasks::new()).unwrap();
    assert!(call(&transport, "").await.is_ok());
    first.crash().await;
    assert_eq!(call(&transport, "").await.unwrap_err().code, Code::Unavailable);
    // by now a second passes between two attempts
    tokio::time::sleep(Duration::from_secs(2)).await;
    let _second = Server::at(first.address, None, HttpLimits::default()).await;
    assert!(call(&transport, "").await.is_ok());
}

#[tokio::test]
async fn a_call_that_had_left_when_its_server_crashed_is_unavailable_and_not_repeated() {
    let (first, second) = (Server::start().await, Server::start().await);
    let transport = balanced(&[&first, &second]);
    let crash = async {
        until(async || first.calls() + second.calls() == 1).await;
        let hit = if first.calls() == 1 { &first } else { &second };
        hit.crash().await;
    };
    let (answer, ()) = tokio::join!(call(&transport, "wait"), crash);
    assert_eq!(answer.unwrap_err().code, Code::Unavailable);
    assert_eq!(first.calls() + second.calls(), 1);
}

#[tokio::test]
async fn every_address_of_a_name_is_used_and_a_dead_one_is_left_out() {
    let (first, second) = (Server::start().await, Server::start().await);
    let transport = balanced(&[&first, &second]);
    both_are_called(&transport, &first, &second).await;
    first.crash().await;
    recovered(&transport).await;
    for _ in 0..100 {
        call(&transport, "").await.unwrap();
    }
}

#[tokio::test]
async fn an_address_that_refuses_never_costs_a_call() {
    let (live, dead) = (Server::start().await, Server::start().await);
    dead.crash().await;
    let transport = balanced(&[&live, &dead]);
    for _ in 0..100 {
        call(&transport, "").await.unwrap();
    }
}

#[tokio::test]
async fn an_address_where_nobody_speaks_never_costs_a_call() {
    let server = Server::start().await;
    // the system takes the connections, as it does for a process that has stopped looking; the other ends each after a while
    let (silent, leaving) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let addresses = [server.address, silent.local_addr().unwrap(), leaving.local_addr().unwrap()];
    let (ended, tasks) = (Arc::new(AtomicUsize::new(0)), Tasks::new());
    let count = Arc::clone(&ended);
    tasks.spawn("leaving", async move {
        while let Ok((stream, _)) = leaving.accept().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(stream);
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let endpoint = Endpoint::parse("http://service.test:1").unwrap();
    let transport =
        endpoint.connect_to(stream::iter([Ok(BTreeSet::from(addresses))]), None, &Tasks::new()).unwrap();
    until(async || {
        call(&transport, "").await.unwrap();
        ended.load(Ordering::SeqCst) >= 3
    })
    .await;
}

#[tokio::test]
async fn a_server_that_stops_gracefully_costs_no_call() {
    let (first, second) = (Server::start().await, Server::start().await);
    let transport = balanced(&[&first, &second]);
    let callers = (0..8).map(|_| async {
        for at in 0..100 {
            if at == 50 {
                first.tasks.stop();
            }
            call(&transport, "").await.unwrap();
        }
    });
    futures::future::join_all(callers).await;
    first.tasks.finished().await;
    assert!(first.calls() > 0 && second.calls() > 0);
}

#[tokio::test]
async fn calls_go_to_the_address_with_the_fewest_under_way() {
    let (first, second) = (Server::start().await, Server::start().await);
    let transport = balanced(&[&first, &second]);
    both_are_called(&transport, &first, &second).await;
    let before = [first.calls(), second.calls()];
    let held = call(&transport, "wait");
    let others = async {
        until(async || first.calls() + second.calls() == before[0] + before[1] + 1).await;
        let (busy, at) = if first.calls() > before[0] { (&first, 0) } else { (&second, 1) };
        for _ in 0..10 {
            call(&transport, "").await.unwrap();
        }
        assert_eq!(busy.calls(), before[at] + 1);
        busy.handler.gate.open();
    };
    let (held, ()) = tokio::join!(held, others);
    assert!(held.is_ok());
}

#[tokio::test]
async fn an_address_that_leaves_a_call_without_an_answer_gets_no_others() {
    let (first, second) = (Server::start().await, Server::start().await);
    let transport = balanced(&[&first, &second]);
    both_are_called(&transport, &first, &second).await;
    let before = [first.calls(), second.calls()];
    let others = async {
        until(async || first.calls() + second.calls() == before[0] + before[1] + 1).await;
        let answers = if first.calls() == before[0] { (&first, before[0]) } else { (&second, before[1]) };
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let waiting = futures::future::join_all((0..4).map(|_| call(&transport, "wait")));
        let arrived = async {
            until(async || answers.0.calls() == answers.1 + 4).await;
            first.handler.gate.open();
            second.handler.gate.open();
        };
        let (answered, ()) = tokio::join!(waiting, arrived);
        assert!(answered.iter().all(Result::is_ok));
    };
    let (silent, ()) = tokio::join!(call(&transport, "wait"), others);
    assert!(silent.is_ok());
}

#[tokio::test]
async fn a_forgotten_address_finishes_what_is_under_way_and_gets_no_more() {
    let (old, new) = (Server::start().await, Server::start().await);
    let (announce, found) = mpsc::channel(1);
    let found = stream::unfold(found, |mut found| async { found.recv().await.map(|next| (Ok(next), found)) });
    let endpoint = Endpoint::parse("http://service.test:1").unwrap();
    let transport = endpoint.connect_to(found, None, &Tasks::new()).unwrap();
    announce.send(BTreeSet::from([old.address])).await.unwrap();
    let moves = async {
        until(async || old.calls() == 1).await;
        announce.send(BTreeSet::from([new.address])).await.unwrap();
        until(async || {
            recovered(&transport).await;
            new.calls() > 0
        })
        .await;
        old.handler.gate.open();
    };
    let (held, ()) = tokio::join!(call(&transport, "wait"), moves);
    assert!(held.is_ok());
    let (before, last) = (new.calls(), old.calls());
    for _ in 0..20 {
        call(&transport, "").await.unwrap();
    }
    assert_eq!((new.calls(), old.calls()), (before + 20, last));
}

#[tokio::test]
async fn a_request_that_meets_a_closing_connection_moves_on_to_another() {
    // a server that has gone away for good as soon as it is connected to, but keeps the connection open
    let leaving = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = leaving.local_addr().unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let go_away = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let (farewells, tasks) = (Arc::new(AtomicUsize::new(0)), Tasks::new());
    tasks.spawn("leaving", {
        let farewells = Arc::clone(&farewells);
        async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = leaving.accept().await {
                stream.write_all(&[&settings[..], &go_away].concat()).await.unwrap();
                farewells.fetch_add(1, Ordering::SeqCst);
                open.push(stream);
            }
        }
    });
    let server = Server::start().await;
    let endpoint = Endpoint::parse("http://service.test:1").unwrap();
    let addresses = stream::iter([Ok(BTreeSet::from([address, server.address]))]);
    let transport = endpoint.connect_to(addresses, None, &Tasks::new()).unwrap();
    until(async || {
        call(&transport, "").await.unwrap();
        farewells.load(Ordering::SeqCst) >= 3
    })
    .await;
}

#[tokio::test]
async fn a_stream_outlives_the_client_that_began_it_and_then_nothing_is_left() {
    let (server, tasks) = (Server::start().await, Tasks::new());
    let transport = server.endpoint("http", "127.0.0.1").connect(None, &tasks).unwrap();
    let request = context().request(SubscribeRequest::default());
    let mut updates = ConfigClient::new(transport).subscribe(request).await.unwrap().into_inner();
    // the transport went with the client, and its tasks end by themselves
    tasks.finished().await;
    assert_eq!(updates.message().await.unwrap().unwrap().version, 1);
    server.handler.gate.open();
    assert_eq!(updates.message().await.unwrap().unwrap().version, 2);
    drop(updates);
    until(async || server.handler.dropped.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_stream_whose_server_crashes_is_unavailable() {
    let server = Server::start().await;
    let transport = server.endpoint("http", "127.0.0.1").connect(None, &Tasks::new()).unwrap();
    let request = context().request(SubscribeRequest::default());
    let mut updates = ConfigClient::new(transport).subscribe(request).await.unwrap().into_inner();
    updates.message().await.unwrap();
    server.crash().await;
    assert_eq!(Error::from(updates.message().await.unwrap_err()).code, Code::Unavailable);
}

#[tokio::test]
async fn a_name_without_an_address_is_unavailable() {
    let endpoint = Endpoint::parse("http://service.test:1").unwrap();
    let answers = [Err(std::io::ErrorKind::NotFound.into()), Ok(BTreeSet::new())];
    for answer in answers {
        let transport = endpoint.connect_to(stream::iter([answer]), None, &Tasks::new()).unwrap();
        assert_eq!(call(&transport, "").await.unwrap_err().code, Code::Unavailable);
    }
}

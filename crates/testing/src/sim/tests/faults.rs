//! Every fault as the client meets it, and that it heals.

use std::error::Error;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::{Api, DeploymentSpec, Fault, RetryAfter, Simulator, reset, vector, wall};
use super::{SMALL, client, embed, floats, one_deployment, post, send, texts, unpack};

async fn faulty(fault: Fault) -> Simulator {
    let sim = one_deployment().await;
    sim.deployments()[0].inject([fault.times(1)]);
    sim
}

/// The next request must be answered as if nothing had been.
async fn assert_healed(sim: &Simulator) {
    let answer = embed(sim, &texts(&["x", "y"])).await;
    assert_eq!(floats(&answer, 1), vector(SMALL, "y", 1536));
    assert_eq!(sim.deployments()[0].pending_faults(), []);
}

#[tokio::test]
async fn status_comes_with_retry_after_and_a_body() {
    let fault = Fault::status(429).retry_after(RetryAfter::Seconds(3));
    let sim = faulty(fault.clone()).await;
    let answer = post(&sim, &texts(&["x"])).await.unwrap();
    assert_eq!(answer.status().as_u16(), 429);
    assert_eq!(answer.headers()["retry-after"], "3");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], "rate_limit_exceeded");
    assert_healed(&sim).await;

    let calls = sim.calls();
    assert_eq!((calls[0].status, calls[0].fault.as_ref()), (Some(429), Some(&fault)));
    assert_eq!((calls[1].status, calls[1].fault.as_ref()), (Some(200), None));

    let page = Fault::Status { status: 502, retry_after: None, body: Some("<html>".to_owned()) };
    sim.deployments()[0].inject([page.times(1)]);
    let answer = post(&sim, &texts(&["x"])).await.unwrap();
    assert_eq!(answer.status().as_u16(), 502);
    assert!(answer.headers().get("retry-after").is_none());
    assert_eq!(answer.text().await.unwrap(), "<html>");
}

#[tokio::test]
async fn a_hang_reads_the_request_and_never_answers() {
    let sim = faulty(Fault::Hang).await;
    let question = texts(&["x"]);
    let mut answer = Box::pin(post(&sim, &question));
    let read = async {
        while sim.calls().iter().all(|call| call.texts.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        early = &mut answer => panic!("{early:?}"),
        () = read => {}
    }
    assert!(tokio::time::timeout(Duration::from_millis(50), answer).await.is_err());
    assert_eq!(sim.calls()[0].texts, ["x"]);
    assert_eq!(sim.calls()[0].status, None);
    assert_healed(&sim).await;
}

#[tokio::test]
async fn resets_are_real_and_tell_read_from_unread() {
    for (fault, texts_seen) in
        [(Fault::ResetBeforeRead, Vec::new()), (Fault::ResetAfterRead, vec!["x".to_owned()])]
    {
        let sim = faulty(fault.clone()).await;
        // a raw socket, since HTTP clients hide what the transport said
        let mut stream = TcpStream::connect(sim.deployments()[0].address()).await.unwrap();
        let body = texts(&["x"]).to_string();
        let head = "POST /v1/embeddings HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\n";
        let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{fault:?}");
        assert_eq!(sim.calls()[0].texts, texts_seen);
        assert_eq!((sim.calls()[0].status, &sim.calls()[0].fault), (None, &Some(fault)));
        assert_healed(&sim).await;
    }
}

#[tokio::test]
async fn an_http_client_sees_a_reset_as_a_failed_request() {
    let sim = faulty(Fault::ResetAfterRead).await;
    let error = post(&sim, &texts(&["x"])).await.unwrap_err();
    assert!(error.is_request() && error.source().is_some(), "{error:?}");
    assert_eq!(sim.calls().len(), 1, "the client did not silently try again");
}

#[tokio::test]
async fn the_reset_helper_sends_rst() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    reset(server).unwrap();
    let error = client.read(&mut [0; 1]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_delay_is_late_and_right() {
    let sim = faulty(Fault::Delay { ms: 80 }).await;
    let asked = Instant::now();
    let answer = embed(&sim, &texts(&["x"])).await;
    assert!(asked.elapsed() >= Duration::from_millis(80));
    assert_eq!(floats(&answer, 0), vector(SMALL, "x", 1536));
    assert_healed(&sim).await;
}

#[tokio::test]
async fn a_trickle_sends_the_head_at_once_and_the_body_in_pieces() {
    let sim = faulty(Fault::Trickle { bytes: 2000, every_ms: 20 }).await;
    let asked = Instant::now();
    let mut answer = post(&sim, &json!({"model": SMALL, "input": "x", "dimensions": 256})).await.unwrap();
    let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let (mut pieces, mut body) = (0, Vec::new());
    while let Some(piece) = answer.chunk().await.unwrap() {
        assert!(piece.len() <= 2000);
        body.extend_from_slice(&piece);
        pieces += 1;
    }
    assert_eq!((body.len(), pieces), (length, length.div_ceil(2000)));
    assert!(asked.elapsed() >= Duration::from_millis(20) * pieces as u32);
    assert_eq!(floats(&serde_json::from_slice(&body).unwrap(), 0), vector(SMALL, "x", 256));
    assert_healed(&sim).await;
}

#[tokio::test]
async fn the_time_to_come_back_is_said_in_each_way() {
    for (wait, name) in [
        (RetryAfter::Seconds(30), "retry-after"),
        (RetryAfter::Date(30), "retry-after"),
        (RetryAfter::Millis(1500), "retry-after-ms"),
    ] {
        let sim = faulty(Fault::status(429).retry_after(wait)).await;
        let answer = post(&sim, &texts(&["x"])).await.unwrap();
        let value = answer.headers()[name].to_str().unwrap();
        match wait {
            RetryAfter::Seconds(_) => assert_eq!(value, "30"),
            RetryAfter::Millis(_) => assert_eq!(value, "1500"),
            RetryAfter::Date(_) => {
                let ahead = httpdate::parse_http_date(value).unwrap().duration_since(wall::now()).unwrap();
                assert!((25..=31).contains(&ahead.as_secs()), "{ahead:?}");
            }
        }
    }
}

#[tokio::test]
async fn without_an_index_a_wrong_one_is_a_vector_too_many() {
    let sim = Simulator::start(&[DeploymentSpec::of(Api::Cohere, "a")]).await.unwrap();
    sim.deployments()[0].inject([Fault::WrongIndex.times(1)]);
    let body = json!({"model": "embed-v4.0", "texts": ["x", "y"], "input_type": "search_query"});
    let answer = send(&sim, "/v2/embed", &[], &body).await.body;
    assert_eq!(answer["embeddings"]["float"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn wrong_count_leaves_the_last_one_out() {
    for inputs in [&["x"][..], &["x", "y"]] {
        let sim = faulty(Fault::WrongCount).await;
        let answer = embed(&sim, &texts(inputs)).await;
        assert_eq!(answer["data"].as_array().unwrap().len(), inputs.len() - 1);
        assert_healed(&sim).await;
    }
}

#[tokio::test]
async fn wrong_order_is_right_by_index_only() {
    let sim = faulty(Fault::WrongOrder).await;
    let answer = embed(&sim, &texts(&["x", "y", "z"])).await;
    for (position, (index, text)) in [(2, "z"), (1, "y"), (0, "x")].into_iter().enumerate() {
        assert_eq!(answer["data"][position]["index"], index);
        assert_eq!(floats(&answer, position), vector(SMALL, text, 1536));
    }
    assert_healed(&sim).await;
}

#[tokio::test]
async fn wrong_index_is_double_or_out_of_range() {
    for inputs in [&["x"][..], &["x", "y"]] {
        let sim = faulty(Fault::WrongIndex).await;
        let answer = embed(&sim, &texts(inputs)).await;
        for (position, _) in inputs.iter().enumerate() {
            assert_eq!(answer["data"][position]["index"], 1);
        }
        assert_healed(&sim).await;
    }
}

#[tokio::test]
async fn wrong_dims_are_one_short_of_what_was_asked() {
    let sim = faulty(Fault::WrongDims).await;
    let answer = embed(&sim, &json!({"model": SMALL, "input": "x", "dimensions": 8})).await;
    assert_eq!(floats(&answer, 0).len(), 7);
    assert_healed(&sim).await;
}

#[tokio::test]
async fn not_a_number_survives_both_encodings() {
    let sim = faulty(Fault::NotANumber).await;
    let answer = embed(&sim, &json!({"model": SMALL, "input": "x", "encoding_format": "base64"})).await;
    assert_eq!(unpack(&answer, 0).iter().filter(|component| component.is_nan()).count(), 1);
    assert_healed(&sim).await;

    sim.deployments()[0].inject([Fault::NotANumber.times(1)]);
    let text = post(&sim, &texts(&["x"])).await.unwrap().text().await.unwrap();
    assert_eq!(text.matches(",NaN,").count(), 1);
}

#[tokio::test]
async fn a_zero_vector_has_the_right_length() {
    let sim = faulty(Fault::ZeroVector).await;
    assert_eq!(floats(&embed(&sim, &texts(&["x"])).await, 0), vec![0.0; 1536]);
    assert_healed(&sim).await;
}

#[tokio::test]
async fn truncated_json_arrives_in_intact_framing() {
    let sim = faulty(Fault::TruncatedJson).await;
    let answer = post(&sim, &texts(&["x"])).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let body = answer.text().await.unwrap();
    assert!(body.starts_with(r#"{"object":"list""#));
    assert!(serde_json::from_str::<Value>(&body).unwrap_err().is_eof());
    assert_healed(&sim).await;
}

#[tokio::test]
async fn an_error_may_come_with_status_200() {
    let sim = faulty(Fault::ErrorWithStatus200).await;
    let answer = embed(&sim, &texts(&["x"])).await;
    assert_eq!(answer["error"]["type"], "server_error");
    assert!(answer.get("data").is_none());
    assert_healed(&sim).await;
}

#[tokio::test]
async fn base64_may_be_ignored() {
    let sim = faulty(Fault::IgnoreBase64).await;
    let answer = embed(&sim, &json!({"model": SMALL, "input": "x", "encoding_format": "base64"})).await;
    assert_eq!(floats(&answer, 0), vector(SMALL, "x", 1536));
    assert_healed(&sim).await;
}

#[tokio::test]
async fn a_listing_of_models_does_not_use_up_a_vector_fault() {
    let sim = faulty(Fault::ZeroVector).await;
    let url = format!("{}/models", sim.deployments()[0].base_url());
    assert_eq!(client().get(&url).send().await.unwrap().status().as_u16(), 200);
    assert_eq!(floats(&embed(&sim, &texts(&["x"])).await, 0)[0].to_bits(), 0);

    sim.deployments()[0].inject([Fault::status(503).forever()]);
    for _ in 0..3 {
        assert_eq!(client().get(&url).send().await.unwrap().status().as_u16(), 503);
    }
    sim.deployments()[0].heal();
    assert_eq!(client().get(&url).send().await.unwrap().status().as_u16(), 200);
}

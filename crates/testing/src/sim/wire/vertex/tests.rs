//! The format by itself and the token endpoints; a real client meets them with the providers.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::sim::{Api, DeploymentSpec, GoogleSpec, Simulator, vector_for, wall};

const PLACE: &str = "v1/projects/p/locations/europe-west4/publishers/google/models";
const MODEL: &str = "text-embedding-005";

async fn start(google: Option<GoogleSpec>) -> Simulator {
    Simulator::start(&[DeploymentSpec { google, ..DeploymentSpec::of(Api::Vertex, "vertex") }]).await.unwrap()
}

fn predict(sim: &Simulator, model: &str, body: &Value) -> RequestBuilder {
    let url = format!("{}/{PLACE}/{model}:predict", sim.deployments()[0].base_url());
    reqwest::Client::new().post(url).json(body)
}

async fn ok(sim: &Simulator, model: &str, body: Value) -> Value {
    let answer = predict(sim, model, &body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "{body}");
    answer.json().await.unwrap()
}

/// Status, its name and the message.
async fn refused(request: RequestBuilder) -> (u16, String, String) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], status);
    let text = |field: &str| body["error"][field].as_str().unwrap().to_owned();
    (status, text("status"), text("message"))
}

#[tokio::test]
async fn what_is_not_documented_is_refused() {
    let sim = start(None).await;
    let one = |instance: Value| json!({"instances": [instance]});
    for (model, body, says) in [
        (MODEL, json!({"instances": []}), "250 instance(s) is allowed per prediction. Actual: 0"),
        (MODEL, json!({"instances": [{"content": "a"}], "input": "b"}), "input"),
        (MODEL, one(json!({"content": "a", "taskType": "RETRIEVAL_QUERY"})), "taskType"),
        (MODEL, one(json!({"content": "a", "task_type": "query"})), "query"),
        (MODEL, one(json!({"content": "a", "task_type": null})), "expected value"),
        (MODEL, one(json!({"content": "a", "title": "t"})), "title"),
        (MODEL, one(json!({"content": ""})), "empty"),
        (MODEL, json!({"instances": [{"content": "a"}], "parameters": {"outputDimensionality": 769}}), "769"),
        (
            MODEL,
            json!({"instances": [{"content": "a"}], "parameters": {"auto_truncate": true}}),
            "auto_truncate",
        ),
        (
            "textembedding-gecko@003",
            json!({"instances": [{"content": "a"}], "parameters": {"outputDimensionality": 256}}),
            "dimensions",
        ),
        ("gemini-embedding-001", json!({"instances": [{"content": "a"}, {"content": "b"}]}), "1 instance(s)"),
    ] {
        let (status, name, message) = refused(predict(&sim, model, &body)).await;
        assert_eq!((status, name.as_str()), (400, "INVALID_ARGUMENT"), "{body}");
        assert!(message.contains(says), "{body}: {message}");
    }
    let (status, name, _) = refused(predict(&sim, "bert", &one(json!({"content": "a"})))).await;
    assert_eq!((status, name.as_str()), (404, "NOT_FOUND"));
}

#[tokio::test]
async fn a_long_text_is_cut_unless_the_caller_objects() {
    let sim = start(None).await;
    let body = json!({"instances": [{"content": "word ".repeat(2500)}, {"content": "a b\tc"}]});
    let answer = ok(&sim, MODEL, body).await;
    let statistics = |i: usize| answer["predictions"][i]["embeddings"]["statistics"].clone();
    assert_eq!(statistics(0), json!({"token_count": 2048, "truncated": true}));
    assert_eq!(statistics(1)["truncated"], false);
    let objection =
        json!({"instances": [{"content": "word ".repeat(2500)}], "parameters": {"autoTruncate": false}});
    assert_eq!(refused(predict(&sim, MODEL, &objection)).await.0, 400);
}

#[tokio::test]
async fn without_a_task_type_a_text_is_a_query() {
    let sim = start(None).await;
    let answer = ok(&sim, MODEL, json!({"instances": [{"content": "a b\tc"}]})).await;
    let values: Vec<f32> =
        serde_json::from_value(answer["predictions"][0]["embeddings"]["values"].clone()).unwrap();
    assert_eq!(values, vector_for(MODEL, "query", "a b\tc", 768));
    assert_eq!(answer["metadata"]["billableCharacterCount"], 3);
}

#[tokio::test]
async fn a_token_is_good_until_it_ends_or_is_revoked() {
    let sim = start(Some(GoogleSpec::new("p", "europe-west4"))).await;
    let body = json!({"instances": [{"content": "a"}]});
    assert_eq!(refused(predict(&sim, MODEL, &body)).await.0, 401);
    assert_eq!(refused(predict(&sim, MODEL, &body).bearer_auth("ya29.simulated-1")).await.0, 401);

    let google = sim.deployments()[0].google();
    let token = machines_token(&sim).await;
    let status =
        async |token: &str| predict(&sim, MODEL, &body).bearer_auth(token).send().await.unwrap().status();
    assert_eq!(status(&token).await, StatusCode::OK);
    google.advance(Duration::from_secs(3300));
    assert_eq!(machines_token(&sim).await, token, "the same while it has more than four minutes to go");
    google.advance(Duration::from_secs(90));
    let next = machines_token(&sim).await;
    assert_ne!(next, token);
    google.advance(Duration::from_secs(300));
    assert_eq!((status(&token).await, status(&next).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));
    google.revoke();
    assert_eq!(status(&next).await, StatusCode::UNAUTHORIZED);

    let elsewhere =
        format!("{}/{}/{MODEL}:predict", sim.deployments()[0].base_url(), PLACE.replace("/p/", "/q/"));
    let token = machines_token(&sim).await;
    let elsewhere = reqwest::Client::new().post(elsewhere).json(&body).bearer_auth(token);
    assert_eq!(refused(elsewhere).await.0, 403);
}

async fn machines_token(sim: &Simulator) -> String {
    let path = "computeMetadata/v1/instance/service-accounts/default/token";
    let ask = reqwest::Client::new().get(format!("{}/{path}", sim.deployments()[0].base_url()));
    let bare = ask.try_clone().unwrap().send().await.unwrap();
    assert_eq!(bare.status(), StatusCode::FORBIDDEN);
    let answer = ask.header("Metadata-Flavor", "Google").send().await.unwrap();
    assert_eq!(answer.headers()["metadata-flavor"], "Google");
    let grant: Value = answer.json().await.unwrap();
    grant["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_claim_of_an_assertion_is_checked() {
    let sim = start(None).await;
    let origin = sim.deployments()[0].origin();
    let file: Value = serde_json::from_str(&sim.deployments()[0].google_key_file()).unwrap();
    let key = EncodingKey::from_rsa_pem(file["private_key"].as_str().unwrap().as_bytes()).unwrap();
    let now = wall::since_epoch().as_secs();
    let claims = json!({
        "iss": file["client_email"],
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": file["token_uri"],
        "iat": now - 10,
        "exp": now + 3590,
    });
    let header = Header {
        kid: Some(file["private_key_id"].as_str().unwrap().to_owned()),
        ..Header::new(Algorithm::RS256)
    };
    let ask = async |header: &Header, claims: &Value, key: &EncodingKey| {
        let assertion = encode(header, claims, key).unwrap();
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("assertion", &assertion)
            .finish();
        let request = reqwest::Client::new()
            .post(format!("{origin}/token"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap()["error"].as_str().map(str::to_owned))
    };
    assert_eq!(ask(&header, &claims, &key).await, (200, None));

    for (claim, value, error) in [
        ("iss", json!("somebody@else"), "invalid_grant"),
        ("aud", json!("https://oauth2.googleapis.com/token"), "invalid_grant"),
        ("scope", json!("https://www.googleapis.com/auth/drive"), "invalid_scope"),
        ("iat", json!(now + 60), "invalid_grant"),
        ("exp", json!(now - 1), "invalid_grant"),
        ("exp", json!(now + 3600), "invalid_grant"),
        ("sub", json!("a@b"), "invalid_grant"),
    ] {
        let mut changed = claims.clone();
        changed[claim] = value;
        assert_eq!(ask(&header, &changed, &key).await, (400, Some(error.to_owned())), "{claim}");
    }
    let another = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem();
    let another = EncodingKey::from_rsa_pem(another.as_bytes()).unwrap();
    assert_eq!(ask(&header, &claims, &another).await.0, 400);
    let unnamed = Header::new(Algorithm::RS256);
    assert_eq!(ask(&unnamed, &claims, &key).await.0, 400);
}

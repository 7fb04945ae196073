use serde_json::json;

use super::{key_file::KeyFile, *};
use crate::BadEntry;

fn source(entry: &serde_json::Value, google_credentials: Option<&str>) -> Result<Source, BadEntry> {
    let google_credentials = google_credentials.map(Into::into);
    let surroundings = Surroundings { google_credentials, ..Surroundings::default() };
    Source::of(&serde_json::from_value(entry.clone()).unwrap(), &surroundings)
}

#[test]
fn what_is_wrong_with_a_key_file_is_said_without_quoting_it() {
    let complete = json!({
        "type": "service_account",
        "client_email": "a@b.iam.gserviceaccount.com",
        "private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let with = |field: &str, value: &str| {
        let mut changed = complete.clone();
        changed[field] = json!(value);
        changed.to_string()
    };
    for (text, expected) in [
        ("c2VjcmV0".to_owned(), "it is not the JSON key file of a service account (line 1 column 1)"),
        (
            r#"{"type":"service_account"}"#.to_owned(),
            "it is not the JSON key file of a service account (line 1 column 26)",
        ),
        (
            with("type", "external_account"),
            "it is of type 'external_account', give the key file of a service account",
        ),
        (complete.to_string(), "its private_key is not an RSA key in PEM"),
        (with("token_uri", "nowhere"), "its token_uri is not a URL"),
    ] {
        let bad = KeyFile::parse(text.as_bytes()).err().unwrap().to_string();
        assert_eq!(bad, expected);
    }
}

#[test]
fn a_key_file_that_is_not_there_is_named_at_the_start() {
    for (entry, machines) in
        [(json!({"credentials_file": "/no/key.json"}), None), (json!({}), Some("/no/key.json"))]
    {
        let bad = source(&entry, machines).unwrap_err().to_string();
        assert!(bad.starts_with("cannot use the key file /no/key.json: "), "{bad}");
    }
}

#[test]
fn without_a_key_file_the_metadata_server_is_asked() {
    for (entry, machines, expected) in [
        (json!({}), None, "the metadata server at metadata.google.internal"),
        (json!({"metadata_url": "http://127.0.0.1:8/"}), None, "the metadata server at 127.0.0.1:8"),
        // named for this provider, while the file is the machine's for all
        (
            json!({"metadata_url": "http://127.0.0.1:8"}),
            Some("/no/key.json"),
            "the metadata server at 127.0.0.1:8",
        ),
    ] {
        assert_eq!(source(&entry, machines).unwrap().to_string(), expected);
    }
    let bad = source(&json!({"metadata_url": "metadata"}), None).unwrap_err();
    assert!(matches!(bad, BadEntry::Url { option: "metadata_url", .. }), "{bad}");
}

#[test]
fn a_token_is_in_no_debug_output() {
    let grant = Grant { access_token: Secret::new("ya29.secret"), expires_in: Duration::from_secs(3600) };
    let token = Token::new(&grant, SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(token.authorization(), "Bearer ya29.secret");
    let tokens =
        Tokens::new(source(&json!({}), None).unwrap(), HttpClient::new().unwrap(), Surroundings::default());
    tokens.0.state().token = Some(token.clone());
    assert!(!format!("{tokens:?} {:?}", token.authorization()).contains("secret"));
}

#[test]
fn a_token_is_renewed_before_it_is_given_up_however_short_it_lasts() {
    for seconds in [1, 9, 60, 239, 300, 3599] {
        let grant = Grant { access_token: Secret::new("t"), expires_in: Duration::from_secs(seconds) };
        let asked = SystemTime::UNIX_EPOCH;
        let token = Token::new(&grant, asked).unwrap();
        assert!(asked < token.renew_from && token.renew_from < token.expires, "{seconds}");
        assert!(token.expires < asked + grant.expires_in, "{seconds}");
    }
}

#[tokio::test]
async fn a_process_that_stops_leaves_nobody_waiting() {
    let surroundings = Surroundings::default();
    surroundings.tasks.abort();
    let tokens = Tokens::new(source(&json!({}), None).unwrap(), HttpClient::new().unwrap(), surroundings);
    let error = tokens.get(Duration::from_secs(60)).await.err().unwrap();
    assert_eq!((error.failure, error.message.as_str()), (Failure::Local, "the process stops"));
}

use http::Request;

use super::*;

/// The worked example in AWS's description of the signature (`GET /` of the service `iam`).
#[test]
fn the_published_example_is_signed_as_published() {
    let (head, ()) = Request::get("/?Version=2010-05-08&Action=ListUsers")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .header("host", "iam.amazonaws.com")
        .header("x-amz-date", "20150830T123600Z")
        .body(())
        .unwrap()
        .into_parts();
    let request = canonical::request(&head, b"", &["content-type", "host", "x-amz-date"]).unwrap();
    assert_eq!(
        hex(&Sha256::digest(&request)),
        "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
    );
    let signature = signature(
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "20150830/us-east-1/iam/aws4_request",
        "20150830T123600Z",
        &request,
    );
    assert_eq!(signature, "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
}

fn keys() -> AwsKeys {
    AwsKeys {
        access_key_id: "AKID".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: None,
        region: "eu-west-1".to_owned(),
    }
}

/// A request to sign, and what its signing may get wrong.
struct Draft {
    id: &'static str,
    secret: String,
    token: Option<String>,
    region: &'static str,
    service: &'static str,
    minutes_ago: i64,
    sent_body: &'static str,
    sent_path: &'static str,
    unsigned: &'static str,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            id: "AKID",
            secret: "secret".to_owned(),
            token: None,
            region: "eu-west-1",
            service: "bedrock",
            minutes_ago: 0,
            sent_body: "{}",
            sent_path: "/model/a%3A0/invoke",
            unsigned: "",
        }
    }
}

impl Draft {
    fn verify(&self, sessions: &Sessions) -> Result<(), SignatureError> {
        let now = i64::try_from(wall::since_epoch().as_secs()).unwrap() - 60 * self.minutes_ago;
        let date = Timestamp::from_second(now).unwrap().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut request =
            Request::post("/model/a%3A0/invoke").header("host", "sim").header("x-amz-date", &date);
        let mut signed = vec!["host", "x-amz-date"];
        if let Some(token) = &self.token {
            request = request.header("x-amz-security-token", token);
            signed.push("x-amz-security-token");
        }
        signed.retain(|name| *name != self.unsigned);
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let scope = format!("{}/{}/{}/aws4_request", &date[..8], self.region, self.service);
        let canonical = canonical::request(&head, b"{}", &signed).unwrap_or_default();
        let signature = signature(&self.secret, &scope, &date, &canonical);
        let (id, signed) = (self.id, signed.join(";"));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}"
        );
        head.headers.insert("authorization", authorization.parse().unwrap());
        head.uri = self.sent_path.parse().unwrap();
        verify(&keys(), sessions, "bedrock", &head, self.sent_body.as_bytes())
    }
}

#[test]
fn a_good_signature_is_taken() {
    assert_eq!(Draft::default().verify(&Sessions::default()), Ok(()));
}

#[test]
fn each_thing_that_is_wrong_is_found() {
    let verify = |draft: Draft| draft.verify(&Sessions::default());
    let other = || Draft::default();
    assert_eq!(verify(Draft { id: "OTHER", ..other() }), Err(SignatureError::UnknownKey));
    assert_eq!(verify(Draft { token: Some("t".to_owned()), ..other() }), Err(SignatureError::UnknownKey));
    assert_eq!(verify(Draft { secret: "guess".to_owned(), ..other() }), Err(SignatureError::Mismatch));
    assert_eq!(verify(Draft { sent_body: "{ }", ..other() }), Err(SignatureError::Mismatch));
    assert_eq!(verify(Draft { sent_path: "/model/a:0/invoke", ..other() }), Err(SignatureError::Mismatch));
    assert!(matches!(verify(Draft { region: "us-east-1", ..other() }), Err(SignatureError::Scope(_))));
    assert!(matches!(verify(Draft { service: "sts", ..other() }), Err(SignatureError::Scope(_))));
    assert!(matches!(verify(Draft { minutes_ago: 6, ..other() }), Err(SignatureError::Skewed(_))));
    assert!(matches!(verify(Draft { minutes_ago: -6, ..other() }), Err(SignatureError::Skewed(_))));
    for unsigned in ["host", "x-amz-date"] {
        assert!(
            matches!(verify(Draft { unsigned, ..other() }), Err(SignatureError::Incomplete(_))),
            "{unsigned}"
        );
    }
}

#[test]
fn a_session_is_good_with_its_token_until_its_end() {
    let sessions = Sessions::default();
    let verify = |life, token: fn(&Session) -> String| {
        let session = sessions.open("role", life);
        let (secret, token) = (session.secret_access_key.clone(), Some(token(&session)));
        Draft { id: session.access_key_id.leak(), secret, token, ..Draft::default() }.verify(&sessions)
    };
    let hour = Duration::from_secs(3600);
    assert_eq!(verify(hour, |session| session.session_token.clone()), Ok(()));
    assert_eq!(verify(hour, |_| "another".to_owned()), Err(SignatureError::UnknownKey));
    assert_eq!(verify(Duration::ZERO, |session| session.session_token.clone()), Err(SignatureError::Expired));
}

#[test]
fn what_is_no_signature_is_told_from_a_wrong_one() {
    let verify = |authorization: Option<&str>| {
        let mut request = Request::post("/").header("host", "sim").header("x-amz-date", "20150830T123600Z");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        verify(&keys(), &Sessions::default(), "bedrock", &head, b"")
    };
    assert_eq!(verify(None), Err(SignatureError::Missing));
    for incomplete in ["Bearer key", "AWS4-HMAC-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=0"] {
        assert!(matches!(verify(Some(incomplete)), Err(SignatureError::Incomplete(_))), "{incomplete}");
    }
}

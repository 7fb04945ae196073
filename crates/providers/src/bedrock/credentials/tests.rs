use embermesh_config::Secret;

use super::*;

fn read(change: impl FnOnce(&mut Entry)) -> Result<AwsCredentials, String> {
    let mut entry = Entry::default();
    change(&mut entry);
    AwsCredentials::new(&entry, Region::from_static("eu-west-1"), Clock::system(), None)
        .map_err(|bad| bad.to_string())
}

fn keys(entry: &mut Entry) {
    entry.access_key_id = Some("AKID".to_owned());
    entry.secret_access_key = Some(Secret::new("hush-secret"));
    entry.session_token = Some(Secret::new("hush-token"));
}

#[test]
fn half_a_credential_is_an_error_that_names_the_other_half() {
    type Change = fn(&mut Entry);
    let cases: [(Change, &str); 6] = [
        (|entry| entry.access_key_id = Some("AKID".to_owned()), "secret_access_key is missing"),
        (|entry| entry.secret_access_key = Some(Secret::new("s")), "access_key_id is missing"),
        (|entry| entry.session_token = Some(Secret::new("s")), "access_key_id is missing"),
        (|entry| entry.external_id = Some("x".to_owned()), "assume_role_arn is missing"),
        (|entry| entry.sts_url = Some("http://sts".to_owned()), "assume_role_arn is missing"),
        (
            |entry| {
                keys(entry);
                entry.profile = Some("p".to_owned());
            },
            "bedrock has no use for profile beside access_key_id",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(read(change).unwrap_err(), expected);
    }
    let bad = read(|entry| entry.sts_url = Some("sts.example".to_owned())).unwrap_err();
    assert!(bad.contains("sts_url"), "{bad}");
}

#[tokio::test]
async fn the_entrys_keys_are_used_as_they_are() {
    let credentials = read(keys).unwrap().current().await.unwrap();
    assert_eq!(credentials.access_key_id(), "AKID");
    assert_eq!(credentials.secret_access_key(), "hush-secret");
    assert_eq!(credentials.session_token(), Some("hush-token"));
}

#[test]
fn nothing_shown_or_said_holds_a_secret() {
    let credentials = read(|entry| {
        keys(entry);
        entry.assume_role_arn = Some("arn:aws:iam::1:role/r".to_owned());
    })
    .unwrap();
    let error = CredentialsError::not_loaded("x");
    let shown = format!("{credentials:?} {}", credentials.explain(&error));
    assert!(shown.contains("arn:aws:iam::1:role/r") && !shown.contains("hush"), "{shown}");
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    let said = |change: fn(&mut Entry)| {
        read(change).unwrap().explain(&CredentialsError::not_loaded("x")).to_string()
    };
    assert!(said(|_| ()).contains("set access_key_id and secret_access_key"));
    assert!(said(|entry| entry.profile = Some("work".to_owned())).contains("profile work"));
    assert!(said(|entry| entry.assume_role_arn = Some("arn:r".to_owned())).contains("take on arn:r"));
    let other = read(keys).unwrap().explain(&std::io::Error::other("no endpoint"));
    assert!(other.message.contains("check region and base_url"), "{other}");
    assert_eq!(other.failure, Failure::Local);
}

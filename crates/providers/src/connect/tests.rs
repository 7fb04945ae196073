use super::*;

fn entry(yaml: &str) -> Entry {
    serde_json::from_str(yaml).unwrap()
}

fn connect(kind: ProviderKind, json: &str) -> NewProvider {
    Connector::new(None).unwrap().connect(kind, &entry(json))
}

fn refusal(kind: ProviderKind, json: &str) -> String {
    connect(kind, json).unwrap_err().to_string()
}

#[test]
fn a_missing_option_is_named() {
    for (kind, json, missing) in [
        (ProviderKind::OpenAi, "{}", "api_key"),
        (ProviderKind::AzureOpenAi, r#"{"api_key":"k","api_version":"2024-10-21"}"#, "base_url"),
        (
            ProviderKind::AzureOpenAi,
            r#"{"base_url":"https://r.openai.azure.com","api_version":"2024-10-21"}"#,
            "api_key",
        ),
        (
            ProviderKind::AzureOpenAi,
            r#"{"base_url":"https://r.openai.azure.com","api_key":"k"}"#,
            "api_version",
        ),
        (ProviderKind::Voyage, "{}", "api_key"),
        (ProviderKind::Cohere, "{}", "api_key"),
    ] {
        assert_eq!(refusal(kind, json), format!("{missing} is missing"), "{kind:?} {json}");
    }
}

#[test]
fn an_option_without_a_use_is_refused_by_name() {
    let v1 =
        r#"{"base_url":"https://r.openai.azure.com/openai/v1/","api_key":"k","api_version":"2024-10-21"}"#;
    for (kind, json, option) in [
        (ProviderKind::OpenAi, r#"{"api_key":"k","region":"eu"}"#, "region"),
        (ProviderKind::OpenAi, r#"{"api_key":"k","api_version":"1"}"#, "api_version"),
        (ProviderKind::AzureOpenAi, v1, "api_version"),
        (ProviderKind::Voyage, r#"{"api_key":"k","profile":"p"}"#, "profile"),
        (ProviderKind::Cohere, r#"{"api_key":"k","project":"p"}"#, "project"),
        (ProviderKind::Bedrock, r#"{"region":"eu-west-1","api_key":"k"}"#, "api_key"),
        (ProviderKind::Vertex, r#"{"project":"p","region":"r","api_key":"k"}"#, "api_key"),
        (ProviderKind::Gemini, r#"{"api_key":"k","credentials_file":"/f"}"#, "credentials_file"),
        (ProviderKind::Local, r#"{"base_url":"http://h"}"#, "base_url"),
    ] {
        assert!(refusal(kind, json).ends_with(&format!("has no use for {option}")), "{kind:?} {json}");
    }
}

#[test]
fn only_a_web_address_is_a_base_url() {
    for bad in [
        "",
        "host",
        "host:80/v1",
        "ftp://host",
        "http://user:pass@host/v1",
        "http://",
        "https://h/v1?key=1",
        "http://h/#a",
    ] {
        for kind in
            [ProviderKind::OpenAi, ProviderKind::AzureOpenAi, ProviderKind::Voyage, ProviderKind::Cohere]
        {
            let version = if kind == ProviderKind::AzureOpenAi { r#","api_version":"1""# } else { "" };
            let json = format!(r#"{{"api_key":"k","base_url":"{bad}"{version}}}"#);
            assert!(refusal(kind, &json).starts_with("base_url"), "{kind:?} {bad}");
        }
    }
}

#[test]
fn a_key_is_in_no_debug_output() {
    let azure = r#","base_url":"https://r.openai.azure.com","api_version":"2024-10-21""#;
    for (kind, more) in [
        (ProviderKind::OpenAi, ""),
        (ProviderKind::AzureOpenAi, azure),
        (ProviderKind::Voyage, ""),
        (ProviderKind::Cohere, ""),
    ] {
        let provider = connect(kind, &format!(r#"{{"api_key":"sk-secret"{more}}}"#)).unwrap();
        assert!(!format!("{provider:?}").contains("secret"), "{kind:?}");
        let error = refusal(kind, &format!(r#"{{"api_key":"sk-secret\n"{more}}}"#));
        assert!(!error.contains("secret"), "{error}");
    }
}

use embermesh_config::Secret;

use super::*;

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn held() -> ProviderEntry {
    ProviderEntry {
        name: "one".to_owned(),
        kind: "openai".to_owned(),
        enabled: true,
        source: "api".to_owned(),
        base_url: text("https://api.openai.com/v1"),
        has_credential: true,
        version: 3,
        ..ProviderEntry::default()
    }
}

fn merged(request: UpdateProviderRequest) -> Result<(ProviderEntry, CredentialChange), Error> {
    merge(&held(), request, &Security::default())
}

fn param(error: &Error) -> &str {
    error.param.as_deref().unwrap_or_default()
}

#[test]
fn a_change_of_place_takes_the_credential_away_unless_it_is_given_again() {
    let given = Credential { api_key: text("sk-new"), ..Credential::default() };
    let of = UpdateProviderRequest::default;
    for (request, change) in [
        (UpdateProviderRequest { timeout: text("5s"), ..of() }, CredentialChange::Keep),
        (
            UpdateProviderRequest { models: vec!["m".to_owned()], enabled: Some(false), ..of() },
            CredentialChange::Keep,
        ),
        (
            UpdateProviderRequest { base_url: text("https://api.openai.com/v1"), ..of() },
            CredentialChange::Keep,
        ),
        (
            UpdateProviderRequest { base_url: text("https://eu.api.openai.com/v1"), ..of() },
            CredentialChange::Remove,
        ),
        (UpdateProviderRequest { base_url: text(""), ..of() }, CredentialChange::Remove),
        (
            UpdateProviderRequest { kind: text("cohere"), base_url: text(""), ..of() },
            CredentialChange::Remove,
        ),
        (UpdateProviderRequest { api_key: text("sk-new"), ..of() }, CredentialChange::Give(given.clone())),
        (
            UpdateProviderRequest {
                base_url: text("https://eu.api.openai.com"),
                api_key: text("sk-new"),
                ..of()
            },
            CredentialChange::Give(given),
        ),
        (UpdateProviderRequest { api_key: text(""), ..of() }, CredentialChange::Clear),
    ] {
        assert_eq!(merged(request.clone()).unwrap().1, change, "{:?}", request.base_url);
    }
}

#[test]
fn what_a_router_would_refuse_is_refused_by_the_name_of_its_option() {
    let of = UpdateProviderRequest::default;
    for (request, expected) in [
        (UpdateProviderRequest { base_url: text("https://evil.example"), ..of() }, "base_url"),
        (UpdateProviderRequest { base_url: text("http://api.openai.com"), ..of() }, "base_url"),
        (UpdateProviderRequest { base_url: text("https://127.0.0.1"), ..of() }, "base_url"),
        (UpdateProviderRequest { base_url: text("https://u:p@api.openai.com"), ..of() }, "base_url"),
        (UpdateProviderRequest { region: text("eu"), ..of() }, "region"),
        (UpdateProviderRequest { kind: text("local"), ..of() }, "kind"),
        (UpdateProviderRequest { timeout: text("soon"), ..of() }, "timeout"),
        (UpdateProviderRequest { version: Some(2), ..of() }, "version"),
        (UpdateProviderRequest { models: vec![String::new()], ..of() }, "models"),
        (UpdateProviderRequest { secret_access_key: text("s"), ..of() }, "secret_access_key"),
    ] {
        assert_eq!(param(&merged(request).unwrap_err()), expected);
    }
    // a provider that must not be called any more can be switched off
    let stale = ProviderEntry { base_url: text("https://gone.example"), ..held() };
    let off = UpdateProviderRequest { enabled: Some(false), ..of() };
    assert!(!merge(&stale, off, &Security::default()).unwrap().0.enabled);
    let on = UpdateProviderRequest { enabled: Some(true), ..of() };
    assert_eq!(param(&merge(&stale, on, &Security::default()).unwrap_err()), "base_url");
}

#[test]
fn a_new_entry_is_of_the_kind_of_its_name_and_its_name_is_plain() {
    let of = |name: &str| CreateProviderRequest { name: name.to_owned(), ..CreateProviderRequest::default() };
    let (entry, change) = create(of("cohere"), &Security::default()).unwrap();
    assert_eq!((entry.kind.as_str(), entry.enabled, change), ("cohere", true, CredentialChange::Clear));
    assert_eq!(param(&create(of("other"), &Security::default()).unwrap_err()), "kind");
    for bad in ["", "a/b", "a b", "é", "a\n", &"x".repeat(65)] {
        assert_eq!(param(&create(of(bad), &Security::default()).unwrap_err()), "name", "{bad:?}");
    }
}

#[test]
fn an_entry_of_the_file_is_shown_without_its_secrets_and_can_only_be_switched() {
    let provider = Provider { api_key: Some(Secret::new("sk-secret")), ..Provider::default() };
    let shown = of_file("openai", &provider);
    assert!(shown.has_credential && !format!("{shown:?}").contains("secret"));
    assert_eq!((shown.kind.as_str(), shown.source.as_str()), ("openai", "file"));
    let off = UpdateProviderRequest { enabled: Some(false), ..UpdateProviderRequest::default() };
    assert!(!switch(&shown, &off).unwrap().enabled);
    let moved = UpdateProviderRequest { base_url: text("https://api.openai.com"), ..off };
    assert_eq!(param(&switch(&shown, &moved).unwrap_err()), "provider");
}

//! Every kind, as an entry that came over the API: it reaches what the rules allow and nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{sync::Arc, time::Duration};

use embermesh_config::{Provider as Entry, ProviderKind, Secret};
use embermesh_egress::Rules;
use embermesh_providers::{BadEntry, CatalogModel, Connector, InputType, ProviderCall};
use embermesh_testing::sim::{Api, AwsKeys, DeploymentSpec, Simulator};

const REGION: &str = "eu-west-1";
const KINDS: [(ProviderKind, Api, &str, u32); 5] = [
    (ProviderKind::OpenAi, Api::OpenAi, "text-embedding-3-small", 1536),
    (ProviderKind::Cohere, Api::Cohere, "embed-v4.0", 1536),
    (ProviderKind::Voyage, Api::Voyage, "voyage-3.5", 1024),
    (ProviderKind::Gemini, Api::Gemini, "gemini-embedding-001", 3072),
    (ProviderKind::Bedrock, Api::Bedrock, "amazon.titan-embed-text-v2:0", 1024),
];

fn call(model: &str, dimensions: u32) -> ProviderCall {
    let catalog = CatalogModel {
        id: model.to_owned(),
        native_dimensions: dimensions,
        any_dimensions: true,
        ..CatalogModel::default()
    };
    ProviderCall {
        attempt: "00000000-0000-7000-8000-000000000001".parse().unwrap(),
        model: Arc::new(catalog),
        name: model.into(),
        texts: vec!["text".into()],
        dimensions,
        input_type: InputType::Document,
        timeout: Duration::from_secs(20),
    }
}

fn entry(kind: ProviderKind, base_url: String) -> Entry {
    let base_url = Some(base_url);
    if kind == ProviderKind::Bedrock {
        return Entry {
            base_url,
            region: Some(REGION.to_owned()),
            access_key_id: Some("AKIDEXAMPLE".to_owned()),
            secret_access_key: Some(Secret::new("secret")),
            ..Entry::default()
        };
    }
    Entry { base_url, api_key: Some(Secret::new("key")), ..Entry::default() }
}

fn spec(api: Api) -> DeploymentSpec {
    let aws = AwsKeys {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: None,
        region: REGION.to_owned(),
    };
    DeploymentSpec { aws: (api == Api::Bedrock).then_some(aws), ..DeploymentSpec::of(api, "own") }
}

#[tokio::test]
async fn every_kind_reaches_what_the_rules_allow_and_nothing_else() {
    let connector = Connector::new(None).unwrap();
    for (kind, api, model, dimensions) in KINDS {
        let sim = Simulator::start(&[spec(api)]).await.unwrap();
        let url = sim.deployments()[0].base_url();
        let named = url.replace("127.0.0.1", "localhost");
        let port = sim.deployments()[0].address().port();
        for (url, hosts, reached) in [
            (&url, format!("127.0.0.1:{port}"), true),
            (&named, format!("localhost:{port}"), true),
            (&url, format!("localhost:{port}"), false),
            (&named, "localhost:1".to_owned(), false),
            (&url, "api.example.com".to_owned(), false),
        ] {
            let rules = Rules::parse([hosts.as_str()]).unwrap();
            let connected = connector.guarded(rules).unwrap().connect(kind, &entry(kind, url.clone()));
            let answered = match connected {
                Ok(provider) => provider.embed(call(model, dimensions)).await.is_ok(),
                Err(_) => false,
            };
            assert_eq!((answered, !sim.calls().is_empty()), (reached, reached), "{kind:?} {url} {hosts}");
            sim.clear_calls();
        }
    }
}

#[test]
fn an_entry_of_the_api_does_not_use_what_the_machine_has_of_its_own() {
    let connector = Connector::new(None).unwrap().guarded(Rules::default()).unwrap();
    let vertex = Entry { project: Some("p".to_owned()), region: Some("r".to_owned()), ..Entry::default() };
    let bedrock = Entry { region: Some(REGION.to_owned()), ..Entry::default() };
    for (kind, entry, missing) in [
        (ProviderKind::Vertex, vertex, "service_account_key"),
        (ProviderKind::Bedrock, bedrock, "access_key_id"),
    ] {
        let refused = connector.connect(kind, &entry).unwrap_err();
        assert!(matches!(refused, BadEntry::Own(option) if option == missing), "{refused}");
    }
}

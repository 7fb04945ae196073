use embermesh_admin::Settings;
use embermesh_config::{Secret, Security};
use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_postgres::{Database, PoolConfig, Role, Schema};
use embermesh_proto::{
    internal::v1::{SealedProvider, Section},
    v1::{
        CreateProviderRequest, DeleteProviderRequest, GetProviderRequest, ListProvidersRequest,
        ProviderEntry, ResealCredentialsRequest, UpdateProviderRequest,
    },
};
use embermesh_provider_entry::{Credential, SealError};
use embermesh_sealing::{CannotOpen, Keys};
use embermesh_subscription::Snapshot;

use crate::{
    subscriber::{subscribe, until},
    world::{Replica, World, context, refused},
};

const SECRET: &str = "sk-canary-secret";

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn key(number: u32) -> String {
    format!("{number}:{}", format!("{number:02x}").repeat(32))
}

fn settings(keys: &str) -> Settings {
    let credential_keys = (!keys.is_empty()).then(|| Secret::new(keys));
    let security = Security { credential_keys, ..Security::default() };
    let file = ProviderEntry {
        name: "ours".to_owned(),
        kind: "cohere".to_owned(),
        enabled: true,
        source: "file".to_owned(),
        ..ProviderEntry::default()
    };
    Settings { security, file_providers: [("ours".to_owned(), file)].into(), ..Settings::default() }
}

fn openai(name: &str) -> CreateProviderRequest {
    CreateProviderRequest {
        name: name.to_owned(),
        kind: text("openai"),
        base_url: text("https://api.openai.com/v1"),
        api_key: text(SECRET),
        ..CreateProviderRequest::default()
    }
}

fn update(name: &str) -> UpdateProviderRequest {
    UpdateProviderRequest { provider: name.to_owned(), ..UpdateProviderRequest::default() }
}

fn get(name: &str) -> GetProviderRequest {
    GetProviderRequest { provider: name.to_owned() }
}

fn delete(name: &str) -> DeleteProviderRequest {
    DeleteProviderRequest { provider: name.to_owned() }
}

fn streamed(snapshot: &Snapshot, name: &str) -> Option<SealedProvider> {
    let of_name = |provider: &&std::sync::Arc<SealedProvider>| {
        provider.entry.as_ref().is_some_and(|entry| entry.name == name)
    };
    snapshot.providers().find(of_name).map(|provider| SealedProvider::clone(provider))
}

#[tokio::test]
async fn a_provider_is_made_read_changed_and_removed_and_its_credential_is_never_told() {
    let mut world = World::with(settings(&key(1))).await;
    let admin = world.admin();
    let providers = &mut world.replica.providers;
    let made = providers.create_provider(admin.request(openai("one"))).await.unwrap().into_inner();
    assert_eq!((made.version, made.enabled, made.has_credential), (1, true, true));
    assert_eq!(made.source, "api");
    assert_eq!(made.credential_fingerprint.as_deref().map(str::len), Some(8));
    assert_eq!(providers.get_provider(admin.request(get("one"))).await.unwrap().into_inner(), made);

    let slower = UpdateProviderRequest { timeout: text("45s"), version: Some(1), ..update("one") };
    let slower = providers.update_provider(admin.request(slower)).await.unwrap().into_inner();
    assert_eq!((slower.version, slower.has_credential), (2, true));
    assert_eq!(slower.credential_fingerprint, made.credential_fingerprint);
    let stale = UpdateProviderRequest { timeout: text("46s"), version: Some(1), ..update("one") };
    let error = refused(providers.update_provider(admin.request(stale)).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Conflict, Some("version")));
    // what changes nothing makes no version
    let same = UpdateProviderRequest { timeout: text("45s"), ..update("one") };
    assert_eq!(providers.update_provider(admin.request(same)).await.unwrap().into_inner(), slower);

    let rotated = UpdateProviderRequest { api_key: text("sk-other"), ..update("one") };
    let rotated = providers.update_provider(admin.request(rotated)).await.unwrap().into_inner();
    assert_ne!(rotated.credential_fingerprint, made.credential_fingerprint);
    let moved = UpdateProviderRequest { base_url: text("https://eu.api.openai.com/v1"), ..update("one") };
    let moved = providers.update_provider(admin.request(moved)).await.unwrap().into_inner();
    assert_eq!((moved.has_credential, moved.credential_removed), (false, true));
    assert_eq!(moved.credential_fingerprint, None);
    let without = UpdateProviderRequest { api_key: text(""), ..update("one") };
    let without = providers.update_provider(admin.request(without)).await.unwrap().into_inner();
    assert_eq!((without.has_credential, without.credential_removed), (false, false));

    let listed = providers.list_providers(admin.request(ListProvidersRequest {})).await.unwrap().into_inner();
    let names: Vec<&str> = listed.providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, ["one", "ours"]);
    assert!(!format!("{listed:?}").contains("sk-"));
    providers.delete_provider(admin.request(delete("one"))).await.unwrap();
    for gone in ["one", "nul\0"] {
        for error in [
            refused(providers.get_provider(admin.request(get(gone))).await),
            refused(providers.update_provider(admin.request(update(gone))).await),
            refused(providers.delete_provider(admin.request(delete(gone))).await),
        ] {
            assert_eq!(error.code, Code::NotFound, "{gone:?}");
        }
    }
}

#[tokio::test]
async fn a_name_belongs_to_the_file_or_to_the_api_and_the_files_can_only_be_switched() {
    let mut world = World::with(settings(&key(1))).await;
    let admin = world.admin();
    let providers = &mut world.replica.providers;
    providers.create_provider(admin.request(openai("one"))).await.unwrap();
    for name in ["one", "ours"] {
        let error = refused(providers.create_provider(admin.request(openai(name))).await);
        assert_eq!((error.code, error.param.as_deref()), (Code::Conflict, Some("name")), "{name}");
    }
    let off = |enabled| UpdateProviderRequest { enabled: Some(enabled), ..update("ours") };
    let switched = providers.update_provider(admin.request(off(false))).await.unwrap().into_inner();
    assert_eq!((switched.enabled, switched.version, switched.kind.as_str()), (false, 1, "cohere"));
    assert!(!providers.get_provider(admin.request(get("ours"))).await.unwrap().into_inner().enabled);
    let more = UpdateProviderRequest { api_key: text(SECRET), ..off(true) };
    assert_eq!(refused(providers.update_provider(admin.request(more)).await).code, Code::Invalid);
    providers.delete_provider(admin.request(delete("ours"))).await.unwrap();
    assert!(providers.get_provider(admin.request(get("ours"))).await.unwrap().into_inner().enabled);
    assert_eq!(refused(providers.delete_provider(admin.request(delete("ours"))).await).code, Code::Conflict);
}

#[tokio::test]
async fn routers_are_told_of_every_change_with_the_credential_sealed() {
    let mut world = World::with(settings(&key(1))).await;
    let admin = world.admin();
    let tasks = Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::Providers], &tasks);
    let others = subscribe(&world.replica, &[Section::Agents, Section::Keys], &tasks);
    world.replica.providers.create_provider(admin.request(openai("one"))).await.unwrap();
    until(&subscription, "the provider", |snapshot| streamed(snapshot, "one").is_some()).await;
    let told = streamed(&subscription.current(), "one").unwrap();
    assert!(!format!("{told:?}").contains(SECRET) && !told.sealed_credential.is_empty());
    let keys = Keys::parse(&key(1)).unwrap();
    assert_eq!(Credential::open(&told, Some(&keys)).unwrap().api_key.as_deref(), Some(SECRET));

    let moved = UpdateProviderRequest { base_url: text("https://eu.api.openai.com/v1"), ..update("one") };
    world.replica.providers.update_provider(admin.request(moved)).await.unwrap();
    until(&subscription, "no credential", |snapshot| {
        streamed(snapshot, "one").is_some_and(|one| one.sealed_credential.is_empty())
    })
    .await;
    world.replica.providers.delete_provider(admin.request(delete("one"))).await.unwrap();
    until(&subscription, "its removal", |snapshot| streamed(snapshot, "one").is_none()).await;
    // a subscriber of something else hears of a later change alone
    let agent = embermesh_proto::v1::AgentInput { agent_id: "docs".to_owned(), ..Default::default() };
    world.replica.agents.put_agent(admin.request(agent)).await.unwrap();
    until(&others, "the agent", |snapshot| snapshot.agents().count() == 1).await;
    assert_eq!(others.current().providers().count(), 0);
}

#[tokio::test]
async fn a_new_key_seals_what_comes_and_the_old_one_opens_what_is_there() {
    let mut world = World::with(settings(&key(1))).await;
    let admin = world.admin();
    world.replica.providers.create_provider(admin.request(openai("old"))).await.unwrap();
    let both = format!("{} {}", key(1), key(2));
    let mut second = Replica::start(&world.database, &world.clock, settings(&both)).await;
    second.providers.create_provider(admin.request(openai("new"))).await.unwrap();
    let tasks = Tasks::new();
    let subscription = subscribe(&second, &[Section::Providers], &tasks);
    until(&subscription, "both", |snapshot| snapshot.providers().count() == 2).await;
    let state = subscription.current();
    let opened = |name: &str, keys: &str| {
        Credential::open(&streamed(&state, name).unwrap(), Some(&Keys::parse(keys).unwrap()))
    };
    assert!(opened("old", &both).is_ok() && opened("new", &both).is_ok());
    assert!(opened("old", &key(1)).is_ok());
    assert_eq!(opened("new", &key(1)), Err(SealError::Shut(CannotOpen::Key(2))));
    assert_eq!(opened("old", &key(2)), Err(SealError::Shut(CannotOpen::Key(1))));
    // what a key is still needed for can be counted
    let pool = PoolConfig::default();
    let database = Database::connect(world.database.url(), Schema::Admin, Role::App, &pool);
    let database = database.await.unwrap();
    let sealed = "SELECT count(*) FROM providers WHERE sealed_with = 1";
    assert_eq!(database.system().query_one(sealed, &[]).await.unwrap().get::<_, i64>(0), 1);
    let given = UpdateProviderRequest { api_key: text(SECRET), ..update("old") };
    second.providers.update_provider(admin.request(given)).await.unwrap();
    assert_eq!(database.system().query_one(sealed, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn credentials_are_sealed_anew_with_a_new_key_and_nothing_else_of_them_changes() {
    let mut world = World::with(settings(&key(1))).await;
    let admin = world.admin();
    for name in ["one", "two"] {
        world.replica.providers.create_provider(admin.request(openai(name))).await.unwrap();
    }
    let reseal = || admin.request(ResealCredentialsRequest {});
    let idle = world.replica.providers.reseal_credentials(reseal()).await.unwrap().into_inner();
    assert_eq!((idle.key, idle.resealed.len(), idle.shut.len()), (1, 0, 0));
    // somebody without the old key changes nothing, and says so
    let mut blind = Replica::start(&world.database, &world.clock, settings(&key(2))).await;
    let shut = blind.providers.reseal_credentials(reseal()).await.unwrap().into_inner();
    assert!(shut.resealed.is_empty() && shut.shut.len() == 2, "{shut:?}");
    assert!(shut.shut[0].reason.contains("key 1"), "{shut:?}");
    let both = format!("{} {}", key(1), key(2));
    let mut second = Replica::start(&world.database, &world.clock, settings(&both)).await;
    let tasks = Tasks::new();
    let subscription = subscribe(&second, &[Section::Providers], &tasks);
    until(&subscription, "both", |snapshot| snapshot.providers().count() == 2).await;
    let before = streamed(&subscription.current(), "one").unwrap();
    let done = second.providers.reseal_credentials(reseal()).await.unwrap().into_inner();
    assert_eq!((done.key, done.resealed, done.shut), (2, vec!["one".to_owned(), "two".to_owned()], vec![]));
    let new = Keys::parse(&key(2)).unwrap();
    let opens = |snapshot: &Snapshot| {
        streamed(snapshot, "one").is_some_and(|sealed| Credential::open(&sealed, Some(&new)).is_ok())
    };
    until(&subscription, "the new seal", opens).await;
    let after = streamed(&subscription.current(), "one").unwrap();
    assert_eq!((&after.entry, after.credential_version), (&before.entry, before.credential_version));
    let opened = Credential::open(&after, Some(&new)).unwrap();
    assert_eq!(opened.api_key.as_deref(), Some(SECRET));
    let stranger = context(embermesh_types::TenantId::SYSTEM, None, &["admin"]);
    let asked = stranger.request(ResealCredentialsRequest {});
    let error = refused(second.providers.reseal_credentials(asked).await);
    assert_eq!(error.code, Code::Forbidden);
}

#[tokio::test]
async fn without_a_key_credentials_are_refused_and_nothing_is_kept() {
    let mut world = World::with(settings("")).await;
    let admin = world.admin();
    let providers = &mut world.replica.providers;
    let error = refused(providers.create_provider(admin.request(openai("one"))).await);
    assert_eq!(error.code, Code::Conflict);
    assert!(
        error.message.contains("credential_keys_file") && !error.message.contains(SECRET),
        "{}",
        error.message
    );
    assert_eq!(refused(providers.get_provider(admin.request(get("one"))).await).code, Code::NotFound);
    let open = CreateProviderRequest { api_key: None, ..openai("one") };
    assert!(!providers.create_provider(admin.request(open)).await.unwrap().into_inner().has_credential);
}

#[tokio::test]
async fn only_who_may_change_the_configuration_sees_and_changes_providers() {
    let mut world = World::with(settings(&key(1))).await;
    let reader = context(world.first.tenant, None, &["read", "embed", "search", "costs"]);
    let providers = &mut world.replica.providers;
    for error in [
        refused(providers.create_provider(reader.request(openai("one"))).await),
        refused(providers.list_providers(reader.request(ListProvidersRequest {})).await),
        refused(providers.get_provider(reader.request(get("ours"))).await),
        refused(providers.update_provider(reader.request(update("ours"))).await),
        refused(providers.delete_provider(reader.request(delete("ours"))).await),
    ] {
        assert_eq!(error.code, Code::Forbidden);
    }
}

use std::{collections::BTreeSet, time::Duration};

use embermesh_auth::ApiKey;
use embermesh_errors::Code;
use embermesh_proto::v1::{
    CreateKeyRequest, GetKeyRequest, ListKeysRequest, RevokeKeyRequest, UpdateKeyRequest,
};

use crate::{
    key_rotation::{HOUR, hours, key, new, rotate},
    world::{World, context, refused},
};

#[tokio::test]
async fn a_key_is_shown_once_and_read_back_without_its_secret() {
    let mut world = World::new().await;
    let admin = world.admin();
    let bound = CreateKeyRequest { agent_id: Some("docs".to_owned()), ..new("ci") };
    let made = world.replica.keys.create_key(admin.request(bound)).await.unwrap().into_inner();
    let key = ApiKey::parse(&made.key).unwrap();
    assert_eq!(key.id().as_str(), made.id);
    assert_eq!(made.scopes, ["embed", "search", "read"]);
    let request = admin.request(GetKeyRequest { id: made.id.clone() });
    let read = world.replica.keys.get_key(request).await.unwrap().into_inner();
    assert_eq!((read.name.as_str(), read.agent_id.as_deref()), ("ci", Some("docs")));
    assert!(!format!("{read:?}").contains(&made.key[20..40]));
    let admin_of_agent =
        CreateKeyRequest { agent_id: Some("docs".to_owned()), scopes: vec!["admin".to_owned()], ..new("x") };
    let error = refused(world.replica.keys.create_key(admin.request(admin_of_agent)).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("scopes")));
}

#[tokio::test]
async fn revoking_is_final_and_can_be_repeated() {
    let mut world = World::new().await;
    let admin = world.admin();
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    let revoke = || admin.request(RevokeKeyRequest { id: made.id.clone() });
    let first = world.replica.keys.revoke_key(revoke()).await.unwrap().into_inner();
    assert!(first.revoked_at.is_some());
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.replica.keys.revoke_key(revoke()).await.unwrap().into_inner(), first);
}

#[tokio::test]
async fn keys_of_another_tenant_do_not_exist() {
    let mut world = World::new().await;
    let (admin, other) = (world.admin(), world.other_tenant().await);
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    let get = other.request(GetKeyRequest { id: made.id.clone() });
    assert_eq!(refused(world.replica.keys.get_key(get).await).code, Code::NotFound);
    let revoke = other.request(RevokeKeyRequest { id: made.id.clone() });
    assert_eq!(refused(world.replica.keys.revoke_key(revoke).await).code, Code::NotFound);
    let list = world.replica.keys.list_keys(other.request(ListKeysRequest::default())).await.unwrap();
    assert!(list.into_inner().keys.is_empty());
    let get = admin.request(GetKeyRequest { id: made.id });
    assert!(world.replica.keys.get_key(get).await.unwrap().into_inner().revoked_at.is_none());
    let reader = context(world.first.tenant, None, &["read"]);
    let error = refused(world.replica.keys.list_keys(reader.request(ListKeysRequest::default())).await);
    assert_eq!(error.code, Code::Forbidden);
}

#[tokio::test]
async fn pages_hold_every_key_once_in_the_order_of_creation() {
    let mut world = World::new().await;
    let admin = world.admin();
    let mut expected =
        BTreeSet::from([world.first.admin.id().to_string(), world.first.agent.id().to_string()]);
    for n in 0..6 {
        // several in the same instant
        world.clock.advance(Duration::from_secs(n % 2));
        expected
            .insert(world.replica.keys.create_key(admin.request(new("k"))).await.unwrap().into_inner().id);
    }
    let (mut seen, mut page_token) = (Vec::new(), None);
    loop {
        let request = ListKeysRequest { page_size: Some(3), page_token };
        let page = world.replica.keys.list_keys(admin.request(request)).await.unwrap().into_inner();
        seen.extend(page.keys);
        page_token = page.next_page_token;
        if page_token.is_none() {
            break;
        }
    }
    assert!(seen.is_sorted_by_key(|key| key.created_at.unwrap().seconds));
    assert_eq!(seen.len(), expected.len());
    assert_eq!(seen.into_iter().map(|key| key.id).collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn name_and_end_of_a_key_change_and_nothing_brings_one_back() {
    let mut world = World::new().await;
    let admin = world.admin();
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    let update = |name: Option<&str>, end: Option<u32>| {
        let expires_at = end.and_then(hours);
        admin.request(UpdateKeyRequest { id: made.id.clone(), name: name.map(str::to_owned), expires_at })
    };
    let named = world.replica.keys.update_key(update(Some("cd"), None)).await.unwrap().into_inner();
    assert_eq!((named.name.as_str(), named.expires_at), ("cd", None));
    let ending = world.replica.keys.update_key(update(None, Some(50))).await.unwrap().into_inner();
    assert_eq!((ending.name.as_str(), ending.expires_at), ("cd", hours(50)));
    assert_eq!(world.replica.keys.update_key(update(None, None)).await.unwrap().into_inner(), ending);
    let error = refused(world.replica.keys.update_key(update(None, Some(0))).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("expires_at")));

    world.replica.keys.rotate_key(admin.request(rotate(&made.id, "10h"))).await.unwrap();
    world.replica.keys.update_key(update(None, Some(2))).await.unwrap();
    world.replica.keys.update_key(update(None, Some(10))).await.unwrap();
    let error = refused(world.replica.keys.update_key(update(None, Some(11))).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("expires_at")));
    world.clock.advance(HOUR * 10);
    assert_eq!(refused(world.replica.keys.update_key(update(None, Some(20))).await).code, Code::Conflict);
    world.replica.keys.revoke_key(admin.request(RevokeKeyRequest { id: made.id.clone() })).await.unwrap();
    assert_eq!(refused(world.replica.keys.update_key(update(Some("x"), None)).await).code, Code::Conflict);
}

#[tokio::test]
async fn another_tenant_can_neither_change_nor_rotate_a_key() {
    let mut world = World::new().await;
    let (admin, other) = (world.admin(), world.other_tenant().await);
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    let before = key(&mut world, &made.id).await;
    let steal = other.request(rotate(&made.id, "0s"));
    assert_eq!(refused(world.replica.keys.rotate_key(steal).await).code, Code::NotFound);
    let update = UpdateKeyRequest { id: made.id.clone(), name: Some("x".to_owned()), expires_at: hours(1) };
    assert_eq!(refused(world.replica.keys.update_key(other.request(update)).await).code, Code::NotFound);
    assert_eq!(key(&mut world, &made.id).await, before);
    let reader = context(world.first.tenant, None, &["read", "embed"]);
    let error = refused(world.replica.keys.rotate_key(reader.request(rotate(&made.id, "0s"))).await);
    assert_eq!(error.code, Code::Forbidden);
}

#[tokio::test]
async fn every_change_of_a_key_is_recorded_without_its_secret() {
    let mut world = World::new().await;
    let admin = world.admin();
    let made = world.replica.keys.create_key(admin.request(new("ci"))).await.unwrap().into_inner();
    let rename = UpdateKeyRequest { id: made.id.clone(), name: Some("cd".to_owned()), expires_at: None };
    world.replica.keys.update_key(admin.request(rename.clone())).await.unwrap();
    // says nothing new
    world.replica.keys.update_key(admin.request(rename)).await.unwrap();
    let rotated = world.replica.keys.rotate_key(admin.request(rotate(&made.id, "1h"))).await.unwrap();
    let rotated = rotated.into_inner();
    for _ in 0..2 {
        let revoke = RevokeKeyRequest { id: made.id.clone() };
        world.replica.keys.revoke_key(admin.request(revoke)).await.unwrap();
    }
    let pool = embermesh_postgres::PoolConfig::default();
    let (schema, role) = (embermesh_postgres::Schema::Admin, embermesh_postgres::Role::Owner);
    let owner =
        embermesh_postgres::Database::connect(world.database.url(), schema, role, &pool).await.unwrap();
    let sql =
        "SELECT action, changed_by, details::text FROM audit_records WHERE subject = $1 ORDER BY number";
    let rows = owner.tenant(world.first.tenant.uuid()).query(sql, &[&made.id]).await.unwrap();
    let actions: Vec<String> = rows.iter().map(|row| row.try_get("action").unwrap()).collect();
    assert_eq!(actions, ["key.create", "key.update", "key.rotate", "key.revoke"]);
    let mut all = String::new();
    for row in &rows {
        assert_eq!(row.try_get::<_, String>("changed_by").unwrap(), admin.principal.key.as_str());
        all.push_str(&row.try_get::<_, String>("details").unwrap());
    }
    assert!(all.contains(&rotated.id) && all.contains(r#""name":"cd""#), "{all}");
    for key in [&made.key, &rotated.key] {
        let secret = key.split('_').nth(3).unwrap();
        assert!(!all.contains(secret), "{all}");
    }
}

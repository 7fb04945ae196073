use std::{collections::BTreeSet, time::Duration};

use embermesh_auth::ApiKey;
use embermesh_errors::Code;
use embermesh_proto::v1::{CreateKeyRequest, GetKeyRequest, ListKeysRequest, RevokeKeyRequest};

use crate::world::{World, context, refused};

fn new(name: &str) -> CreateKeyRequest {
    CreateKeyRequest { name: name.to_owned(), ..CreateKeyRequest::default() }
}

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

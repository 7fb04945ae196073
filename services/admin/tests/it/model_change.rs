use embermesh_errors::Code;
use embermesh_lifecycle::Tasks;
use embermesh_proto::{
    internal::v1::{PinSpaceRequest, Section},
    v1::{
        AgentInput, CatalogModel, CreateTenantRequest, DeleteCatalogModelRequest, GetCatalogModelRequest,
        ListCatalogRequest, ModelPreference, UpdateCatalogModelRequest,
    },
};

use crate::{
    audit::model,
    subscriber::{subscribe, until},
    world::{World, refused},
};

const ID: &str = "own-model";

fn get() -> GetCatalogModelRequest {
    GetCatalogModelRequest { id: ID.to_owned() }
}

fn retire() -> DeleteCatalogModelRequest {
    DeleteCatalogModelRequest { id: ID.to_owned() }
}

fn update() -> UpdateCatalogModelRequest {
    UpdateCatalogModelRequest { id: ID.to_owned(), ..UpdateCatalogModelRequest::default() }
}

async fn world_with_model() -> (World, CatalogModel) {
    let mut world = World::new().await;
    let admin = world.admin();
    let made = world.replica.catalog.create_catalog_model(admin.request(model(ID))).await.unwrap();
    (world, made.into_inner())
}

#[tokio::test]
async fn a_model_is_changed_in_what_its_vectors_do_not_depend_on() {
    let (mut world, made) = world_with_model().await;
    let admin = world.admin();
    let change = UpdateCatalogModelRequest { max_batch: Some(7), quality: Some(61.5), ..update() };
    let changed =
        world.replica.catalog.update_catalog_model(admin.request(change)).await.unwrap().into_inner();
    assert_eq!((changed.max_batch, changed.quality), (7, Some(61.5)));
    let rest = CatalogModel {
        max_batch: made.max_batch,
        quality: made.quality,
        quality_source: made.quality_source.clone(),
        ..changed.clone()
    };
    assert_eq!(rest, made);
    let read = world.replica.catalog.get_catalog_model(admin.request(get())).await.unwrap().into_inner();
    assert_eq!(read, changed);
    let wrong = UpdateCatalogModelRequest { tokenizer: Some("words".to_owned()), ..update() };
    let error = refused(world.replica.catalog.update_catalog_model(admin.request(wrong)).await);
    assert_eq!((error.code, error.param.as_deref()), (Code::Invalid, Some("tokenizer")));
    for id in ["absent", "nul\0"] {
        let absent = UpdateCatalogModelRequest { id: id.to_owned(), ..update() };
        let error = refused(world.replica.catalog.update_catalog_model(admin.request(absent)).await);
        assert_eq!(error.code, Code::NotFound, "{id:?}");
    }
}

#[tokio::test]
async fn a_model_that_nobody_names_is_retired_and_can_be_brought_back() {
    let (mut world, made) = world_with_model().await;
    let admin = world.admin();
    let tasks = Tasks::new();
    let subscription = subscribe(&world.replica, &[Section::Catalog], &tasks);
    until(&subscription, "the model", |s| s.model(ID).is_some()).await;
    world.replica.catalog.delete_catalog_model(admin.request(retire())).await.unwrap();
    until(&subscription, "that it is gone", |s| s.model(ID).is_none()).await;
    let late = subscribe(&world.replica, &[Section::Catalog], &tasks);
    until(&late, "the others", |s| s.models().count() > 3).await;
    assert!(late.current().model(ID).is_none());

    assert_eq!(
        refused(world.replica.catalog.get_catalog_model(admin.request(get())).await).code,
        Code::NotFound
    );
    let again = refused(world.replica.catalog.delete_catalog_model(admin.request(retire())).await);
    assert_eq!(again.code, Code::NotFound);
    let all = ListCatalogRequest { page_size: Some(1000), page_token: None };
    let listed = world.replica.catalog.list_catalog(admin.request(all)).await.unwrap().into_inner();
    assert!(listed.models.iter().all(|model| model.id != ID));
    // its id stays its own, because vectors and books may name it
    let taken = refused(world.replica.catalog.create_catalog_model(admin.request(model(ID))).await);
    assert_eq!(taken.code, Code::Conflict);
    assert!(taken.message.contains("retired"), "{taken}");
    let back =
        world.replica.catalog.update_catalog_model(admin.request(update())).await.unwrap().into_inner();
    assert_eq!(back, made);
    until(&subscription, "that it is back", |s| s.model(ID).is_some()).await;
}

#[tokio::test]
async fn a_model_that_an_agent_a_pin_or_a_tenant_names_stays() {
    let (mut world, _) = world_with_model().await;
    let (admin, other) = (world.admin(), world.other_tenant().await);
    let preference = |models: &[&str]| ModelPreference {
        task_type: "general_qa".to_owned(),
        primary_models: vec!["all-MiniLM-L6-v2".to_owned()],
        fallback_models: models.iter().map(|id| (*id).to_owned()).collect(),
    };
    let agent = |models: &[&str]| AgentInput {
        agent_id: "docs".to_owned(),
        model_preferences: vec![preference(models)],
        ..AgentInput::default()
    };
    let by = async |world: &mut World| {
        let error = refused(world.replica.catalog.delete_catalog_model(admin.request(retire())).await);
        assert_eq!((error.code, error.param.as_deref()), (Code::Conflict, Some("id")));
        error.message
    };
    // of another tenant than the one who asks
    world.replica.agents.put_agent(other.request(agent(&[ID]))).await.unwrap();
    assert!(by(&mut world).await.contains("agent docs"));
    world.replica.agents.put_agent(other.request(agent(&[]))).await.unwrap();
    let tenant = CreateTenantRequest {
        name: "acme".to_owned(),
        allowed_models: vec![ID.to_owned()],
        ..CreateTenantRequest::default()
    };
    let tenant = world.replica.tenants.create_tenant(admin.request(tenant)).await.unwrap().into_inner();
    assert!(by(&mut world).await.contains("tenant acme"));
    let close = embermesh_proto::v1::DeleteTenantRequest { id: tenant.id };
    world.replica.tenants.delete_tenant(admin.request(close)).await.unwrap();
    let pin = PinSpaceRequest {
        agent_id: "docs".to_owned(),
        task_type: "general_qa".to_owned(),
        space_id: "acme/own@2".to_owned(),
        model: ID.to_owned(),
    };
    world.replica.config.pin_space(other.request(pin)).await.unwrap();
    assert!(by(&mut world).await.contains("pin of agent docs"));
}

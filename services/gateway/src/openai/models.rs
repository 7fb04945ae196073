//! The catalog in OpenAI's form.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use embermesh_errors::Error;
use embermesh_proto::v1::CatalogModel;
use embermesh_subscription::Snapshot;
use embermesh_types::TenantId;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    /// The catalog keeps no date of a model.
    created: u64,
    owned_by: &'a str,
}

#[derive(Debug, Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

impl<'a> From<&'a CatalogModel> for Model<'a> {
    fn from(model: &'a CatalogModel) -> Self {
        let owner = model.family.split_once('/').map(|(owner, _)| owner);
        Self { id: &model.id, object: "model", created: 0, owned_by: owner.unwrap_or("embermesh") }
    }
}

/// Every model of the catalog that the tenant may use, in the order of the ids.
pub(super) fn list(snapshot: &Snapshot, tenant: TenantId) -> Response {
    let usable = snapshot.models().filter(|model| snapshot.may_use(tenant, &model.id));
    let data = usable.map(|model| Model::from(model.as_ref())).collect();
    Json(List { object: "list", data }).into_response()
}

/// One model that the tenant may use.
pub(super) fn one(snapshot: &Snapshot, tenant: TenantId, id: &str) -> Result<Response, Error> {
    match snapshot.model(id).filter(|model| snapshot.may_use(tenant, &model.id)) {
        Some(model) => Ok(Json(Model::from(model.as_ref())).into_response()),
        None => {
            Err(Error::not_found("no model of the catalog has this id, see /v1/models").with_param("model"))
        }
    }
}

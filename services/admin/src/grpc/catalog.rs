//! `Catalog`.

use embermesh_auth::{Principal, Scope};
use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{
    AddPriceRequest, CatalogModel, DeleteCatalogModelRequest, DeleteCatalogModelResponse,
    GetCatalogModelRequest, ListCatalogRequest, ListCatalogResponse, Price, UpdateCatalogModelRequest,
    catalog_server::Catalog,
};
use tonic::{Request, Response, Status};

use super::{Handler, caller};
use crate::{
    domain::{model, model_update, page::Page, price},
    store::{
        catalog::{Added, LIST},
        failed,
        model_change::ModelChange,
    },
};

fn not_found() -> Error {
    Error::not_found("the model is not in the catalog").with_param("id")
}

#[tonic::async_trait]
impl Catalog for Handler {
    async fn list_catalog(
        &self,
        request: Request<ListCatalogRequest>,
    ) -> Result<Response<ListCatalogResponse>, Status> {
        caller(&request, Scope::Read)?;
        let ListCatalogRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(LIST, page_size, page_token.as_deref())?;
        let (models, next_page_token) = self.0.store.models(&page).await.map_err(failed)?;
        Ok(Response::new(ListCatalogResponse { models, next_page_token }))
    }

    async fn get_catalog_model(
        &self,
        request: Request<GetCatalogModelRequest>,
    ) -> Result<Response<CatalogModel>, Status> {
        caller(&request, Scope::Read)?;
        let id = &request.get_ref().id;
        if id.contains('\0') {
            return Err(not_found().into());
        }
        let model = self.0.store.model(id).await.map_err(failed)?;
        Ok(Response::new(model.ok_or_else(not_found)?))
    }

    async fn create_catalog_model(
        &self,
        request: Request<CatalogModel>,
    ) -> Result<Response<CatalogModel>, Status> {
        let principal = self.operator(&request).await?.principal;
        let model = request.into_inner();
        model::check(&model)?;
        let model = model::completed(model);
        let added = self.0.store.create_model(&model, self.author(&principal)).await.map_err(failed)?;
        self.answer(added, "the catalog holds this model, or the request this price, already", "id")
    }

    async fn update_catalog_model(
        &self,
        request: Request<UpdateCatalogModelRequest>,
    ) -> Result<Response<CatalogModel>, Status> {
        let principal = self.operator(&request).await?.principal;
        let request = request.into_inner();
        let change = self.change_of_model(&principal, &request.id).await?;
        let next = model_update::merge(&change.current, request)?;
        if next == change.current && !change.retired {
            return Ok(self.changed(change.leave()));
        }
        let changed = change.put(&next, self.author(&principal)).await.map_err(failed)?;
        tracing::info!(by = %principal.key, model = changed.made.id, "changed a model of the catalog");
        Ok(self.changed(changed))
    }

    async fn delete_catalog_model(
        &self,
        request: Request<DeleteCatalogModelRequest>,
    ) -> Result<Response<DeleteCatalogModelResponse>, Status> {
        let principal = self.operator(&request).await?.principal;
        let change = self.change_of_model(&principal, &request.get_ref().id).await?;
        if change.retired {
            return Err(not_found().into());
        }
        let users = change.users().await.map_err(failed)?;
        if !users.is_empty() {
            let message = format!("the model is in use, by {}", users.join(", "));
            return Err(Error::new(Code::Conflict, message).with_param("id").into());
        }
        let retired = change.retire(self.author(&principal)).await.map_err(failed)?;
        tracing::info!(by = %principal.key, model = retired.made.id, "retired a model of the catalog");
        Ok(self.changed(retired).map(|_| DeleteCatalogModelResponse {}))
    }

    async fn add_price(&self, request: Request<AddPriceRequest>) -> Result<Response<CatalogModel>, Status> {
        let principal = self.operator(&request).await?.principal;
        let AddPriceRequest { id, per_million_tokens_nano_usd, effective_from, source, provider, unit } =
            request.into_inner();
        let (provider, unit) = (provider.unwrap_or_default(), unit.unwrap_or_default());
        let price = Price { per_million_tokens_nano_usd, effective_from, source, provider, unit };
        let author = self.author(&principal);
        price::check("", &price)?;
        price::check_beginning(&price, author.at)?;
        let price = price::completed(price);
        if id.contains('\0') {
            return Err(not_found().into());
        }
        let added = self.0.store.add_price(&id, &price, author).await.map_err(failed)?;
        self.answer(
            added,
            "the model has a price at that provider from that time on already",
            "effective_from",
        )
    }
}

impl Handler {
    async fn change_of_model(&self, principal: &Principal, id: &str) -> Result<ModelChange, Error> {
        if id.contains('\0') {
            return Err(not_found());
        }
        let change = self.0.store.change_model(self.author(principal), id).await.map_err(failed)?;
        change.ok_or_else(not_found)
    }

    fn answer(&self, added: Added, duplicate: &str, param: &str) -> Result<Response<CatalogModel>, Status> {
        match added {
            Added::Model(changed) => Ok(self.changed(*changed)),
            Added::Retired => {
                let message = "the id is that of a retired model, PUT brings it back";
                Err(Error::new(Code::Conflict, message).with_param("id").into())
            }
            Added::Duplicate => Err(Error::new(Code::Conflict, duplicate).with_param(param).into()),
            Added::NoSuchModel => Err(not_found().into()),
        }
    }
}

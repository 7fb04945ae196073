//! `Keys`.

use embermesh_auth::{ApiKey, Scope};
use embermesh_errors::Error;
use embermesh_proto::v1::{
    CreateKeyRequest, CreatedKey, GetKeyRequest, Key, ListKeysRequest, ListKeysResponse, RevokeKeyRequest,
    keys_server::Keys,
};
use embermesh_types::KeyId;
use tonic::{Request, Response, Status};

use super::{Handler, caller};
use crate::{
    domain::{key::NewKey, page::Page},
    store::{failed, keys::LIST},
};

fn not_found() -> Error {
    Error::not_found("there is no such key").with_param("id")
}

/// What is no key id is no key either.
fn key_id(text: &str) -> Result<KeyId, Error> {
    text.parse().map_err(|_| not_found())
}

#[tonic::async_trait]
impl Keys for Handler {
    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Result<Response<CreatedKey>, Status> {
        let context = caller(&request, Scope::Admin)?;
        let now = self.0.clock.now();
        let new = NewKey::parse(request.into_inner(), now)?;
        let key = ApiKey::generate(&self.0.settings.key_environment, &mut rand::rng());
        let changed =
            self.0.store.create_key(context.principal.tenant, &new, &key, now).await.map_err(failed)?;
        Ok(self.changed(changed).map(|made| CreatedKey {
            id: made.id,
            key: key.reveal().to_owned(),
            name: made.name,
            scopes: made.scopes,
            agent_id: made.agent_id,
            expires_at: made.expires_at,
        }))
    }

    async fn list_keys(
        &self,
        request: Request<ListKeysRequest>,
    ) -> Result<Response<ListKeysResponse>, Status> {
        let context = caller(&request, Scope::Admin)?;
        let ListKeysRequest { page_size, page_token } = request.into_inner();
        let page = Page::parse(LIST, page_size, page_token.as_deref())?;
        let (keys, next_page_token) =
            self.0.store.keys(context.principal.tenant, &page).await.map_err(failed)?;
        Ok(Response::new(ListKeysResponse { keys, next_page_token }))
    }

    async fn get_key(&self, request: Request<GetKeyRequest>) -> Result<Response<Key>, Status> {
        let context = caller(&request, Scope::Admin)?;
        let id = key_id(&request.get_ref().id)?;
        let key = self.0.store.key(context.principal.tenant, &id).await.map_err(failed)?;
        Ok(Response::new(key.ok_or_else(not_found)?))
    }

    async fn revoke_key(&self, request: Request<RevokeKeyRequest>) -> Result<Response<Key>, Status> {
        let context = caller(&request, Scope::Admin)?;
        let id = key_id(&request.get_ref().id)?;
        let now = self.0.clock.now();
        let key = self.0.store.revoke_key(context.principal.tenant, &id, now).await.map_err(failed)?;
        Ok(self.changed(key.ok_or_else(not_found)?))
    }
}

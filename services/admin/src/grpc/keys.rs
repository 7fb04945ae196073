//! `Keys`.

use std::time::SystemTime;

use embermesh_auth::{ApiKey, Principal, Scope};
use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{
    CreateKeyRequest, CreatedKey, GetKeyRequest, GetOwnKeyRequest, Key, ListKeysRequest, ListKeysResponse,
    RevokeKeyRequest, RotateKeyRequest, RotatedKey, TakeSuccessorRequest, UpdateKeyRequest,
    keys_server::Keys,
};
use embermesh_transport::CallContext;
use embermesh_types::KeyId;
use tonic::{Request, Response, Status};

use super::{Handler, caller};
use crate::{
    domain::{
        key::{KeyUpdate, NewKey},
        page::Page,
        rotation::parse_overlap,
    },
    store::{
        change::Author,
        failed,
        keys::{KeyChange, LIST, Rotated},
    },
};

fn not_found() -> Error {
    Error::not_found("there is no such key").with_param("id")
}

/// What is no key id is no key either.
fn key_id(text: &str) -> Result<KeyId, Error> {
    text.parse().map_err(|_| not_found())
}

fn author(principal: &Principal, at: SystemTime) -> Author<'_> {
    Author { tenant: principal.tenant, by: &principal.key, at }
}

fn log(what: &'static str, principal: &Principal, key: &Key) {
    let Key { id, name, agent_id, successor_id, .. } = key;
    tracing::info!(tenant = %principal.tenant, by = %principal.key, id, name, agent_id, successor_id, "{what}");
}

impl Handler {
    async fn change_of(&self, principal: &Principal, id: &str) -> Result<KeyChange, Error> {
        let change = self.0.store.change_key(principal.tenant, &key_id(id)?).await.map_err(failed)?;
        change.ok_or_else(not_found)
    }
}

#[tonic::async_trait]
impl Keys for Handler {
    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Result<Response<CreatedKey>, Status> {
        let principal = caller(&request, Scope::Admin)?.principal;
        let now = self.0.clock.now();
        let new = NewKey::parse(request.into_inner(), now)?;
        let key = ApiKey::generate(&self.0.settings.key_environment, &mut rand::rng());
        let changed = self.0.store.create_key(&new, &key, author(&principal, now)).await.map_err(failed)?;
        log("made a key", &principal, &changed.made);
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

    async fn update_key(&self, request: Request<UpdateKeyRequest>) -> Result<Response<Key>, Status> {
        let principal = caller(&request, Scope::Admin)?.principal;
        let request = request.into_inner();
        let id = request.id.clone();
        let update = KeyUpdate::parse(request, self.0.clock.now())?;
        let change = self.change_of(&principal, &id).await?;
        let now = self.0.clock.now();
        if change.state.revoked {
            return Err(Error::new(Code::Conflict, "a revoked key cannot be changed")
                .with_param("id")
                .into());
        }
        if update.changes_nothing_of(&change.key) {
            return Ok(self.changed(change.leave()));
        }
        if let Some(end) = update.expires_at {
            change.state.check_end(end, now)?;
        }
        let changed = change.update(&update, author(&principal, now)).await.map_err(failed)?;
        log("changed a key", &principal, &changed.made);
        Ok(self.changed(changed))
    }

    async fn rotate_key(&self, request: Request<RotateKeyRequest>) -> Result<Response<RotatedKey>, Status> {
        let principal = caller(&request, Scope::Admin)?.principal;
        let RotateKeyRequest { id, overlap } = request.into_inner();
        let overlap = parse_overlap(overlap.as_deref())?;
        let change = self.change_of(&principal, &id).await?;
        // only now is it this change's turn
        let now = self.0.clock.now();
        change.handover.check_rotation(now)?;
        let other = change.other_version(now).await.map_err(failed)?;
        let rotation = change.state.rotate(other.as_deref(), overlap, now)?;
        let secret = ApiKey::generate(&self.0.settings.key_environment, &mut rand::rng());
        let changed = change.rotate(&rotation, &secret, author(&principal, now)).await.map_err(failed)?;
        log("rotated a key", &principal, &changed.made.predecessor);
        Ok(self.changed(changed).map(|Rotated { successor, predecessor }| RotatedKey {
            id: successor.id,
            key: secret.reveal().to_owned(),
            name: successor.name,
            scopes: successor.scopes,
            agent_id: successor.agent_id,
            expires_at: successor.expires_at,
            predecessor_id: predecessor.id,
            predecessor_expires_at: predecessor.expires_at,
        }))
    }

    async fn get_own_key(&self, request: Request<GetOwnKeyRequest>) -> Result<Response<Key>, Status> {
        let principal = CallContext::of(&request)?.principal;
        let key = self.0.store.key(principal.tenant, &principal.key).await.map_err(failed)?;
        Ok(Response::new(key.ok_or_else(not_found)?))
    }

    async fn take_successor(
        &self,
        request: Request<TakeSuccessorRequest>,
    ) -> Result<Response<RotatedKey>, Status> {
        let principal = CallContext::of(&request)?.principal;
        let change = self.change_of(&principal, principal.key.as_str()).await?;
        // only now is it this change's turn
        let now = self.0.clock.now();
        if !change.state.is_alive(now) {
            return Err(Error::new(Code::Conflict, "the key does not work any more").into());
        }
        let other = change.other_version(now).await.map_err(failed)?;
        change.handover.check(&change.state, other.as_deref(), now)?;
        let secret = ApiKey::generate(&self.0.settings.key_environment, &mut rand::rng());
        let changed = change.hand_over(&secret, author(&principal, now)).await.map_err(failed)?;
        log("gave out the successor of a key", &principal, &changed.made.1);
        Ok(self.changed(changed).map(|(successor, key)| RotatedKey {
            id: successor.id,
            key: secret.reveal().to_owned(),
            name: successor.name,
            scopes: successor.scopes,
            agent_id: successor.agent_id,
            expires_at: successor.expires_at,
            predecessor_id: key.id,
            predecessor_expires_at: key.expires_at,
        }))
    }

    async fn revoke_key(&self, request: Request<RevokeKeyRequest>) -> Result<Response<Key>, Status> {
        let principal = caller(&request, Scope::Admin)?.principal;
        let change = self.change_of(&principal, &request.get_ref().id).await?;
        if change.state.revoked {
            return Ok(self.changed(change.leave()));
        }
        let now = self.0.clock.now();
        let changed = change.revoke(author(&principal, now)).await.map_err(failed)?;
        log("revoked a key", &principal, &changed.made);
        Ok(self.changed(changed))
    }
}

//! `Providers`.

use embermesh_auth::Principal;
use embermesh_errors::{Code, Error};
use embermesh_proto::v1::{
    CreateProviderRequest, DeleteProviderRequest, DeleteProviderResponse, GetProviderRequest,
    ListProvidersRequest, ListProvidersResponse, ProviderEntry, ResealCredentialsRequest,
    ResealCredentialsResponse, ShutCredential, UpdateProviderRequest, providers_server::Providers,
};
use embermesh_provider_entry::Credential;
use embermesh_sealing::Keys;
use tonic::{Request, Response, Status};

use super::Handler;
use crate::{
    domain::provider::{CredentialChange, create, merge, switch},
    store::{
        failed,
        providers::{Credentials, ProviderChange, Sealed},
    },
};

fn not_found() -> Error {
    Error::not_found("there is no such provider, GET /api/v1/admin/providers lists them")
        .with_param("provider")
}

/// PostgreSQL refuses NUL, which no entry's name has.
fn known_by(name: &str) -> Result<(), Error> {
    if name.contains('\0') { Err(not_found()) } else { Ok(()) }
}

fn taken(message: &str) -> Error {
    Error::new(Code::Conflict, message).with_param("name")
}

fn log(what: &'static str, principal: &Principal, entry: &ProviderEntry) {
    let ProviderEntry { name, kind, enabled, version, has_credential, .. } = entry;
    let by = &principal.key;
    tracing::info!(%by, provider = name, kind, enabled, version, has_credential, "{what}");
}

impl Handler {
    /// An entry of the configuration file with what is switched of it.
    fn of_file(&self, name: &str, switched: Option<&ProviderEntry>) -> Option<ProviderEntry> {
        let mut entry = self.0.settings.file_providers.get(name)?.clone();
        if let Some(row) = switched.filter(|row| row.source == "file") {
            entry.enabled = row.enabled;
            (entry.version, entry.created_at, entry.updated_at) =
                (row.version, row.created_at, row.updated_at);
        }
        Some(entry)
    }

    /// Seals what is given for `next`.
    fn sealed(
        &self,
        change: &ProviderChange,
        next: &ProviderEntry,
        given: &Credential,
    ) -> Result<Credentials, Error> {
        let keys = self.sealing_keys()?;
        let bytes = given.seal(keys, next, change.next_credential()).ok_or_else(no_randomness)?;
        let fingerprint = given.fingerprint();
        let fingerprint = fingerprint.ok_or_else(|| {
            Error::invalid("secret_access_key", "a session token alone is no credential, give the secret too")
        })?;
        Ok(Credentials::Give(Sealed { bytes, with: keys.newest(), fingerprint }))
    }

    fn sealing_keys(&self) -> Result<&Keys, Error> {
        self.0.sealing.as_ref().ok_or_else(|| {
            let message = "credentials cannot be kept: there is no key to seal them with, set \
                           embedding.security.credential_keys_file for admin and for the routers";
            Error::new(Code::Conflict, message).with_param("credential")
        })
    }

    fn credentials(
        &self,
        change: &ProviderChange,
        next: &ProviderEntry,
        what: &CredentialChange,
    ) -> Result<Credentials, Error> {
        match what {
            CredentialChange::Keep => Ok(Credentials::Keep),
            CredentialChange::Remove => Ok(Credentials::Remove),
            CredentialChange::Clear => Ok(Credentials::None),
            CredentialChange::Give(given) => self.sealed(change, next, given),
        }
    }

    async fn change_of_provider(&self, principal: &Principal, name: &str) -> Result<ProviderChange, Error> {
        known_by(name)?;
        self.0.store.change_provider(principal.tenant, name).await.map_err(failed)
    }
}

fn no_randomness() -> Error {
    Error::internal("the machine has no randomness to seal with")
}

#[tonic::async_trait]
impl Providers for Handler {
    async fn create_provider(
        &self,
        request: Request<CreateProviderRequest>,
    ) -> Result<Response<ProviderEntry>, Status> {
        let principal = self.operator(&request).await?.principal;
        let (next, what) = create(request.into_inner(), &self.0.settings.security)?;
        if self.0.settings.file_providers.contains_key(&next.name) {
            return Err(taken("the configuration file has an entry of this name, choose another").into());
        }
        let change = self.change_of_provider(&principal, &next.name).await?;
        if change.current.is_some() {
            return Err(taken("there is a provider of this name, change that one").into());
        }
        let credentials = self.credentials(&change, &next, &what)?;
        let put = change.put(&next, credentials, what.as_str(), self.author(&principal)).await;
        let changed = put.map_err(failed)?;
        log("made a provider", &principal, &changed.made);
        Ok(self.streamed(changed))
    }

    async fn list_providers(
        &self,
        request: Request<ListProvidersRequest>,
    ) -> Result<Response<ListProvidersResponse>, Status> {
        let principal = self.operator(&request).await?.principal;
        let rows = self.0.store.providers(principal.tenant).await.map_err(failed)?;
        let rows: Vec<ProviderEntry> = rows.into_iter().filter_map(|row| row.entry).collect();
        let file = &self.0.settings.file_providers;
        let switched = |name: &str| rows.iter().find(|row| row.name == name);
        let mut providers: Vec<_> =
            file.keys().filter_map(|name| self.of_file(name, switched(name))).collect();
        // what is switched of an entry that the file no longer has is of no use to anybody
        providers
            .extend(rows.iter().filter(|row| row.source == "api" && !file.contains_key(&row.name)).cloned());
        providers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Response::new(ListProvidersResponse { providers }))
    }

    async fn get_provider(
        &self,
        request: Request<GetProviderRequest>,
    ) -> Result<Response<ProviderEntry>, Status> {
        let principal = self.operator(&request).await?.principal;
        let name = &request.get_ref().provider;
        known_by(name)?;
        let row = self.0.store.provider(principal.tenant, name).await.map_err(failed)?;
        let row = row.and_then(|row| row.entry);
        let of_file = self.of_file(name, row.as_ref());
        let entry = of_file.or_else(|| row.filter(|row| row.source == "api"));
        Ok(Response::new(entry.ok_or_else(not_found)?))
    }

    async fn update_provider(
        &self,
        request: Request<UpdateProviderRequest>,
    ) -> Result<Response<ProviderEntry>, Status> {
        let principal = self.operator(&request).await?.principal;
        let request = request.into_inner();
        let change = self.change_of_provider(&principal, &request.provider).await?;
        let row = change.current.as_ref().and_then(|current| current.entry.clone());
        let (current, next, what) = match (self.of_file(&request.provider, row.as_ref()), row) {
            (Some(_), Some(row)) if row.source == "api" => {
                let message =
                    "the configuration file has got an entry of this name, remove the one of the API first";
                return Err(taken(message).into());
            }
            (Some(current), _) => {
                let next = switch(&current, &request)?;
                (current, next, CredentialChange::Keep)
            }
            (None, Some(current)) if current.source == "api" => {
                let (next, what) = merge(&current, request, &self.0.settings.security)?;
                (current, next, what)
            }
            (None, _) => return Err(not_found().into()),
        };
        if next == current && what == CredentialChange::Keep {
            return Ok(Response::new(next));
        }
        let credentials = self.credentials(&change, &next, &what)?;
        let put = change.put(&next, credentials, what.as_str(), self.author(&principal)).await;
        let mut changed = put.map_err(failed)?;
        if let Some(shown) = self.of_file(&changed.made.name, Some(&changed.made)) {
            changed.made = shown;
        }
        log("changed a provider", &principal, &changed.made);
        Ok(self.streamed(changed))
    }

    async fn delete_provider(
        &self,
        request: Request<DeleteProviderRequest>,
    ) -> Result<Response<DeleteProviderResponse>, Status> {
        let principal = self.operator(&request).await?.principal;
        let name = &request.get_ref().provider;
        let change = self.change_of_provider(&principal, name).await?;
        let Some(entry) = change.current.as_ref().and_then(|current| current.entry.clone()) else {
            if self.0.settings.file_providers.contains_key(name) {
                let message =
                    "the entry is in the configuration file and not switched here; switch it off instead";
                return Err(Error::new(Code::Conflict, message).with_param("provider").into());
            }
            return Err(not_found().into());
        };
        let removed = change.delete(self.author(&principal)).await.map_err(failed)?;
        log("removed a provider", &principal, &entry);
        Ok(self.streamed(removed).map(|()| DeleteProviderResponse {}))
    }

    async fn reseal_credentials(
        &self,
        request: Request<ResealCredentialsRequest>,
    ) -> Result<Response<ResealCredentialsResponse>, Status> {
        let principal = self.operator(&request).await?.principal;
        let keys = self.sealing_keys()?;
        let mut done = ResealCredentialsResponse { key: keys.newest(), ..Default::default() };
        let names = self.0.store.sealed_otherwise(principal.tenant, keys.newest()).await.map_err(failed)?;
        for name in names {
            let change = self.change_of_provider(&principal, &name).await?;
            // it may have gone, or have been given anew, meanwhile
            let Some(current) =
                change.current.as_ref().filter(|current| !current.sealed_credential.is_empty())
            else {
                continue;
            };
            match Credential::open(current, Some(keys)) {
                Ok(credential) => {
                    let entry = current.entry.clone().unwrap_or_default();
                    let bytes = credential.seal(keys, &entry, current.credential_version);
                    let bytes = bytes.ok_or_else(no_randomness)?;
                    let author = self.author(&principal);
                    change.reseal(&bytes, keys.newest(), author).await.map_err(failed)?;
                    done.resealed.push(name);
                }
                Err(shut) => done.shut.push(ShutCredential { provider: name, reason: shut.to_string() }),
            }
        }
        self.0.feed.wake();
        let (by, resealed, shut) = (&principal.key, done.resealed.len(), done.shut.len());
        tracing::info!(%by, key = done.key, resealed, shut, "sealed credentials of providers anew");
        Ok(Response::new(done))
    }
}

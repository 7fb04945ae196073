//! `Settings`.

use embermesh_proto::v1::{GetSettingsRequest, SettingsInForce, SettingsInput, settings_server::Settings};
use tonic::{Request, Response, Status};

use super::Handler;
use crate::{
    domain::{
        tuning::{by_name, merge, over},
        tuning_rules,
    },
    store::{change::Changed, failed, settings::Given, timestamp},
};

impl Handler {
    /// What is in force: the file of this process, and over it what was given.
    fn in_force(&self, given: Given) -> SettingsInForce {
        let Given { tuning, version, last_change } = given;
        let turned = by_name(&tuning);
        let in_force = over(self.0.settings.file.clone(), tuning);
        let source = |name: &String| if turned.contains_key(name) { "api" } else { "file" };
        let sources = by_name(&in_force).into_keys().map(|name| {
            let source = source(&name).to_owned();
            (name, source)
        });
        let (changed_by, changed_at) = last_change.unzip();
        SettingsInForce {
            sources: sources.collect(),
            logging: in_force.logging,
            cache: in_force.cache,
            circuit_breaker: in_force.circuit_breaker,
            version,
            changed_by,
            changed_at: changed_at.and_then(timestamp),
        }
    }
}

#[tonic::async_trait]
impl Settings for Handler {
    async fn get_settings(
        &self,
        request: Request<GetSettingsRequest>,
    ) -> Result<Response<SettingsInForce>, Status> {
        self.operator(&request).await?;
        Ok(Response::new(self.in_force(self.0.store.settings().await.map_err(failed)?)))
    }

    async fn change_settings(
        &self,
        request: Request<SettingsInput>,
    ) -> Result<Response<SettingsInForce>, Status> {
        let principal = self.operator(&request).await?.principal;
        let author = self.author(&principal);
        let change = self.0.store.change_settings(author).await.map_err(failed)?;
        let next = merge(&change.current.tuning, change.current.version, request.into_inner())?;
        tuning_rules::check(&next)?;
        if next == change.current.tuning {
            return Ok(Response::new(self.in_force(change.current)));
        }
        let Changed { made, version } = change.put(next, author).await.map_err(failed)?;
        let (by, settings) = (author.by, serde_json::json!(by_name(&made.tuning)));
        tracing::info!(%by, version = made.version, %settings, "changed settings");
        Ok(self.streamed(Changed { made: self.in_force(made), version }))
    }
}

//! `Config`: the stream of the configuration, and what routers settle through admin.

use std::{sync::Arc, time::Duration};

use embermesh_auth::Scope;
use embermesh_errors::Error;
use embermesh_proto::internal::v1::{
    ConfigUpdate, Epoch, GetEpochRequest, MovePinsReply, MovePinsRequest, OrderBreakersReply,
    OrderBreakersRequest, OrderCacheReply, OrderCacheRequest, Pin, PinSpaceRequest, Reference, Section,
    SubscribeRequest, config_server::Config,
};
use embermesh_transport::CallContext;
use embermesh_types::SpaceId;
use tokio::{sync::broadcast::error::RecvError, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Handler, agent_of, caller};
use crate::{
    domain::{
        breakers::Order,
        cache_order::CacheOrder,
        names::{check_label, check_task_type},
        reference,
    },
    service::Shared,
    store::{failed, pins::PinMove},
};

/// Subscribers give a silent stream up after four of these.
const HEARTBEAT: Duration = Duration::from_secs(1);

type Updates = mpsc::Sender<Result<ConfigUpdate, Status>>;

#[tonic::async_trait]
impl Config for Handler {
    type SubscribeStream = ReceiverStream<Result<ConfigUpdate, Status>>;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.into_inner();
        let mut sections: Vec<Section> = request.sections().filter(|s| *s != Section::Unspecified).collect();
        sections.sort_unstable();
        sections.dedup();
        if sections.is_empty() {
            return Err(Error::invalid("sections", "name at least one section").into());
        }
        let (updates, stream) = mpsc::channel(4);
        let shared = Arc::clone(&self.0);
        self.0.tasks.spawn("config subscriber", async move {
            tracing::info!(subscriber = request.subscriber, ?sections, "subscribed to the configuration");
            shared.metrics.subscribers.inc();
            let stopping = shared.tasks.clone();
            tokio::select! {
                () = follow(&shared, &sections, &updates) => {}
                () = updates.closed() => {}
                () = stopping.stopping() => {}
            }
            shared.metrics.subscribers.dec();
            tracing::info!(subscriber = request.subscriber, "the configuration stream has ended");
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn get_epoch(&self, request: Request<GetEpochRequest>) -> Result<Response<Epoch>, Status> {
        let epochs = self.0.feed.epochs();
        let silent = || Error::unavailable("the configuration database has not answered lately, try again");
        Ok(Response::new(epochs.ok_or_else(silent)?.of(&request.get_ref().sections)))
    }

    async fn pin_space(&self, request: Request<PinSpaceRequest>) -> Result<Response<Pin>, Status> {
        let context = CallContext::of(&request)?;
        let PinSpaceRequest { agent_id, task_type, space_id, model } = request.into_inner();
        let agent = agent_of(&context, &agent_id)?;
        check_task_type("task_type", &task_type)?;
        check_label("model", &model, 200)?;
        let space: SpaceId = space_id
            .parse()
            .map_err(|error: embermesh_types::SpaceError| Error::invalid("space_id", error.to_string()))?;
        let (tenant, now) = (context.principal.tenant, self.0.clock.now());
        let pinned = self.0.store.pin_space(tenant, &agent, &task_type, &space, &model, now).await;
        let (pin, new) = pinned.map_err(failed)?;
        if new {
            tracing::info!(%tenant, %agent, task_type, %space, "pinned");
            self.0.feed.wake();
        }
        Ok(Response::new(pin))
    }

    async fn move_pins(&self, request: Request<MovePinsRequest>) -> Result<Response<MovePinsReply>, Status> {
        let context = caller(&request, Scope::Admin)?;
        let MovePinsRequest { agent_id, from_space_id, to_space_id, model, back } = request.into_inner();
        let agent = match (agent_id.as_str(), &context.principal.agent) {
            ("", bound) => bound.clone(),
            (named, _) => Some(agent_of(&context, named)?),
        };
        let space = |param: &str, text: &str| -> Result<SpaceId, Error> {
            text.parse()
                .map_err(|error: embermesh_types::SpaceError| Error::invalid(param, error.to_string()))
        };
        let (from, to) = (space("from_space_id", &from_space_id)?, space("to_space_id", &to_space_id)?);
        if !back {
            check_label("model", &model, 200)?;
        }
        let wanted = PinMove { agent, from, to, model, back };
        let author = self.author(&context.principal);
        let (moved, new) = self.0.store.move_pins(author, &wanted).await.map_err(failed)?;
        if new {
            let PinMove { from, to, back, .. } = &wanted;
            tracing::info!(tenant = %author.tenant, by = %author.by, %from, %to, back, "moved pins");
            self.0.feed.wake();
        }
        Ok(Response::new(MovePinsReply { moved }))
    }

    async fn record_reference(&self, request: Request<Reference>) -> Result<Response<Reference>, Status> {
        let given = request.into_inner();
        let space = reference::check(&given)?;
        let recorded = self.0.store.record_reference(&space, &given, self.0.clock.now()).await;
        let (held, new) = recorded.map_err(failed)?;
        if new {
            let Reference { texts_version, deployment, .. } = &held;
            tracing::info!(%space, texts_version, deployment, "recorded the reference of a space");
            self.0.feed.wake();
        }
        Ok(Response::new(held))
    }

    async fn order_cache(
        &self,
        request: Request<OrderCacheRequest>,
    ) -> Result<Response<OrderCacheReply>, Status> {
        let principal = caller(&request, Scope::Admin)?.principal;
        let order = CacheOrder::parse(request.get_ref(), &principal)?;
        if !order.is_of(principal.tenant) {
            self.operator(&request).await?;
            if let Some(tenant) = order.tenant
                && self.0.store.any_tenant(tenant.uuid()).await.map_err(failed)?.is_none()
            {
                return Err(Error::not_found("there is no such tenant").with_param("tenant_id").into());
            }
        }
        let author = self.author(&principal);
        let (version, cleared) = self.0.store.order_cache(&order, author).await.map_err(failed)?;
        tracing::info!(by = %author.by, ?order, "gave an order about caches");
        self.0.feed.wake();
        Ok(Response::new(OrderCacheReply { version, cleared }))
    }

    async fn order_breakers(
        &self,
        request: Request<OrderBreakersRequest>,
    ) -> Result<Response<OrderBreakersReply>, Status> {
        let principal = self.operator(&request).await?.principal;
        let order = Order::parse(request.into_inner())?;
        let author = self.author(&principal);
        let version = self.0.store.order_breakers(&order, author).await.map_err(failed)?;
        let (by, Order { action, deployments }) = (author.by, &order);
        tracing::info!(%by, action, ?deployments, "gave an order about circuit breakers");
        self.0.feed.wake();
        Ok(Response::new(OrderBreakersReply { version }))
    }
}

/// Sends snapshot and changes until the subscriber has gone.
async fn follow(shared: &Shared, sections: &[Section], updates: &Updates) {
    loop {
        // first the changes, then the snapshot: what falls between is sent twice, which does no harm
        let mut batches = shared.feed.subscribe();
        let (mut version, entries) = match shared.store.snapshot(sections).await {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let _gone = updates.send(Err(failed(error).into())).await;
                return;
            }
        };
        let entries = entries.into_iter().map(|(_, entry)| entry).collect();
        if updates.send(Ok(ConfigUpdate { version, snapshot: true, entries })).await.is_err() {
            return;
        }
        loop {
            let update = match timeout(HEARTBEAT, batches.recv()).await {
                Ok(Ok(batch)) if batch.version > version => {
                    let entries: Vec<_> = batch
                        .entries
                        .iter()
                        .filter(|(s, _)| sections.contains(s))
                        .map(|(_, e)| e.clone())
                        .collect();
                    if !entries.is_empty() {
                        version = batch.version;
                    }
                    // even an empty update shows that the stream lives
                    ConfigUpdate { version, snapshot: false, entries }
                }
                Ok(Ok(_)) => continue,
                Ok(Err(RecvError::Closed)) => return,
                Ok(Err(RecvError::Lagged(missed))) => {
                    tracing::warn!(missed, "a subscriber fell behind, it gets a new snapshot");
                    break;
                }
                // nothing new, as the version says
                Err(_) => ConfigUpdate { version, snapshot: false, entries: Vec::new() },
            };
            if updates.send(Ok(update)).await.is_err() {
                return;
            }
        }
    }
}

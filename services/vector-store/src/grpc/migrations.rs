//! Migrations, for the gateway: its operators' calls and its workers'.

use std::{sync::Arc, time::Duration};

use embermesh_auth::{Principal, Scope};
use embermesh_errors::{Code, Error};
use embermesh_proto::{
    internal::v1::{
        BeginBatchReply, ChangeMigrationRequest, ClaimMigrationReply, ClaimMigrationRequest,
        CommitBatchRequest, CompareReply, CompareRequest, CopiedRow, CountReply, CreateMigrationRequest,
        DropReply, MeasureReply, MeasureRequest, MigrationStanding, ReportRequest, ScanReply, ScanRequest,
        WorkerCall, migration_store_server::MigrationStore,
    },
    v1::{
        GetMigrationRequest, ListMigrationFailuresRequest, ListMigrationFailuresResponse,
        ListMigrationsRequest, ListMigrationsResponse, Migration,
    },
};
use embermesh_transport::CallContext;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::limit;
use crate::{
    domain::{agent, filter, migration, vector},
    error::of_database,
    store::{
        Store,
        migrations::{Batch, Copy, Window, Work},
    },
};

const DEFAULT_PAGE: u32 = 100;
/// Longest lease, and most rows to look at in one scan.
const MAX_LEASE_MS: u32 = 10 * 60 * 1_000;
const MAX_EXAMINE: u32 = 100_000;

pub(crate) struct MigrationsService(pub(crate) Arc<Store>);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl MigrationStore for MigrationsService {
    async fn measure(&self, request: Request<MeasureRequest>) -> Answer<MeasureReply> {
        let principal = administrator(&request)?;
        let asked = request.get_ref();
        let agent = agent::effective(&principal, agent::parse(&asked.agent_id)?)?;
        let (from, to) =
            (filter::parse_space(&asked.from_space_id)?, filter::parse_space(&asked.to_space_id)?);
        let sample = asked.sample.min(1_000);
        let measured = self.0.measure_migration(principal.tenant, agent.as_ref(), (&from, &to), sample);
        Ok(Response::new(measured.await?))
    }

    async fn create(&self, request: Request<CreateMigrationRequest>) -> Answer<Migration> {
        let principal = administrator(&request)?;
        let mut new = migration::parse(request.into_inner())?;
        new.agent = agent::effective(&principal, new.agent.take())?;
        Ok(Response::new(self.0.create_migration(principal.tenant, &principal.key, &new).await?))
    }

    async fn get(&self, request: Request<GetMigrationRequest>) -> Answer<Migration> {
        let principal = administrator(&request)?;
        let id = id(&request.get_ref().migration_id)?;
        Ok(Response::new(self.0.migration(principal.tenant, principal.agent.as_ref(), id).await?))
    }

    async fn list(&self, request: Request<ListMigrationsRequest>) -> Answer<ListMigrationsResponse> {
        let principal = administrator(&request)?;
        let asked = request.get_ref();
        let size = limit("page_size", asked.page_size.unwrap_or(DEFAULT_PAGE))?;
        let before = page(asked.page_token.as_deref())?;
        let found =
            self.0.migrations(principal.tenant, principal.agent.as_ref(), before, i64::from(size) + 1);
        let mut migrations = found.await?;
        let next_page_token = cut(&mut migrations, size, |one| one.migration_id.clone());
        Ok(Response::new(ListMigrationsResponse { migrations, next_page_token }))
    }

    async fn list_failures(
        &self,
        request: Request<ListMigrationFailuresRequest>,
    ) -> Answer<ListMigrationFailuresResponse> {
        let principal = administrator(&request)?;
        let asked = request.get_ref();
        let size = limit("page_size", asked.page_size.unwrap_or(DEFAULT_PAGE))?;
        let (id, after) = (id(&asked.migration_id)?, page(asked.page_token.as_deref())?);
        self.0.migration(principal.tenant, principal.agent.as_ref(), id).await?;
        let found = self.0.migration_failures(principal.tenant, id, after, i64::from(size) + 1);
        let mut failures = found.await?;
        let next_page_token = cut(&mut failures, size, |one| one.embedding_id.clone());
        Ok(Response::new(ListMigrationFailuresResponse { failures, next_page_token }))
    }

    async fn change(&self, request: Request<ChangeMigrationRequest>) -> Answer<Migration> {
        let principal = administrator(&request)?;
        let asked = request.get_ref();
        let id = id(&asked.migration_id)?;
        let changed = self.0.change_migration(principal.tenant, principal.agent.as_ref(), id, asked);
        Ok(Response::new(changed.await?))
    }

    async fn claim(&self, request: Request<ClaimMigrationRequest>) -> Answer<ClaimMigrationReply> {
        let asked = request.get_ref();
        let claimed = self.0.claim_migration(worker(&asked.worker)?, lease(asked.lease_ms)?);
        Ok(Response::new(ClaimMigrationReply { claimed: claimed.await.map_err(of_database)? }))
    }

    async fn hold(&self, request: Request<WorkerCall>) -> Answer<MigrationStanding> {
        let work = work(&request, Some(request.get_ref()))?;
        Ok(Response::new(self.0.hold_migration(work).await?))
    }

    async fn scan(&self, request: Request<ScanRequest>) -> Answer<ScanReply> {
        let asked = request.get_ref();
        let work = work(&request, asked.call.as_ref())?;
        let after = match asked.after.as_str() {
            "" => None,
            id => Some(filter::parse_id(id)?),
        };
        let examine = asked.examine.clamp(1, MAX_EXAMINE);
        let window = Window { back: asked.back, after, examine, rows: limit("rows", asked.rows)? };
        let standing = Some(self.0.hold_migration(work).await?);
        Ok(Response::new(ScanReply { standing, ..self.0.scan_migration(work, window).await? }))
    }

    async fn begin(&self, request: Request<WorkerCall>) -> Answer<BeginBatchReply> {
        let work = work(&request, Some(request.get_ref()))?;
        Ok(Response::new(self.0.begin_batch(work).await?))
    }

    async fn commit(&self, request: Request<CommitBatchRequest>) -> Answer<MigrationStanding> {
        let work = work(&request, request.get_ref().call.as_ref())?;
        let asked = request.into_inner();
        let dimensions = self.0.migration_dimensions(work, asked.back).await?;
        let too_large = |_| Error::invalid("tokens", "a number is out of range");
        let copy = |row: CopiedRow| -> Result<Copy, Error> {
            let vector = vector::parse(&row.vector, dimensions).map_err(|error| {
                Error::invalid("vector", format!("this is no vector of the space: {error}"))
            })?;
            Ok(Copy {
                id: filter::parse_id(&row.embedding_id)?,
                provider: row.provider,
                vector,
                tokens: i64::try_from(row.tokens).map_err(too_large)?,
                cost_nano_usd: row.cost_nano_usd,
                truncated: row.truncated,
            })
        };
        let cursor = match asked.cursor.as_str() {
            "" => None,
            id => Some(filter::parse_id(id)?),
        };
        for failure in &asked.failures {
            filter::parse_id(&failure.embedding_id)?;
        }
        let batch = Batch {
            back: asked.back,
            model: asked.model,
            copies: asked.copies.into_iter().map(copy).collect::<Result<_, _>>()?,
            failures: asked.failures,
            cost_nano_usd: asked.cost_nano_usd,
            tokens: i64::try_from(asked.tokens).map_err(too_large)?,
            cursor,
        };
        let (state, copied) = self.0.commit_batch(work, &batch).await?;
        Ok(Response::new(MigrationStanding { state, copied, ..MigrationStanding::default() }))
    }

    async fn count(&self, request: Request<WorkerCall>) -> Answer<CountReply> {
        let work = work(&request, Some(request.get_ref()))?;
        self.0.hold_migration(work).await?;
        Ok(Response::new(self.0.count_migration(work).await?))
    }

    async fn compare(&self, request: Request<CompareRequest>) -> Answer<CompareReply> {
        let asked = request.get_ref();
        let work = work(&request, asked.call.as_ref())?;
        self.0.hold_migration(work).await?;
        let compared = self.0.compare_neighbours(work, asked.at, limit("k", asked.k)?);
        Ok(Response::new(compared.await?))
    }

    async fn report(&self, request: Request<ReportRequest>) -> Answer<MigrationStanding> {
        let work = work(&request, request.get_ref().call.as_ref())?;
        let state = self.0.report_migration(work, request.get_ref()).await?;
        Ok(Response::new(MigrationStanding { state, ..MigrationStanding::default() }))
    }

    async fn drop(&self, request: Request<WorkerCall>) -> Answer<DropReply> {
        let work = work(&request, Some(request.get_ref()))?;
        Ok(Response::new(DropReply { rows: self.0.drop_migrated(work).await? }))
    }
}

/// The caller, who must administer its tenant. The gateway has checked it; a call that came another way has not been.
fn administrator<T>(request: &Request<T>) -> Result<Principal, Error> {
    let principal = CallContext::of(request)?.principal;
    if principal.may(Scope::Admin) {
        return Ok(principal);
    }
    Err(Error::new(Code::Forbidden, "the key needs the scope admin"))
}

fn work<T>(request: &Request<T>, call: Option<&WorkerCall>) -> Result<Work, Error> {
    let tenant = administrator(request)?.tenant;
    let call = call.ok_or_else(|| Error::invalid("call", "whose call it is is missing"))?;
    Ok(Work {
        tenant,
        id: id(&call.migration_id)?,
        worker: worker(&call.worker)?,
        lease: lease(call.lease_ms)?,
    })
}

fn worker(bytes: &[u8]) -> Result<Uuid, Error> {
    Uuid::from_slice(bytes).map_err(|_| Error::invalid("worker", "a worker has 16 bytes"))
}

fn lease(ms: u32) -> Result<Duration, Error> {
    if (1..=MAX_LEASE_MS).contains(&ms) {
        return Ok(Duration::from_millis(u64::from(ms)));
    }
    Err(Error::invalid("lease_ms", format!("lease_ms must be 1 to {MAX_LEASE_MS}")))
}

/// Whatever is no id is the id of no migration.
fn id(text: &str) -> Result<Uuid, Error> {
    text.parse().map_err(|_| Error::not_found("the tenant has no such migration").with_param("migration_id"))
}

/// The last id of the page before.
fn page(token: Option<&str>) -> Result<Option<Uuid>, Error> {
    let refused = |_| {
        Error::invalid(
            "page_token",
            "page_token is none that this service gave out; leave it out for the first page",
        )
    };
    token.filter(|token| !token.is_empty()).map(|token| token.parse().map_err(refused)).transpose()
}

/// Cuts what was read to the page, and names the next one.
fn cut<T>(rows: &mut Vec<T>, size: u32, id: impl Fn(&T) -> String) -> Option<String> {
    if rows.len() <= size as usize {
        return None;
    }
    rows.truncate(size as usize);
    rows.last().map(id)
}

//! `Audit`.

use std::time::SystemTime;

use embermesh_auth::Scope;
use embermesh_errors::Error;
use embermesh_proto::v1::{
    AuditVerified, ListAuditRecordsRequest, ListAuditRecordsResponse, VerifyAuditRequest, audit_server::Audit,
};
use prost_types::Timestamp;
use tonic::{Request, Response, Status};

use super::{Handler, caller};
use crate::{
    domain::page::Page,
    store::{
        audit::{Filter, LIST},
        failed,
    },
};

#[tonic::async_trait]
impl Audit for Handler {
    async fn list_audit_records(
        &self,
        request: Request<ListAuditRecordsRequest>,
    ) -> Result<Response<ListAuditRecordsResponse>, Status> {
        let tenant = caller(&request, Scope::Admin)?.principal.tenant;
        let ListAuditRecordsRequest { from, to, action, subject, page_size, page_token } =
            request.into_inner();
        let page = Page::parse(LIST, page_size, page_token.as_deref())?;
        let (from, to) = (time("from", from)?, time("to", to)?);
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(Error::invalid("to", "the end lies before the beginning").into());
        }
        let filter = Filter { from, to, action: text("action", action)?, subject: text("subject", subject)? };
        let listed = self.0.store.audit_records(tenant, &filter, &page).await.map_err(failed)?;
        let (records, next_page_token) = listed;
        Ok(Response::new(ListAuditRecordsResponse { records, next_page_token }))
    }

    async fn verify_audit(
        &self,
        request: Request<VerifyAuditRequest>,
    ) -> Result<Response<AuditVerified>, Status> {
        let tenant = caller(&request, Scope::Admin)?.principal.tenant;
        let verified = self.0.verify_audit(tenant).await?;
        if !verified.intact {
            let faults = verified.faults.len();
            tracing::error!(%tenant, faults, "the audit chain is not intact");
        }
        Ok(Response::new(verified))
    }
}

fn time(param: &str, given: Option<Timestamp>) -> Result<Option<SystemTime>, Error> {
    let readable = |time: Timestamp| SystemTime::try_from(time).ok();
    let refused = || Error::invalid(param, "expected a time such as 2026-11-01T00:00:00Z");
    given.map(|given| readable(given).ok_or_else(refused)).transpose()
}

/// PostgreSQL's text holds no NUL, so nothing was ever recorded with one.
fn text(param: &str, given: Option<String>) -> Result<Option<String>, Error> {
    match given {
        Some(text) if text.contains('\0') => {
            Err(Error::invalid(param, "no text with U+0000 was ever recorded"))
        }
        given => Ok(given.filter(|text| !text.is_empty())),
    }
}

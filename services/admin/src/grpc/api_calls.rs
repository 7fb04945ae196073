//! `ApiCalls`.

use std::{collections::BTreeMap, time::SystemTime};

use embermesh_errors::Error;
use embermesh_proto::internal::v1::{
    ApiCall, RecordApiCallsReply, RecordApiCallsRequest, api_calls_server::ApiCalls,
};
use embermesh_types::{NanoUsd, TenantId};
use tonic::{Request, Response, Status};

use super::Handler;
use crate::store::{
    api_requests::{Call, Calls, Place},
    failed,
};

/// Gateways send less at a time.
const MOST_CALLS: usize = 10_000;
/// Of a key's or an agent's id, a method and a route.
const LONGEST: usize = 255;

#[tonic::async_trait]
impl ApiCalls for Handler {
    async fn record(
        &self,
        request: Request<RecordApiCallsRequest>,
    ) -> Result<Response<RecordApiCallsReply>, Status> {
        let RecordApiCallsRequest { session_id, number, calls, share } = request.into_inner();
        if calls.len() > MOST_CALLS {
            return Err(Error::invalid("calls", format!("at most {MOST_CALLS} at a time")).into());
        }
        let session = session_id.parse().map_err(|_| Error::invalid("session_id", "expected a UUID"))?;
        let share = match share {
            0.0 => 1.0,
            share if share > 0.0 && share <= 1.0 => share,
            _ => return Err(Error::invalid("share", "expected a number above 0 and up to 1").into()),
        };
        if number < 1 {
            return Err(Error::invalid("number", "expected a number from 1").into());
        }
        let (shared, now) = (&self.0, self.0.clock.now());
        let kept_since = shared.retention.begin(now);
        let sent = calls.len();
        let tenants = by_tenant(calls, kept_since, now);
        let taken: usize = tenants.values().map(|calls| calls.times.len()).sum();
        if taken < sent {
            tracing::warn!(
                passed_over = sent - taken,
                "calls that are too old or malformed are not recorded"
            );
        }
        let times = || tenants.values().flat_map(|calls| calls.times.iter().copied());
        if let (Some(first), Some(last)) = (times().min(), times().max()) {
            shared.retention.cover(&shared.store, first, last).await.map_err(failed)?;
        }
        let place = Place { session, number };
        for (tenant, calls) in &tenants {
            if let Err(error) = shared.store.keep_calls(*tenant, place, share, calls, now).await {
                // a replica with another retention may have dropped the partition; the batch comes again
                shared.retention.forget();
                return Err(failed(error).into());
            }
        }
        Ok(Response::new(RecordApiCallsReply {}))
    }
}

/// The calls of each tenant, none later than `now`. What was before `since` or cannot be a call is passed over.
fn by_tenant(calls: Vec<ApiCall>, since: SystemTime, now: SystemTime) -> BTreeMap<TenantId, Calls> {
    let mut tenants: BTreeMap<TenantId, Calls> = BTreeMap::new();
    for call in calls {
        let Some((tenant, call)) = parse(call, now) else { continue };
        if call.at >= since {
            tenants.entry(tenant).or_default().push(call);
        }
    }
    tenants
}

fn parse(call: ApiCall, now: SystemTime) -> Option<(TenantId, Call)> {
    let tenant = call.tenant_id.parse().ok()?;
    let at = SystemTime::try_from(call.created_at?).ok()?.min(now);
    let status = i16::try_from(call.status).ok().filter(|status| (100..1000).contains(status))?;
    let texts = [&call.api_key_id, &call.user_id, &call.method, &call.endpoint];
    if !texts.iter().all(|text| (1..=LONGEST).contains(&text.len()) && !text.contains('\0')) {
        return None;
    }
    let call = Call {
        key: call.api_key_id,
        user: call.user_id,
        method: call.method,
        endpoint: call.endpoint,
        status,
        cost: NanoUsd(call.cost_nano_usd),
        at,
    };
    Some((tenant, call))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TENANT: &str = "0192d5a0-0000-7000-8000-000000000001";

    fn call(at: u64) -> ApiCall {
        ApiCall {
            tenant_id: TENANT.into(),
            api_key_id: "k".into(),
            user_id: "u".into(),
            method: "GET".into(),
            endpoint: "/".into(),
            status: 200,
            cost_nano_usd: 7,
            created_at: Some(prost_types::Timestamp { seconds: i64::try_from(at).unwrap(), nanos: 0 }),
        }
    }

    #[test]
    fn what_is_no_call_or_too_old_is_passed_over_and_nothing_is_of_the_future() {
        let second = |at| SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        let bad = [
            ApiCall { tenant_id: "nobody".into(), ..call(50) },
            ApiCall { api_key_id: String::new(), ..call(50) },
            ApiCall { user_id: "nul\0".into(), ..call(50) },
            ApiCall { endpoint: "e".repeat(256), ..call(50) },
            ApiCall { status: 70_000, ..call(50) },
            ApiCall { created_at: None, ..call(50) },
            call(9),
        ];
        let calls = bad.into_iter().chain([call(10), call(1_000)]).collect();
        let tenants = by_tenant(calls, second(10), second(100));
        assert_eq!(tenants.len(), 1);
        assert_eq!(tenants[&TENANT.parse().unwrap()].times, [second(10), second(100)]);
    }
}

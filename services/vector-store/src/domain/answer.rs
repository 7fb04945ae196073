//! Idempotency keys on their way in: which are claimed, by which call, and what was answered under them.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use embermesh_auth::Principal;
use embermesh_errors::Error;
use embermesh_proto::internal::v1 as proto;
use embermesh_types::{AgentId, EmbeddingId, IdError, RequestId, TenantId};
use uuid::Uuid;

/// Most keys of one call: one for each entry of a batch, and its own.
const MAX_KEYS: usize = 2_049;
/// Longest that a call may hold its keys.
const MAX_HOLD: Duration = Duration::from_secs(3600);

/// In whose name a key means something.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) tenant: TenantId,
    /// Empty when the caller's API key is bound to no agent, which no agent's id is.
    pub(crate) agent: String,
}

impl Scope {
    pub(crate) fn of(principal: &Principal) -> Self {
        let agent = principal.agent.as_ref().map_or("", AgentId::as_str).to_owned();
        Self { tenant: principal.tenant, agent }
    }
}

/// A key that a call would like to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) key: RequestId,
    pub(crate) body_hash: [u8; 32],
}

/// A call that is about to begin.
#[derive(Debug, Clone)]
pub(crate) struct Begin {
    pub(crate) call: Option<Claim>,
    pub(crate) parts: Vec<Claim>,
    pub(crate) holder: Uuid,
    pub(crate) hold: Duration,
}

/// What becomes of a key that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) key: RequestId,
    /// Absent: the key is given back.
    pub(crate) answer: Option<Bytes>,
    pub(crate) embedding_ids: Vec<EmbeddingId>,
}

/// Reads the beginning of a call.
pub(crate) fn parse_begin(request: proto::BeginRequest) -> Result<Begin, Error> {
    let parts = request.parts.into_iter().map(claim).collect::<Result<Vec<_>, _>>()?;
    let call = request.call.map(claim).transpose()?;
    let hold = Duration::from_millis(request.hold_ms);
    if !(Duration::from_millis(1)..=MAX_HOLD).contains(&hold) {
        return Err(Error::invalid("hold_ms", "hold_ms must be 1 to 3600000"));
    }
    check_keys("parts", call.iter().chain(&parts).map(|claim| &claim.key))?;
    Ok(Begin { call, parts, holder: holder(&request.holder)?, hold })
}

/// Reads the end of a call, and who held its keys.
pub(crate) fn parse_finish(request: proto::FinishRequest) -> Result<(Uuid, Vec<Finished>), Error> {
    let finished = request.finished.into_iter().map(finished).collect::<Result<Vec<_>, _>>()?;
    check_keys("finished", finished.iter().map(|finished| &finished.key))?;
    Ok((holder(&request.holder)?, finished))
}

fn claim(claim: proto::Claim) -> Result<Claim, Error> {
    let body_hash = claim.body_hash.as_ref().try_into();
    Ok(Claim {
        key: key(&claim.key)?,
        body_hash: body_hash.map_err(|_| Error::invalid("body_hash", "a body_hash has 32 bytes"))?,
    })
}

fn finished(finished: proto::Finished) -> Result<Finished, Error> {
    let id = |id: &String| id.parse().map_err(|_| Error::invalid("embedding_ids", "an id is no UUID"));
    Ok(Finished {
        key: key(&finished.key)?,
        embedding_ids: finished.embedding_ids.iter().map(id).collect::<Result<_, _>>()?,
        answer: (!finished.answer.is_empty()).then_some(finished.answer),
    })
}

fn key(text: &str) -> Result<RequestId, Error> {
    text.parse().map_err(|error: IdError| Error::invalid("key", error.to_string()))
}

fn holder(bytes: &[u8]) -> Result<Uuid, Error> {
    Uuid::from_slice(bytes).map_err(|_| Error::invalid("holder", "a holder has 16 bytes"))
}

fn check_keys<'k>(param: &str, keys: impl Iterator<Item = &'k RequestId>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for key in keys {
        if !seen.insert(key) {
            return Err(Error::invalid(param, format!("{param} names a key twice")));
        }
    }
    if (1..=MAX_KEYS).contains(&seen.len()) {
        return Ok(());
    }
    Err(Error::invalid(param, format!("{} keys, a call takes 1 to {MAX_KEYS}", seen.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin() -> proto::BeginRequest {
        let claim = |key: &str| proto::Claim { key: key.into(), body_hash: vec![1; 32].into() };
        proto::BeginRequest {
            call: Some(claim("call")),
            parts: vec![claim("a"), claim("b")],
            holder: vec![7; 16].into(),
            hold_ms: 60_000,
        }
    }

    #[test]
    fn the_wrong_part_of_a_beginning_is_named() {
        assert_eq!(parse_begin(begin()).unwrap().parts.len(), 2);
        let with = |change: fn(&mut proto::BeginRequest)| {
            let mut request = begin();
            change(&mut request);
            parse_begin(request).unwrap_err().param.unwrap()
        };
        assert_eq!(with(|r| r.parts[1].key = "a b".into()), "key");
        assert_eq!(with(|r| r.parts[1].key = "call".into()), "parts");
        assert_eq!(with(|r| r.parts[0].body_hash = vec![1; 31].into()), "body_hash");
        assert_eq!(with(|r| r.holder = vec![7; 15].into()), "holder");
        assert_eq!(with(|r| r.hold_ms = 0), "hold_ms");
        assert_eq!(with(|r| (r.call, r.parts) = (None, vec![])), "parts");
    }

    #[test]
    fn an_empty_answer_gives_the_key_back() {
        let finished = |answer: &'static [u8], id: &str| proto::Finished {
            key: "k".into(),
            answer: Bytes::from_static(answer),
            embedding_ids: vec![id.into()],
        };
        let read = |finished| {
            let request = proto::FinishRequest { holder: vec![7; 16].into(), finished: vec![finished] };
            parse_finish(request).map(|(_, mut finished)| finished.remove(0).answer)
        };
        let id = "0192d5a0-0000-7000-8000-000000000001";
        assert_eq!(read(finished(b"", id)).unwrap(), None);
        assert_eq!(read(finished(b"x", id)).unwrap().unwrap(), "x");
        assert_eq!(read(finished(b"x", "7")).unwrap_err().param.as_deref(), Some("embedding_ids"));
    }
}

//! Vectors in Redis, for all routers. Without Redis everybody does without.

use std::time::Duration;

use embermesh_cache::{Facts, Kept, VectorKey};
use embermesh_errors::Error;
use embermesh_proto::internal::v1::{
    self as proto, GetVectorsReply, GetVectorsRequest, KeptVector, PutVector, PutVectorsReply,
    PutVectorsRequest,
};
use embermesh_vector_key::LENGTH;
use tonic::{Request, Response, Status};

use crate::redis::Redis;

/// Vectors of one call: what fits into a message at 2,048 dimensions.
const MAX_VECTORS: usize = 4_096;

pub(crate) struct VectorCacheService(pub(crate) Redis);

#[tonic::async_trait]
impl proto::vector_cache_server::VectorCache for VectorCacheService {
    async fn get_vectors(
        &self,
        request: Request<GetVectorsRequest>,
    ) -> Result<Response<GetVectorsReply>, Status> {
        let keys = request.into_inner().keys;
        check_count("keys", keys.len())?;
        let keys = keys.iter().map(|bytes| key("keys", bytes)).collect::<Result<Vec<_>, _>>()?;
        let reply = match self.0.get_many(&keys).await {
            Ok(found) => GetVectorsReply { away: false, found: found.into_iter().map(message).collect() },
            Err(_) => GetVectorsReply { away: true, found: Vec::new() },
        };
        Ok(Response::new(reply))
    }

    async fn put_vectors(
        &self,
        request: Request<PutVectorsRequest>,
    ) -> Result<Response<PutVectorsReply>, Status> {
        let PutVectorsRequest { vectors, ttl_seconds } = request.into_inner();
        check_count("vectors", vectors.len())?;
        if ttl_seconds == 0 {
            let message = "ttl_seconds is 0, what is not to be kept need not be put";
            return Err(Error::invalid("ttl_seconds", message).into());
        }
        let vectors = vectors.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let put = self.0.put_many(&vectors, Duration::from_secs(ttl_seconds)).await;
        Ok(Response::new(PutVectorsReply { away: put.is_err() }))
    }
}

fn check_count(param: &str, count: usize) -> Result<(), Error> {
    if count > MAX_VECTORS {
        let message = format!("{count} vectors are too many for one call, {MAX_VECTORS} are the most");
        return Err(Error::invalid(param, message));
    }
    Ok(())
}

fn key(param: &str, bytes: &[u8]) -> Result<VectorKey, Error> {
    bytes
        .try_into()
        .map(VectorKey)
        .map_err(|_| Error::invalid(param, format!("a key has {LENGTH} bytes, this one has {}", bytes.len())))
}

fn parse(PutVector { key: bytes, value }: PutVector) -> Result<(VectorKey, Kept), Error> {
    let key = key("vectors", &bytes)?;
    let KeptVector { vector, tokens, deployment, made_unix_ms, kept_unix_ms, stamp } =
        value.ok_or_else(|| Error::invalid("vectors", "a key comes without its vector"))?;
    let kept = Kept::new(vector, Facts { tokens, deployment, made_unix_ms, kept_unix_ms, stamp })
        .map_err(|error| Error::invalid("vectors", error.to_string()))?;
    Ok((key, kept))
}

fn message(kept: Option<Kept>) -> KeptVector {
    kept.map_or_else(KeptVector::default, |kept| {
        let Facts { tokens, deployment, made_unix_ms, kept_unix_ms, stamp } = kept.facts().clone();
        KeptVector { vector: kept.vector().clone(), tokens, deployment, made_unix_ms, kept_unix_ms, stamp }
    })
}

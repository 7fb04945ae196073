//! Taking entries out, page by page. A sweep passes every entry that is there from its beginning to its end at least once.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use embermesh_vector_key::{Keys, VectorKey};
use fred::{
    clients::{Client, WithOptions},
    error::Error,
    interfaces::KeysInterface as _,
    types::{Key, Value, config::Server},
};

use crate::{
    Away, Kept, RedisCache, connection, key,
    server_memory::{ask, nodes},
};

/// Slots of the table that Redis looks at for a page.
const PAGE: &str = "1000";
/// How many times the usual time a page may take: nobody waits for it.
const PATIENCE: u32 = 100;

/// How far a sweep is.
#[derive(Debug)]
pub struct Sweep {
    nodes: VecDeque<Option<Server>>,
    cursor: String,
    total: u64,
}

/// What a page came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Entries of vectors that were looked at.
    pub seen: u64,
    /// Those of them that are gone now.
    pub removed: u64,
}

impl Sweep {
    /// Keys of any kind when it began, on all nodes.
    pub const fn total(&self) -> u64 {
        self.total
    }
}

impl RedisCache {
    /// Begins a sweep.
    ///
    /// # Errors
    /// [`Away`], when a node does not answer.
    pub async fn sweep(&self) -> Result<Sweep, Away> {
        let client = self.sweeper()?;
        let nodes: VecDeque<_> = nodes(&client).into();
        let mut total = 0;
        for node in &nodes {
            total += ask::<u64>(&client, self.page_patience(), node.as_ref(), "DBSIZE", Vec::new()).await?;
        }
        Ok(Sweep { nodes, cursor: "0".to_owned(), total })
    }

    /// Goes on with a sweep: takes out what `which` holds of the next page and was kept with a smaller stamp than `before`. `None` at
    /// the end.
    ///
    /// # Errors
    /// [`Away`], when the node does not answer; the page can be asked for again, or the sweep begun anew if a node is gone for good.
    pub async fn sweep_on(
        &self,
        sweep: &mut Sweep,
        which: &Keys,
        before: i64,
    ) -> Result<Option<Swept>, Away> {
        let Some(node) = sweep.nodes.front() else { return Ok(None) };
        let client = self.sweeper()?;
        let page = vec![sweep.cursor.as_str(), "MATCH", key::VECTORS, "COUNT", PAGE];
        let (cursor, names): (String, Vec<Key>) =
            ask(&client, self.page_patience(), node.as_ref(), "SCAN", page).await?;
        let keys: Vec<VectorKey> = names.iter().filter_map(|name| key::vector_of(name.as_bytes())).collect();
        let (seen, meant) = (keys.len() as u64, keys.into_iter());
        let meant: Vec<VectorKey> = meant.filter(|key| which.contain(key)).collect();
        let client = self.limited(&client, PATIENCE);
        let old = older(&client, meant, before).await?;
        let removed = remove(&client, old).await?;
        if cursor == "0" {
            sweep.nodes.pop_front();
        }
        sweep.cursor = cursor;
        Ok(Some(Swept { seen, removed }))
    }

    fn page_patience(&self) -> Duration {
        self.command_timeout() * PATIENCE
    }

    /// The client for what is large, without the breaker: a sweep that fails is no reason to leave reads alone.
    fn sweeper(&self) -> Result<Client, Away> {
        let link = self.link().filter(|link| connection::is_connected(&link.bulk));
        link.map(|link| link.bulk.clone()).ok_or(Away::NotConnected)
    }
}

/// Those of `keys` whose values were kept with a smaller stamp than `before`, or are none of ours.
async fn older(
    client: &WithOptions<Client>,
    keys: Vec<VectorKey>,
    before: i64,
) -> Result<Vec<VectorKey>, Error> {
    if keys.is_empty() {
        return Ok(keys);
    }
    let pipeline = client.pipeline();
    for key in &keys {
        pipeline.getrange::<(), _>(key::of_vector(key), 0, Kept::HEAD - 1).await?;
    }
    let heads = pipeline.try_all::<Value>().await;
    let is_old = |head: &Result<Value, Error>| {
        let head = head.as_ref().ok().and_then(|head| head.as_bytes());
        head.and_then(Kept::stamp_of).is_none_or(|stamp| stamp < before)
    };
    Ok(keys.into_iter().zip(heads).filter(|(_, head)| is_old(head)).map(|(key, _)| key).collect())
}

/// Removes keys, those of a slot together.
async fn remove(client: &WithOptions<Client>, keys: Vec<VectorKey>) -> Result<u64, Error> {
    let mut buckets: BTreeMap<u8, Vec<Key>> = BTreeMap::new();
    for key in keys {
        buckets.entry(key::bucket(&key)).or_default().push(key::of_vector(&key).into());
    }
    let mut removed = 0;
    for keys in buckets.into_values() {
        removed += client.unlink::<u64, _>(keys).await?;
    }
    Ok(removed)
}

//! Rows that were put again, counted in memory and written down now and then: a put waits for none of it. A count that is lost, with
//! the process or because there are too many, only makes a worse guess of what a cache is best warmed with.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use embermesh_lifecycle::Tasks;
use embermesh_types::{AgentId, EmbeddingId, SpaceId, TenantId};

use crate::store::{RowUses, Store};

/// Between two writes.
const EVERY: Duration = Duration::from_secs(5);
/// Rows that are counted between two writes; further ones are left out.
const MOST: usize = 16 * 1024;

type Counted = HashMap<(TenantId, SpaceId), HashMap<EmbeddingId, (AgentId, i64)>>;

/// What was counted since the last write. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Uses(Arc<Mutex<(usize, Counted)>>);

impl Uses {
    /// The text of a row was put again.
    pub(crate) fn count(&self, tenant: TenantId, space: &SpaceId, agent: &AgentId, id: EmbeddingId) {
        let mut guard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, counted) = &mut *guard;
        let of_space = counted.entry((tenant, space.clone())).or_default();
        if let Some((_, uses)) = of_space.get_mut(&id) {
            *uses += 1;
        } else if *rows < MOST {
            of_space.insert(id, (agent.clone(), 1));
            *rows += 1;
        }
    }

    /// Writes down what was counted.
    pub(crate) async fn write(&self, store: &Store) {
        let (_, counted) = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for ((tenant, space), rows) in counted {
            let rows = rows.into_iter().map(|(id, (agent, uses))| RowUses { id, agent: agent.into(), uses });
            if let Err(error) = store.add_uses(tenant, &space, rows.collect()).await {
                tracing::debug!(%error, "uses of rows are not counted");
            }
        }
    }

    /// Writes until the process stops, and once more then.
    pub(crate) fn start(&self, store: &Arc<Store>, tasks: &Tasks) {
        let (uses, store, end) = (self.clone(), Arc::clone(store), tasks.clone());
        tasks.spawn("row uses", async move {
            while !end.is_stopping() {
                tokio::select! {
                    () = end.stopping() => {}
                    () = tokio::time::sleep(EVERY) => {}
                }
                uses.write(&store).await;
            }
        });
    }
}

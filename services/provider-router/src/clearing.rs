//! Orders to clear, as the configuration brings them to every router. That nothing cleared is served is seen to at every look-up, by
//! its stamp; here the memory of what nobody will be served again is given back.

use embermesh_subscription::Snapshot;

use crate::cache::{Cache, keys_of};

/// The newest order that was obeyed.
#[derive(Debug, Default)]
pub(crate) struct Clearing(i64);

impl Clearing {
    /// Obeys what is new.
    pub fn obey(&mut self, memory: &Cache, snapshot: &Snapshot) {
        let newest = snapshot.cache_clears().map(|(_, number)| number).max().unwrap_or_default();
        for (clear, number) in snapshot.cache_clears().filter(|(_, number)| *number > self.0) {
            // what is not served to one agent is the other agents' too
            if clear.agent.is_none() {
                memory.clear(&keys_of(&clear), number);
            }
        }
        self.0 = newest;
    }
}

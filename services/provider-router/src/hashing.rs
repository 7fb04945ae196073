//! Maps that are looked into for every text: their hash is seeded for each process, and costs a tenth of what the standard one does.

/// A map by such a hash.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

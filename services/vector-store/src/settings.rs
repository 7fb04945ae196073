//! What an operator can set.

use std::{path::PathBuf, time::Duration};

use embermesh_postgres::PoolConfig;
use serde::{Deserialize, Serialize};

use crate::{Element, IndexKind, domain::language};

/// Settings of the vector store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Connections to the database. Absent: `database.pool`.
    pub pool: PoolConfig,
    /// How spaces created from now on keep their vectors; existing ones stay as they are.
    pub element: Element,
    /// A search with at most this many candidates reads them all, even where there is an index.
    pub exact_max_rows: u32,
    /// The kind of approximate index that is built from now on.
    pub index: IndexKind,
    /// A tenant with so many rows in a month of a space gets partitions of its own from the next months on; 0: none does.
    pub promote_rows: u32,
    /// When an index is built, whatever its kind, and how a graph is.
    pub hnsw: Hnsw,
    /// How lists are built and searched.
    pub ivfflat: Ivfflat,
    /// Words of texts, for hybrid search.
    pub text_search: TextSearch,
    /// How long Redis is waited for; where it is stands under `redis`.
    pub redis: RedisTuning,
    /// When months leave.
    pub archive: Archive,
    /// Hours for which an idempotency key is remembered.
    pub request_hours: u32,
    /// Seconds between two rounds of background work.
    pub maintenance_seconds: u32,
    /// A query of a search that takes so many milliseconds is logged with its plan, at most one of a kind in ten seconds.
    pub slow_query_ms: u32,
}

/// When an HNSW index is built, and how. See pgvector's documentation for the trade-offs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hnsw {
    /// A month's partition of a space gets its index when it has this many rows,
    pub min_rows: u32,
    /// and when this many of them are of one tenant: tenants with few rows are searched without.
    pub min_tenant_rows: u32,
    /// Links of a node, 2 to 100.
    pub m: u16,
    /// Candidates looked at for each new row, 4 to 1,000 and at least twice `m`.
    pub ef_construction: u16,
    /// Candidates looked at by a search, 1 to 1,000; a search for more rows looks at as many as it wants rows. More where an index needs
    /// more for `recall`.
    pub ef_search: u16,
    /// The part of the nearest ten rows that a search is to find, 0 to 0.999. Measured for every index once it is built; 0 leaves
    /// `ef_search` alone to decide.
    pub recall: f64,
    /// Rows that a filtered search may visit before every candidate is read instead.
    pub max_scan_tuples: u32,
    /// Memory of a build. A graph that outgrows it is finished several times slower.
    pub build_memory_mb: u32,
    /// Extra processes of a build. They share `build_memory_mb` through `/dev/shm`, of which a container has 64 MB unless told
    /// otherwise: raise both together.
    pub build_workers: u16,
}

/// When months of rows leave, and where to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Archive {
    /// Whole months that stay beside the current one; 0 keeps all of them.
    pub after_months: u32,
    /// Folder of the files into which months are written before they are dropped.
    pub folder: Option<PathBuf>,
}

impl Archive {
    fn mistake(&self) -> Option<String> {
        (self.after_months > 0 && self.folder.is_none()).then(|| {
            "archive.after_months needs archive.folder, where months are written before they are dropped"
                .to_owned()
        })
    }
}

/// How an IVFFlat index is built and searched. See pgvector's documentation for the trade-offs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ivfflat {
    /// Rows for each list of a new index.
    pub rows_per_list: u32,
    /// Lists looked at by a search, 1 to 32,768.
    pub probes: u16,
    /// Lists that a filtered search may look at before every candidate is read instead, 1 to 32,768.
    pub max_probes: u16,
}

impl Default for Ivfflat {
    fn default() -> Self {
        Self { rows_per_list: 1_000, probes: 40, max_probes: 100 }
    }
}

/// How words of texts are read, kept and indexed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextSearch {
    /// A text search configuration of PostgreSQL, such as `english` or `simple`. After a change, texts that were stored before are read
    /// anew by each search.
    pub language: String,
    /// Whether words are kept beside the rows that are stored from now on: about as large as the text, and a hundred times faster than to
    /// read it anew.
    pub keep_words: bool,
    /// A month's partition of a space gets its index of words when it has this many rows,
    pub min_rows: u32,
    /// and when this many of them are of one tenant: tenants with few rows are searched without.
    pub min_tenant_rows: u32,
}

impl Default for TextSearch {
    fn default() -> Self {
        Self { language: "english".to_owned(), keep_words: true, min_rows: 100_000, min_tenant_rows: 20_000 }
    }
}

/// How long Redis is waited for: it saves time or is not worth asking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisTuning {
    /// Milliseconds for an answer, for each 128 vectors.
    pub timeout_ms: u32,
    /// Failures in a row after which it is left alone.
    pub failures: u32,
    /// Milliseconds for which it is then left alone.
    pub rest_ms: u32,
}

impl Default for RedisTuning {
    fn default() -> Self {
        Self { timeout_ms: 15, failures: 3, rest_ms: 2_000 }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pool: PoolConfig::default(),
            element: Element::Half,
            exact_max_rows: 10_000,
            index: IndexKind::default(),
            promote_rows: 500_000,
            hnsw: Hnsw::default(),
            ivfflat: Ivfflat::default(),
            text_search: TextSearch::default(),
            redis: RedisTuning::default(),
            archive: Archive::default(),
            request_hours: 24,
            maintenance_seconds: 60,
            slow_query_ms: 500,
        }
    }
}

impl Settings {
    pub(crate) fn slow_query(&self) -> Duration {
        Duration::from_millis(u64::from(self.slow_query_ms))
    }

    /// What is wrong with the numbers, if anything: PostgreSQL would say so only when it is too late.
    pub(crate) fn mistake(&self) -> Option<String> {
        self.hnsw
            .mistake()
            .or_else(|| self.ivfflat.mistake())
            .or_else(|| self.archive.mistake())
            .or_else(|| language::mistake(&self.text_search.language))
    }
}

impl Default for Hnsw {
    fn default() -> Self {
        Self {
            min_rows: 20_000,
            min_tenant_rows: 2_500,
            m: 16,
            ef_construction: 64,
            ef_search: 60,
            recall: 0.99,
            max_scan_tuples: 20_000,
            build_memory_mb: 256,
            build_workers: 0,
        }
    }
}

impl Ivfflat {
    fn mistake(&self) -> Option<String> {
        let ranges = [("probes", self.probes), ("max_probes", self.max_probes)];
        let wrong = ranges.into_iter().find(|(_, value)| !(1..=32_768).contains(value));
        let wrong = wrong.map(|(name, value)| format!("ivfflat.{name} is {value}, it must be 1 to 32768"));
        wrong.or_else(|| {
            (self.rows_per_list == 0).then(|| "ivfflat.rows_per_list must be at least 1".to_owned())
        })
    }
}

impl Hnsw {
    fn mistake(&self) -> Option<String> {
        let ranges = [("m", self.m, 2..=100), ("ef_construction", self.ef_construction, 4..=1000)];
        for (name, value, range) in ranges.into_iter().chain([("ef_search", self.ef_search, 1..=1000)]) {
            if !range.contains(&value) {
                return Some(format!(
                    "hnsw.{name} is {value}, it must be {} to {}",
                    range.start(),
                    range.end()
                ));
            }
        }
        if !(0.0..=0.999).contains(&self.recall) {
            return Some(format!("hnsw.recall is {}, it must be 0 to 0.999", self.recall));
        }
        (self.ef_construction < 2 * self.m)
            .then(|| "hnsw.ef_construction must be at least twice hnsw.m".to_owned())
    }
}

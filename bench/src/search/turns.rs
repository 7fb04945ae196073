//! The service and plain pgvector by turns, on the same rows: what else the machine does meanwhile falls on both.

use std::{collections::HashSet, path::Path, sync::Arc, time::Duration};

use super::{
    SearchError,
    corpus::Corpus,
    raw::{Element, Raw},
    served::{self, Reads, Tenant},
};

/// Clients of either side.
const CLIENTS: u32 = 16;
/// Searches before each measurement that do not count, because the other side has just had the buffers to itself.
const WARM: Duration = Duration::from_secs(1);

/// Searches a second of either side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// `pgbench` on a table of its own.
    pub plain: f64,
    /// The service, as the gateway asks it.
    pub served: f64,
    /// The service, whose answer has to see everything that was acknowledged.
    pub strict: f64,
}

impl Turn {
    /// The part of plain pgvector's searches that the service does not give, of all turns together.
    #[must_use]
    pub fn lost(turns: &[Self], of: fn(&Self) -> f64) -> f64 {
        let sum = |of: fn(&Self) -> f64| turns.iter().map(of).sum::<f64>();
        1.0 - sum(of) / sum(|turn| turn.plain).max(1.0)
    }
}

/// Stores the corpus in plain pgvector, builds the index that the service has, and searches both so many times, each for `seconds`,
/// looking at `ef` candidates.
///
/// # Errors
/// When one of them fails.
pub async fn by_turns(
    url: &str,
    bin: &Path,
    corpus: &Arc<Corpus>,
    (tenant, ef): (&Tenant, i64),
    (turns, seconds): (usize, u64),
) -> Result<Vec<Turn>, SearchError> {
    let (scripts, truth) = (tempfile::TempDir::new()?, Vec::<HashSet<usize>>::new());
    let raw = Raw::connect(url, bin, scripts.path(), (corpus, &truth), seconds).await?;
    raw.fill(Element::Half).await?;
    raw.index(Element::Half, "hnsw", "m = 16, ef_construction = 64").await?;
    let callers = |reads| vec![tenant.clone().reading(reads); CLIENTS as usize];
    let (eventual, strict) = (callers(Reads::Eventual), callers(Reads::YourWrites));
    let (ef, over) = (ef.to_string(), Duration::from_secs(seconds));
    let settings = [("hnsw.ef_search", ef.as_str())];
    let mut measured = Vec::with_capacity(turns);
    for _ in 0..turns {
        raw.pgbench(Element::Half, &settings, CLIENTS, WARM).await?;
        let plain = raw.pgbench(Element::Half, &settings, CLIENTS, over).await?.searches;
        served::run(&eventual, corpus, false, WARM).await?;
        let served = served::run(&eventual, corpus, false, over).await?.searches;
        let strict = served::run(&strict, corpus, false, over).await?.searches;
        eprintln!(
            "bench-search: pgvector {plain:.0}, vector-store {served:.0}, strictly {strict:.0} searches a second"
        );
        measured.push(Turn { plain, served, strict });
    }
    raw.clear().await?;
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_of_all_turns() {
        let turn = |plain, served| Turn { plain, served, strict: 0.0 };
        let lost = |turns: &[Turn]| Turn::lost(turns, |turn| turn.served);
        assert!((lost(&[turn(1_000.0, 900.0), turn(500.0, 450.0)]) - 0.1).abs() < 1e-9);
        assert!(lost(&[turn(100.0, 110.0)]) < 0.0);
    }
}

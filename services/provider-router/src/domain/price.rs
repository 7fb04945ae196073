//! What a model costs now, and how the tokens of one call fall to its inputs.

use std::time::{Duration, SystemTime};

use embermesh_proto::v1::CatalogModel;
use embermesh_types::{NanoUsd, Price, TokenCount};

/// The price in force: the latest that is not in the future. Without one a model cannot be charged, and is not called.
pub(crate) fn price_at(model: &CatalogModel, now: SystemTime) -> Option<Price> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let from = |price: &&embermesh_proto::v1::Price| price.effective_from.map_or(i64::MIN, |t| t.seconds);
    let current = model.prices.iter().filter(|price| from(price) <= seconds).max_by_key(from)?;
    current.per_million_tokens_nano_usd.map(|nanos| Price(NanoUsd(nanos)))
}

/// Splits the tokens that a provider reports for a call over its texts by their lengths, exactly: what rounding leaves goes to
/// the first texts. A call of one text has its own count; for several, providers report only the sum.
pub(crate) fn tokens_per_text(reported: TokenCount, texts: &[&str]) -> Vec<TokenCount> {
    let weights: Vec<u64> =
        texts.iter().map(|text| u64::try_from(text.len().max(1)).unwrap_or(u64::MAX)).collect();
    let total = i64::try_from(reported.0).unwrap_or(i64::MAX);
    NanoUsd(total).split(&weights).into_iter().map(|part| TokenCount(part.0.unsigned_abs())).collect()
}

#[cfg(test)]
mod tests {
    use embermesh_proto::v1::Price as Version;

    use super::*;

    #[test]
    fn the_latest_price_that_has_begun_is_in_force() {
        let version = |seconds, nanos| Version {
            per_million_tokens_nano_usd: Some(nanos),
            effective_from: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            source: String::new(),
        };
        let model = CatalogModel {
            prices: vec![version(100, 1), version(300, 3), version(200, 2)],
            ..CatalogModel::default()
        };
        let at = |seconds| price_at(&model, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(
            (at(99), at(100), at(299), at(1000)),
            (None, Some(Price(NanoUsd(1))), Some(Price(NanoUsd(2))), Some(Price(NanoUsd(3))))
        );
    }

    #[test]
    fn tokens_are_split_without_loss() {
        let parts = tokens_per_text(TokenCount(10), &["aaaa", "bb", ""]);
        assert_eq!(parts.iter().copied().sum::<TokenCount>(), TokenCount(10));
        assert!(parts[0] > parts[1]);
    }
}

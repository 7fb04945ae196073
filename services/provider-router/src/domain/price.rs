//! What a model costs now at a provider.

use std::time::{Duration, SystemTime};

use embermesh_config::ProviderKind;
use embermesh_proto::v1::CatalogModel;
use embermesh_types::{NanoUsd, Price};

/// A price and what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tariff {
    /// Of a million tokens, or characters.
    pub price: Price,
    pub by_character: bool,
}

/// The price in force at the provider entry `name` of `kind`: the latest that is not in the future, of the entry's own prices before
/// those of its kind before those of everybody. Without one a model cannot be charged, and is not called.
pub(crate) fn tariff_at(
    model: &CatalogModel,
    name: &str,
    kind: ProviderKind,
    now: SystemTime,
) -> Option<Tariff> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let from = |price: &embermesh_proto::v1::Price| price.effective_from.map_or(i64::MIN, |t| t.seconds);
    let latest = |provider: &str| {
        let of_provider = model.prices.iter().filter(|price| price.provider == provider);
        of_provider.filter(|price| from(price) <= seconds).max_by_key(|price| from(price))
    };
    let current = latest(name).or_else(|| latest(kind.as_str())).or_else(|| latest(""))?;
    let price = Price(NanoUsd(current.per_million_tokens_nano_usd?));
    Some(Tariff { price, by_character: current.unit == "characters" })
}

#[cfg(test)]
mod tests {
    use embermesh_proto::v1::Price as Version;

    use super::*;

    fn version(provider: &str, seconds: i64, nanos: i64) -> Version {
        Version {
            per_million_tokens_nano_usd: Some(nanos),
            effective_from: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            provider: provider.to_owned(),
            ..Version::default()
        }
    }

    fn at(model: &CatalogModel, name: &str, seconds: u64) -> Option<i64> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        tariff_at(model, name, ProviderKind::OpenAi, now).map(|tariff| tariff.price.0.0)
    }

    #[test]
    fn the_latest_price_that_has_begun_is_in_force() {
        let prices = vec![version("", 100, 1), version("", 300, 3), version("", 200, 2)];
        let model = CatalogModel { prices, ..CatalogModel::default() };
        let at = |seconds| at(&model, "x", seconds);
        assert_eq!((at(99), at(100), at(299), at(1000)), (None, Some(1), Some(2), Some(3)));
    }

    #[test]
    fn an_entrys_own_price_comes_before_that_of_its_kind_and_of_everybody() {
        let prices = vec![version("", 0, 1), version("openai", 0, 2), version("mine", 100, 3)];
        let model = CatalogModel { prices, ..CatalogModel::default() };
        assert_eq!((at(&model, "mine", 50), at(&model, "mine", 100)), (Some(2), Some(3)));
        assert_eq!(at(&model, "other", 100), Some(2));
        let other = tariff_at(&model, "other", ProviderKind::Voyage, SystemTime::UNIX_EPOCH);
        assert_eq!(other.map(|tariff| tariff.price.0.0), Some(1));
    }
}

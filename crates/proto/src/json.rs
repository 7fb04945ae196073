//! The JSON form of the public messages: objects alone, money as exact decimal USD, metadata as given, time as RFC 3339. The
//! public modules are pairs for serde's `with`.

mod batch_entry;
pub mod entries;
mod message;
pub mod object;
pub mod timestamp;
pub mod usd;

use serde::{Deserialize, Deserializer, de::Error as _};

/// Reads a list that must name something. Taken for "not given", an empty one would widen a filter or grant the defaults.
pub fn non_empty<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    let list = Vec::deserialize(from)?;
    if list.is_empty() {
        return Err(D::Error::custom("the list is empty, leave it out or name at least one"));
    }
    Ok(list)
}

/// Optional money.
pub mod optional_usd {
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes the amount; absent fields are left out before this is asked.
    pub fn serialize<S: Serializer>(nanos: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
        match nanos {
            Some(nanos) => super::usd::serialize(nanos, to),
            None => to.serialize_none(),
        }
    }

    /// Reads an amount or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
        Ok(Option::<super::usd::Amount>::deserialize(from)?.map(|amount| amount.0))
    }
}

/// Money by name.
pub mod usd_map {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::usd::Amount;

    /// Writes each amount.
    pub fn serialize<S: Serializer>(map: &BTreeMap<String, i64>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(map.iter().map(|(name, nanos)| (name, Amount(*nanos))))
    }

    /// Reads each amount.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, i64>, D::Error> {
        let map = BTreeMap::<String, Amount>::deserialize(from)?;
        Ok(map.into_iter().map(|(name, amount)| (name, amount.0)).collect())
    }
}

#[cfg(test)]
mod tests;

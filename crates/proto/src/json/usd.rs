//! int64 of nano-USD as a JSON number of USD, exact in both directions.

use embermesh_types::NanoUsd;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};
use serde_json::value::RawValue;

/// One amount, for containers.
pub(super) struct Amount(pub i64);

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        serialize(&self.0, to)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        deserialize(from).map(Self)
    }
}

/// Writes the digits themselves: a float could not hold them.
pub fn serialize<S: Serializer>(nanos: &i64, to: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(NanoUsd(*nanos).to_string()).map_err(S::Error::custom)?.serialize(to)
}

/// Reads the digits themselves.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let raw = Box::<RawValue>::deserialize(from)?;
    raw.get().parse::<NanoUsd>().map(|money| money.0).map_err(D::Error::custom)
}

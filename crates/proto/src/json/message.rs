//! Every public message is a JSON object and nothing else. serde's derived readers would also take an array and read its
//! elements as the fields in their order: `["a", "b"]` would be an agent's id and a text.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor, forward_to_deserialize_any};

use crate::v1;

/// Answers every question with a map: refuses what is none before the derived reader sees it.
struct Object<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Object<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

macro_rules! write_objects {
    ($($message:ident)*) => {$(
        impl Serialize for v1::$message {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                v1::$message::serialize(self, to)
            }
        }
    )*};
}

macro_rules! read_objects {
    ($($message:ident)*) => {$(
        impl<'de> Deserialize<'de> for v1::$message {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                v1::$message::deserialize(Object(from))
            }
        }
    )*};
}

include!(concat!(env!("OUT_DIR"), "/messages.rs"));

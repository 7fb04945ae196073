//! What a row, a vector, a filter and a page are. Pure: no I/O, no SQL, no protocol.

pub(crate) mod agent;
pub(crate) mod answer;
pub(crate) mod consistency;
pub(crate) mod dedup;
pub(crate) mod filter;
pub(crate) mod hybrid;
pub(crate) mod id;
pub(crate) mod index;
pub(crate) mod job;
pub(crate) mod language;
pub(crate) mod metadata;
pub(crate) mod metadata_filter;
pub(crate) mod migration;
pub(crate) mod month;
pub(crate) mod page_token;
pub(crate) mod recall;
pub(crate) mod row;
pub(crate) mod shard;
pub(crate) mod text;
pub(crate) mod truncation;
pub(crate) mod unit_length;
pub(crate) mod vector;

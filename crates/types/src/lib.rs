//! The words that every part of Embermesh shares: identifiers, money, spaces and time. No I/O, no protocol.

mod clock;
mod ids;
mod json_number;
mod money;
mod space;
mod write_token;

pub use clock::{Clock, ManualClock, SystemClock};
pub use ids::{AgentId, AttemptId, EmbeddingId, IdError, KeyId, RequestId, TenantId};
pub use json_number::is_kept_number;
pub use money::{MoneyError, NanoUsd, Price, TokenCount};
pub use space::{SpaceError, SpaceId};
pub use write_token::{Consistency, ConsistencyError, Lsn, Position, TokenError, WriteToken};

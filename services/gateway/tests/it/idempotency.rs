//! Idempotency keys through every public way in, over a real vector store on PostgreSQL.

mod batches;
mod in_flight;
mod kept_errors;
mod openai;
mod texts;
mod world;

//! The model on its real weights: they must be there (`scripts/fetch-model-weights.sh`), else these tests fail.

#![expect(clippy::unwrap_used, reason = "set-up that fails fails the test")]

mod limits;
mod reference;
mod tokenizer;
mod weights;

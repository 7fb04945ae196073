//! The model on its real weights: they must be there (`scripts/fetch-model-weights.sh`), else these tests fail.

mod limits;
mod reference;
mod tokenizer;
mod weights;

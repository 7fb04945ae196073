//! Tests of the whole system; see `tests/it`. Nothing here is built into any binary.

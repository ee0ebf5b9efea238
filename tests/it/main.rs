//! Every test that is not a unit test, in one binary.

mod engine_caps;
mod engine_properties;
mod engine_statistics;
mod snapshot_format;
mod vectors;

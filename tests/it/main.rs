//! Behaviour through the public doors only: sockets, processes, files. One claim per test.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::needless_pass_by_value, clippy::format_collect, reason = "documents are built as they read best")]
#![expect(clippy::cast_precision_loss, reason = "statistics over counts far below 2^52")]

mod api;
mod arch;
mod cli;
mod corpus;
mod crowd;
mod deploy;
mod engine_caps;
mod engine_properties;
mod engine_statistics;
mod fleet;
mod follow;
mod gateway;
mod health;
mod host;
mod live;
mod notifications;
mod ofrep;
mod ops;
mod process;
mod restart;
mod rig;
mod rollouts;
mod running;
mod snapshot_format;
mod state;
mod store;
mod storm;
mod swap;
mod threats;
mod vectors;
mod watch;
mod worker;

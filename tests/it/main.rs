//! End-to-end stories, one claim per test.

mod health;
mod host;
mod ops;
mod rig;
mod state;
mod watch;

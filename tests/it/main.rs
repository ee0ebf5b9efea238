//! End-to-end stories, one claim per test.

mod gateway;
mod health;
mod ops;
mod rig;
mod state;
mod watch;

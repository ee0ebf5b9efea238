//! End-to-end stories, one claim per test.

mod health;
mod live;
mod ops;
mod rig;
mod state;
mod swap;
mod watch;

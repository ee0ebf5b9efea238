//! Behaviour through the public doors only: sockets, processes, files. One claim per test.

mod arch;
mod cli;
mod engine_caps;
mod engine_properties;
mod engine_statistics;
mod gateway;
mod health;
mod host;
mod live;
mod ops;
mod process;
mod rig;
mod snapshot_format;
mod state;
mod swap;
mod vectors;
mod watch;

//! Bascule's gateway and command line.

pub mod config;
pub mod gateway;
pub mod host;
pub mod lifecycle;
pub mod manifest;
pub mod process;
pub mod state_dir;
pub mod telemetry;

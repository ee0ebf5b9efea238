//! The parts of the `bascule` binary: the gateway, its host of the edge module, and the command line.

pub mod cli;
pub mod config;
pub mod control_plane;
pub mod demo;
pub mod gateway;
pub mod hex;
pub mod host;
pub mod lifecycle;
pub mod process;
pub mod state_dir;
pub mod telemetry;

//! The parts of the `bascule` binary: the gateway, its host of the edge module, and the command line.

pub mod cli;
pub mod manifest;

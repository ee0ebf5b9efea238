//! Bascule's gateway and command line.

pub mod gateway;
pub mod host;

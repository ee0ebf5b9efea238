//! Bascule's gateway and command line.

pub mod host;

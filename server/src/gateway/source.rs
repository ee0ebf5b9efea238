//! Sources.

pub mod watch;

//! Where everything is kept.

pub mod rows;

//! The gateway.

pub mod access_log;
pub mod breaker;
pub mod health;
pub mod metrics;
pub mod ops;
pub mod publish;
pub mod scope;
pub mod source;

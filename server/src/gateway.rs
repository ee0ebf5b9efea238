//! The gateway: accepts requests, asks the engine, forwards to the release it names.
//!
//! Worker threads share nothing but health; every one has its listener, pools and engine
//! instances. A new snapshot is prepared elsewhere and swapped in one step.

pub mod access_log;
pub mod board;
pub mod breaker;
pub mod control;
pub mod health;
pub mod hosts;
pub mod limits;
pub mod metrics;
pub mod monotonic;
pub mod ops;
pub mod publish;
pub mod scope;
pub mod source;

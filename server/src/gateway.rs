//! The gateway: accepts requests, asks the engine, forwards to the release it names.
//!
//! Worker threads share nothing but health; every one has its listener, pools and engine
//! instances. A new snapshot is prepared elsewhere and swapped in one step.

pub mod access_log;
pub mod board;
mod body;
pub mod breaker;
mod client_io;
mod clock;
mod connection;
mod context;
pub mod control;
mod executor;
mod gate;
mod headers;
pub mod health;
pub mod hosts;
mod ids;
pub mod limits;
mod link;
mod listener;
pub mod mailbox;
pub mod metrics;
pub mod monotonic;
pub mod observe;
mod ofrep;
pub mod ops;
pub mod plane;
mod problem;
mod proxy;
pub mod publish;
mod reach;
mod route;
pub mod scope;
mod service;
pub mod source;
pub mod start;
pub mod state;
pub mod tls;
mod tunnel;
mod upstream;
mod waits;
mod worker;

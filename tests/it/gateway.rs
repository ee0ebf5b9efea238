//! The data path of a whole gateway over real sockets.

mod basics;
mod drain;
mod failures;
mod geography;
mod h2;
mod h2_frames;
mod h2_rollback;
mod hostile_module;
mod retries;
mod routing;
mod slow;
mod smuggling;
mod spellings;
mod streaming;
mod upgrades;
mod upstream_tls;

//! The data path of a whole gateway over real sockets.

mod basics;
mod drain;
mod failures;
mod h2;
mod routing;
mod slow;
mod smuggling;
mod spellings;
mod streaming;
mod upgrades;

//! The upstream side: connections, their pools, and one exchange over one of them.
//!
//! HTTP/1.1 is spoken by our own small client ([`h1`]), in the task of the request itself: no
//! channel, no second task, and it is always known whether a byte was sent or received, which is
//! what a safe retry depends on. HTTP/2 is hyper's.

pub(super) mod connect;
pub(super) mod fault;
pub(super) mod h1;
pub(super) mod h2;
pub(super) mod pool;
pub(super) mod pump;
pub(super) mod response;

//! What the access log is told about a request. Off by default; never cookies, bodies, raw client
//! addresses or query strings.

use std::time::Duration;

use edge_engine::RouteReason;

/// One answered request.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Request id, as sent to upstream and client.
    pub request_id: &'a str,
    /// Method.
    pub method: &'a str,
    /// Host, lower-case, without port.
    pub host: &'a str,
    /// Path without query.
    pub path: &'a str,
    /// Status sent to the client.
    pub status: u16,
    /// Time until the response head was handed to the client's connection.
    pub elapsed: Duration,
    /// App and environment, when a host was found.
    pub environment: Option<(&'a str, &'a str)>,
    /// The release that answered, and why.
    pub release: Option<(&'a str, RouteReason)>,
    /// Code of the problem that the gateway itself answered with.
    pub problem: Option<&'a str>,
}

/// Where entries go. One per process; `write` must not block.
pub trait AccessLog: Send + Sync {
    /// Takes one entry.
    fn write(&self, entry: &Entry<'_>);
}

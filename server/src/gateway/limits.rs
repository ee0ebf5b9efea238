//! Every timeout and limit of the data path, with its default and the reason for it.
//!
//! Plain values, checked where the configuration is read; nothing here is looked up per request
//! except by copy. The numbers that clients can see (431, 414, 408) are the same on every platform.

use std::time::Duration;

use ipnet::IpNet;

/// Largest request head, request line included; beyond it the answer is 431.
pub const HEAD_BYTES: usize = 32 * 1024;
/// Most header fields of a request; beyond it the answer is 431.
pub const HEAD_FIELDS: usize = 100;
/// Longest request target; beyond it the answer is 414.
pub const TARGET_BYTES: usize = 8 * 1024;
/// Time for a whole request head, counted from its first byte.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may stay open between two requests. Above the 55 s of common load balancers.
pub const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a client may stay silent in the middle of a request body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes per second that a request body must bring on average after the first [`BODY_TIMEOUT`];
/// a byte now and then does not keep a connection for ever.
pub const BODY_MIN_RATE: u64 = 100;
/// How long a client may refuse to take response bytes.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections of one process; beyond it a new connection is closed at once.
pub const CONNECTIONS: usize = 50_000;
/// Connections of one client address; beyond it a new connection is closed at once.
/// Trusted proxies are exempt: they carry many clients.
pub const CONNECTIONS_PER_IP: usize = 10_000;
/// Concurrent streams of one HTTP/2 connection.
pub const H2_STREAMS: u32 = 100;
/// Streams that a client reset before we took them; more ends the connection (rapid reset).
pub const H2_PENDING_RESETS: usize = 20;
/// Streams that our side reset because of a client's errors; more ends the connection (`MadeYouReset`).
pub const H2_LOCAL_RESETS: usize = 1024;
/// Streams of changes (OFREP) of one process; beyond it a client is told to poll or to come back.
pub const OFREP_STREAMS: usize = 10_000;
/// HTTP/2 keep-alive ping interval.
pub const H2_PING_INTERVAL: Duration = Duration::from_secs(20);
/// Time to answer a ping.
pub const H2_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// To establish a connection with an upstream, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two reads from an upstream: until the head, then until each part of the body.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle time of a pooled upstream connection. Node closes at 5 s, so stay below it.
pub const POOL_IDLE: Duration = Duration::from_secs(4);
/// Idle connections kept per upstream and worker.
pub const POOL_IDLE_CONNECTIONS: usize = 256;
/// Open HTTP/1 connections per upstream and worker; beyond it an exchange fails as if the upstream refused.
pub const POOL_CONNECTIONS: usize = 1024;
/// How long we wait for an upstream's `100 Continue` before the body is sent all the same.
pub const CONTINUE_TIMEOUT: Duration = Duration::from_secs(1);
/// Largest response head of an upstream.
pub const RESPONSE_HEAD_BYTES: usize = 64 * 1024;
/// What open tunnels and streams keep after their release was rolled back.
pub const ROLLBACK_GRACE: Duration = Duration::from_secs(10);
/// How long a draining process waits for exchanges in flight.
pub const DRAIN_GRACE: Duration = Duration::from_secs(30);
/// How long a draining process waits for an idle connection's next request, which it can still answer
/// with `connection: close`; closing at once would race with a request that is on its way.
pub const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// How long a draining listener, which takes no new handshakes, accepts those that are under way.
pub const DRAIN_LINGER: Duration = Duration::from_millis(200);
/// `Retry-After` of a 503.
pub const RETRY_AFTER_SECONDS: u32 = 1;

/// Limits towards clients.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// See [`HEAD_BYTES`].
    pub head_bytes: usize,
    /// See [`HEAD_FIELDS`]. Never above 100, which is what the parser's table holds.
    pub head_fields: usize,
    /// See [`TARGET_BYTES`].
    pub target_bytes: usize,
    /// See [`HEAD_TIMEOUT`].
    pub head_timeout: Duration,
    /// See [`IDLE_TIMEOUT`].
    pub idle_timeout: Duration,
    /// See [`BODY_TIMEOUT`].
    pub body_timeout: Duration,
    /// See [`BODY_MIN_RATE`].
    pub body_min_rate: u64,
    /// See [`WRITE_TIMEOUT`].
    pub write_timeout: Duration,
    /// See [`CONNECTIONS`].
    pub connections: usize,
    /// See [`CONNECTIONS_PER_IP`].
    pub connections_per_ip: usize,
    /// See [`H2_STREAMS`].
    pub h2_streams: u32,
    /// See [`H2_PENDING_RESETS`].
    pub h2_pending_resets: usize,
    /// See [`H2_LOCAL_RESETS`].
    pub h2_local_resets: usize,
    /// See [`OFREP_STREAMS`].
    pub ofrep_streams: usize,
    /// See [`H2_PING_INTERVAL`].
    pub h2_ping_interval: Duration,
    /// See [`H2_PING_TIMEOUT`].
    pub h2_ping_timeout: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            head_bytes: HEAD_BYTES,
            head_fields: HEAD_FIELDS,
            target_bytes: TARGET_BYTES,
            head_timeout: HEAD_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            body_timeout: BODY_TIMEOUT,
            body_min_rate: BODY_MIN_RATE,
            write_timeout: WRITE_TIMEOUT,
            connections: CONNECTIONS,
            connections_per_ip: CONNECTIONS_PER_IP,
            h2_streams: H2_STREAMS,
            h2_pending_resets: H2_PENDING_RESETS,
            h2_local_resets: H2_LOCAL_RESETS,
            ofrep_streams: OFREP_STREAMS,
            h2_ping_interval: H2_PING_INTERVAL,
            h2_ping_timeout: H2_PING_TIMEOUT,
        }
    }
}

/// Limits towards upstreams; a snapshot may override the timeouts per environment and release.
#[derive(Debug, Clone)]
pub struct UpstreamLimits {
    /// See [`CONNECT_TIMEOUT`].
    pub connect_timeout: Duration,
    /// See [`READ_TIMEOUT`].
    pub read_timeout: Duration,
    /// For the whole exchange; `None` = no limit, so that downloads and event streams live.
    pub total_timeout: Option<Duration>,
    /// See [`POOL_IDLE`].
    pub pool_idle: Duration,
    /// See [`POOL_IDLE_CONNECTIONS`].
    pub pool_idle_connections: usize,
    /// See [`POOL_CONNECTIONS`].
    pub pool_connections: usize,
    /// See [`CONTINUE_TIMEOUT`].
    pub continue_timeout: Duration,
    /// See [`RESPONSE_HEAD_BYTES`].
    pub response_head_bytes: usize,
    /// See [`ROLLBACK_GRACE`].
    pub rollback_grace: Duration,
}

impl Default for UpstreamLimits {
    fn default() -> Self {
        Self {
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: READ_TIMEOUT,
            total_timeout: None,
            pool_idle: POOL_IDLE,
            pool_idle_connections: POOL_IDLE_CONNECTIONS,
            pool_connections: POOL_CONNECTIONS,
            continue_timeout: CONTINUE_TIMEOUT,
            response_head_bytes: RESPONSE_HEAD_BYTES,
            rollback_grace: ROLLBACK_GRACE,
        }
    }
}

/// How a process goes away without losing a request.
#[derive(Debug, Clone)]
pub struct DrainLimits {
    /// See [`DRAIN_GRACE`].
    pub grace: Duration,
    /// See [`DRAIN_IDLE`].
    pub idle: Duration,
    /// See [`DRAIN_LINGER`].
    pub linger: Duration,
}

impl Default for DrainLimits {
    fn default() -> Self {
        Self { grace: DRAIN_GRACE, idle: DRAIN_IDLE, linger: DRAIN_LINGER }
    }
}

/// All that the data path is told once, before it starts.
#[derive(Debug, Clone, Default)]
pub struct DataConfig {
    /// Towards clients.
    pub client: ClientLimits,
    /// Towards upstreams.
    pub upstream: UpstreamLimits,
    /// When going away.
    pub drain: DrainLimits,
    /// Peers whose `x-forwarded-*`, `forwarded` and country headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Header in which a trusted proxy names the client's country, e.g. `cf-ipcountry`.
    pub country_header: Option<http::HeaderName>,
    /// The region this edge serves: the engine's `region`, and the upstreams it prefers.
    pub region: Option<String>,
}

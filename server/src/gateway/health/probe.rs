//! Active checks: asks every upstream whose environment wants it, and marks those that fail.
//!
//! It owns one task per checked upstream. Invariant: the set of tasks is the set of targets last
//! given to [`Prober::follow`]; a target that did not change keeps its task and its streak. A probe
//! is bounded by its timeout as a whole: connecting, handshake, head; the body is not read.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{ReleaseKey, UpstreamHealth};
use crate::gateway::upstream::connect::check_reach;

/// Between two probes when the snapshot names no interval.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// For one probe when the snapshot names no timeout.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// Failures in a row that make an upstream unhealthy when the snapshot names no number.
pub const DEFAULT_UNHEALTHY_AFTER: u32 = 3;
/// Successes in a row that make it healthy again when the snapshot names no number.
pub const DEFAULT_HEALTHY_AFTER: u32 = 2;
/// A snapshot cannot make an edge hammer its upstreams.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// How an upstream is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Path and query to GET.
    pub path: Box<str>,
    /// Between two probes.
    pub interval: Duration,
    /// For one probe.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_after: u32,
    /// Successes in a row that make it healthy again.
    pub healthy_after: u32,
}

/// Names an upstream of a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpstreamKey {
    /// The release.
    pub release: ReleaseKey,
    /// The address as the snapshot has it.
    pub url: Arc<str>,
}

/// An upstream to check.
#[derive(Debug, Clone)]
pub struct Target {
    /// Which one.
    pub key: UpstreamKey,
    /// Whether it speaks HTTP/2.
    pub http2: bool,
    /// How it is checked.
    pub check: Check,
    /// What to mark.
    pub record: Arc<UpstreamHealth>,
}

/// What a series of probes says.
#[derive(Debug, Default)]
struct Streak {
    unhealthy: bool,
    against: u32,
}

impl Streak {
    /// Takes one result in; answers the new verdict when it changed.
    fn observe(&mut self, ok: bool, check: &Check) -> Option<bool> {
        if ok != self.unhealthy {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        let needed = if self.unhealthy { check.healthy_after } else { check.unhealthy_after };
        if self.against < needed.max(1) {
            return None;
        }
        self.against = 0;
        self.unhealthy = !self.unhealthy;
        Some(self.unhealthy)
    }
}

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("the address is not an http or https URL with a host")]
    Address,
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("the exchange broke off")]
    Exchange(#[from] hyper::Error),
    #[error("the request cannot be built")]
    Request(#[from] http::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("answered {0}")]
    Status(StatusCode),
}

/// Runs the checks. Dropping it ends them.
#[derive(Debug)]
pub struct Prober {
    tls: Arc<rustls::ClientConfig>,
    tasks: TaskTracker,
    running: BTreeMap<UpstreamKey, (Target, CancellationToken)>,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.running.values().for_each(|(_, token)| token.cancel());
    }
}

impl Prober {
    /// A prober without targets. `tls` is what real requests use towards upstreams, so that a check
    /// cannot succeed where they would fail.
    pub fn new(tls: Arc<rustls::ClientConfig>, tasks: TaskTracker) -> Self {
        Self { tls, tasks, running: BTreeMap::new() }
    }

    /// Checks exactly these from now on. Must be called within a tokio runtime, which runs them.
    pub fn follow(&mut self, targets: impl IntoIterator<Item = Target>) {
        let mut wanted: BTreeMap<_, _> = targets.into_iter().map(|target| (target.key.clone(), target)).collect();
        self.running.retain(|key, (running, token)| {
            let same =
                wanted.get(key).is_some_and(|target| target.check == running.check && target.http2 == running.http2);
            if same {
                wanted.remove(key);
            } else {
                token.cancel();
                if !wanted.contains_key(key) {
                    // Without a check nothing could ever clear the mark again.
                    running.record.set_check_fails(false);
                }
            }
            same
        });
        for (key, target) in wanted {
            let token = CancellationToken::new();
            let work = Box::pin(watch(target.clone(), Arc::clone(&self.tls)));
            let stop = token.clone();
            self.tasks.spawn(async move { stop.run_until_cancelled(work).await });
            self.running.insert(key, (target, token));
        }
    }

    /// How many upstreams are checked.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether nothing is checked.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }
}

async fn watch(target: Target, tls: Arc<rustls::ClientConfig>) {
    // A check that only changed goes on from the verdict of the one before.
    let mut streak = Streak { unhealthy: target.record.check_fails(), against: 0 };
    let mut ticks = tokio::time::interval(target.check.interval.max(MIN_INTERVAL));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let result = probe(&target, &tls).await;
        target.record.checked(result.is_ok());
        let Some(unhealthy) = streak.observe(result.is_ok(), &target.check) else { continue };
        target.record.set_check_fails(unhealthy);
        report(&target.key, result.err());
    }
}

fn report(key: &UpstreamKey, failure: Option<ProbeError>) {
    let (app, environment) = (key.release.scope.app(), key.release.scope.environment());
    let release = &*key.release.release;
    if let Some(error) = failure {
        let error = &error as &dyn std::error::Error;
        let upstream = &*key.url;
        tracing::warn!(
            app,
            environment,
            release.id = release,
            upstream,
            error,
            "an upstream fails its health check and gets no more requests"
        );
    } else {
        let upstream = &*key.url;
        tracing::info!(
            app,
            environment,
            release.id = release,
            upstream,
            "an upstream passes its health check again and gets requests"
        );
    }
}

async fn probe(target: &Target, tls: &Arc<rustls::ClientConfig>) -> Result<(), ProbeError> {
    let limit = target.check.timeout;
    let exchange = exchange(target, tls);
    let status = tokio::time::timeout(limit, exchange).await.map_err(|_| ProbeError::Timeout(limit))??;
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(ProbeError::Status(status)) }
}

async fn exchange(target: &Target, tls: &Arc<rustls::ClientConfig>) -> Result<StatusCode, ProbeError> {
    let base: Uri = target.key.url.parse().map_err(|_| ProbeError::Address)?;
    let host = base.host().ok_or(ProbeError::Address)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let secure = base.scheme_str() == Some("https");
    let port = base.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(ProbeError::Connect)?;
    check_reach(&stream).map_err(ProbeError::Connect)?;
    if !secure {
        return ask(stream, &base, target).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| ProbeError::Address)?;
    let mut config = (**tls).clone();
    config.alpn_protocols = vec![if target.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(ProbeError::Connect)?;
    ask(stream, &base, target).await
}

async fn ask<S>(stream: S, base: &Uri, target: &Target) -> Result<StatusCode, ProbeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let agent = concat!("bascule-health/", env!("CARGO_PKG_VERSION"));
    let request = Request::builder().method(Method::GET).header(header::USER_AGENT, agent);
    if target.http2 {
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        let authority = base.authority().ok_or(ProbeError::Address)?.as_str();
        let scheme = base.scheme_str().ok_or(ProbeError::Address)?;
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(&*target.check.path).build()?;
        let request = request.uri(uri).body(Empty::<Bytes>::new())?;
        return drive(async move { sender.send_request(request).await.map(|r| r.status()) }, connection).await;
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    let authority = base.authority().ok_or(ProbeError::Address)?.as_str();
    let request = request
        .uri(&*target.check.path)
        .header(header::HOST, authority)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    drive(async move { sender.send_request(request).await.map(|r| r.status()) }, connection).await
}

/// Polls the connection only for as long as the answer is awaited, so that nothing outlives a probe.
async fn drive(
    answer: impl Future<Output = Result<StatusCode, hyper::Error>>,
    connection: impl Future<Output = Result<(), hyper::Error>>,
) -> Result<StatusCode, ProbeError> {
    let (mut answer, connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        biased;
        status = &mut answer => Ok(status?),
        ended = connection => {
            ended?;
            Ok(answer.await?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unhealthy_after: u32, healthy_after: u32) -> Check {
        Check { path: "/".into(), interval: DEFAULT_INTERVAL, timeout: DEFAULT_TIMEOUT, unhealthy_after, healthy_after }
    }

    #[track_caller]
    fn verdicts(results: &[bool], expected: &[(usize, bool)]) {
        let mut streak = Streak::default();
        let policy = check(3, 2);
        let changes: Vec<_> =
            results.iter().enumerate().filter_map(|(i, ok)| Some((i, streak.observe(*ok, &policy)?))).collect();
        assert_eq!(changes, expected);
    }

    #[test]
    fn three_failures_in_a_row_are_unhealthy_and_two_successes_heal() {
        verdicts(&[false, false, false, true, true], &[(2, true), (4, false)]);
    }

    #[test]
    fn a_single_success_starts_the_failures_again() {
        verdicts(&[false, false, true, false, false, true, false, false, false], &[(8, true)]);
    }

    #[test]
    fn a_single_failure_starts_the_successes_again() {
        verdicts(&[false, false, false, true, false, true, false, true, true], &[(2, true), (8, false)]);
    }

    #[test]
    fn zero_in_a_policy_means_one() {
        let mut streak = Streak::default();
        assert_eq!(streak.observe(false, &check(0, 0)), Some(true));
        assert_eq!(streak.observe(true, &check(0, 0)), Some(false));
    }
}

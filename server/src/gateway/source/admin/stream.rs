//! The stream that brings snapshots: opened for ever, read with bounds, believed by signature.
//!
//! Invariants: whatever comes, or does not come, what runs goes on; nothing is withdrawn but by a stream that greeted with
//! a trusted key and has said what there is; each reason for being without a stream is logged once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use admin_api::edge::{Access, Current, Goodbye, Hello, SNAPSHOTS, Scope as WireScope, SnapshotHead, Welcome, event};
use edge_engine::{AppName, EnvironmentName};
use http::{Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::Link;
use super::acks::Outbox;
use super::backoff::{Backoff, Wait};
use super::caught::{Panicked, caught};
use super::inbox::{Arrived, Inbox, Waiting};
use super::keys::Keyring;
use super::plane::Plane;
use super::sse::{Event, Reader};
use super::verify;
use crate::gateway::board::{Board, ControlPlane};
use crate::gateway::scope::Scope;
use crate::gateway::source::SharedEngine;
use crate::telemetry;

/// How long a stream may be silent before it has said how often it speaks.
const GREETING_TIMEOUT: Duration = Duration::from_secs(10);
/// Missed heartbeats after which a stream is dead.
const MISSED: u32 = 3;
/// What a control plane may ask for.
const HEARTBEAT_MS: std::ops::RangeInclusive<u64> = 20..=120_000;
const REPORT_MS: std::ops::RangeInclusive<u64> = 20..=300_000;

/// Why there is no stream, and when to try again.
#[derive(Debug)]
struct Lost {
    reason: String,
    wait: Wait,
}

impl Lost {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), wait: Wait::Backoff }
    }
}

/// What a stream has said so far.
#[derive(Debug)]
struct Session {
    connection: Arc<str>,
    silence: Duration,
    /// It signs with a key that counts here.
    is_trusted: bool,
    /// It has said what there is.
    is_current: bool,
}

/// What one read brought; handed over together, so that what was sent together is published together.
type Fresh = Vec<Box<dyn FnOnce(&mut Waiting) + Send>>;

/// Follows the stream.
pub(super) struct Follower {
    pub(super) plane: Arc<Plane>,
    pub(super) hello: Hello,
    pub(super) engine: SharedEngine,
    pub(super) keyring: Arc<Keyring>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) outbox: Outbox,
    pub(super) board: Arc<Board>,
    pub(super) link: watch::Sender<Link>,
    pub(super) backoff: Backoff,
    /// The last event that was read to its end.
    pub(super) last_id: Option<String>,
}

impl Follower {
    /// Follows for ever.
    pub(super) async fn run(mut self) {
        loop {
            // A module that was changed meanwhile; while one is being changed, the one of before is said.
            if let Ok(engine) = self.engine.try_lock() {
                engine.name().clone_into(&mut self.hello.engine);
            }
            // What an event left half-read is gone with the stream; what runs is not in here.
            let ended = caught(self.session()).await;
            let bug = |Panicked| Lost::new("following it panicked: this is a bug in bascule");
            let Lost { reason, wait } = ended.unwrap_or_else(bug);
            self.link.send_modify(|link| link.connection = None);
            let is_news = self.board.control_plane(|plane| {
                plane.reconnects += 1;
                plane.lost(&reason)
            });
            let pause = self.backoff.next_attempt(wait);
            let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            if is_news {
                tracing::warn!(reason, pause_ms, "the control plane is away: what runs goes on");
            } else {
                tracing::debug!(reason, pause_ms, "the control plane is still away");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One stream, from its opening to its end.
    async fn session(&mut self) -> Lost {
        let opened = self.plane.stream(&target(&self.hello), self.last_id.as_deref()).await;
        let mut body = match opened.map(accept) {
            Ok(Ok(body)) => body,
            Ok(Err(lost)) => return lost,
            Err(error) => return Lost::new(telemetry::chain(&error)),
        };
        let (mut reader, mut events, mut session) = (Reader::default(), Vec::new(), None::<Session>);
        loop {
            let silence = session.as_ref().map_or(GREETING_TIMEOUT, |session| session.silence);
            let bytes = match tokio::time::timeout(silence, body.frame()).await {
                Err(_) => return Lost::new(format!("its stream was silent for {} ms", silence.as_millis())),
                Ok(None) => return Lost::new("it closed the stream"),
                Ok(Some(Err(error))) => return Lost::new(telemetry::chain(&error)),
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
            };
            let at = Instant::now();
            self.board.control_plane(|plane| plane.last_contact = Some(Timestamp::now()));
            if let Err(error) = reader.feed(&bytes, &mut events) {
                return Lost::new(error.to_string());
            }
            let mut fresh = Fresh::new();
            let ended = events.drain(..).try_for_each(|event| {
                let id = event.id.clone();
                match &mut session {
                    None => session = Some(self.greet(&event)?),
                    Some(session) => self.take(session, event, at, &mut fresh)?,
                }
                self.last_id = id.filter(|id| !id.is_empty()).or(self.last_id.take());
                Ok(())
            });
            if !fresh.is_empty() {
                self.inbox.put(|waiting| fresh.into_iter().for_each(|put| put(waiting)));
            }
            if let Err(lost) = ended {
                return lost;
            }
        }
    }

    /// The first event says who speaks.
    fn greet(&mut self, first: &Event) -> Result<Session, Lost> {
        if first.name != event::WELCOME {
            return Err(Lost::new("its stream does not begin with a welcome"));
        }
        let welcome: Welcome = json(&first.data).ok_or_else(|| Lost::new("its welcome cannot be read"))?;
        let is_trusted = self.keyring.greet(&welcome.public_keys);
        let connection: Arc<str> = welcome.connection.into();
        let between = |ms: u64, range: std::ops::RangeInclusive<u64>| {
            Duration::from_millis(ms.clamp(*range.start(), *range.end()))
        };
        let was_away = self.board.control_plane(|plane| {
            let was_away = plane.reason.take().is_some();
            plane.connected();
            if !is_trusted {
                plane.reason = Some("it signs with no key that this edge trusts".to_owned());
            }
            was_away
        });
        if is_trusted {
            tracing::info!(connection = &*connection, was_away, "the control plane is followed");
        } else {
            tracing::error!(
                connection = &*connection,
                "the control plane signs with no key that this edge trusts: what runs goes on (admin_public_key pins)"
            );
        }
        self.link.send_replace(Link {
            connection: Some(Arc::clone(&connection)),
            report_every: between(welcome.report_ms, REPORT_MS),
        });
        let silence = between(welcome.heartbeat_ms, HEARTBEAT_MS) * MISSED;
        Ok(Session { connection, silence, is_trusted, is_current: false })
    }

    fn take(&mut self, session: &mut Session, event: Event, at: Instant, fresh: &mut Fresh) -> Result<(), Lost> {
        match event.name.as_str() {
            event::SNAPSHOT => self.snapshot(session, event.data, at, fresh),
            event::WITHDRAW => match json::<WireScope>(&event.data) {
                // Before `current` it is not said yet; `current` will not name it.
                Some(scope) if session.is_trusted && session.is_current => {
                    fresh.push(Box::new(move |waiting| waiting.withdraw(Scope::new(&scope.app, &scope.environment))));
                }
                Some(_) => {}
                None => self.unreadable(&event),
            },
            event::ACCESS => match json::<Access>(&event.data) {
                Some(access) if session.is_trusted => {
                    fresh.push(Box::new(move |waiting| waiting.access = Some(access)));
                }
                Some(_) => {}
                None => self.unreadable(&event),
            },
            event::CURRENT => {
                let current: Current =
                    json(&event.data).ok_or_else(|| Lost::new("its list of what there is cannot be read"))?;
                self.current(session, &current, fresh);
            }
            event::GOODBYE => {
                let retry = json::<Goodbye>(&event.data).map_or(0, |goodbye| goodbye.retry_ms);
                return Err(Lost {
                    reason: "it said goodbye".to_owned(),
                    wait: Wait::Within(Duration::from_millis(retry)),
                });
            }
            // What a later control plane says beyond this is not meant for this edge.
            _ => {}
        }
        Ok(())
    }

    fn snapshot(&mut self, session: &Session, mut data: Vec<u8>, at: Instant, fresh: &mut Fresh) {
        let end = memchr::memchr(b'\n', &data).unwrap_or(data.len());
        let document = data.split_off((end + 1).min(data.len()));
        let head = json::<SnapshotHead>(&data).filter(|head| {
            AppName::new(head.scope.app.as_str()).is_ok()
                && EnvironmentName::new(head.scope.environment.as_str()).is_ok()
        });
        let Some(head) = head else {
            self.board.control_plane(|plane| *plane.refused.entry("head_invalid").or_default() += 1);
            tracing::error!("a snapshot was refused: its head cannot be read");
            return;
        };
        let authentic = verify::authenticate(&self.keyring, &head, &document);
        match authentic {
            Ok(scope) => {
                let connection = Arc::clone(&session.connection);
                let arrived = Arrived { head, document, at, connection };
                fresh.push(Box::new(move |waiting| waiting.snapshot(scope, arrived)));
            }
            Err(refusal) => {
                self.outbox.refuse(&session.connection, &verify::scope_of(&head), head.number, refusal);
            }
        }
    }

    fn current(&mut self, session: &mut Session, current: &Current, fresh: &mut Fresh) {
        session.is_current = true;
        self.backoff.reset();
        if !session.is_trusted {
            return;
        }
        let all: BTreeSet<_> =
            current.environments.iter().map(|scope| Scope::new(&scope.app, &scope.environment)).collect();
        let connection = Arc::clone(&session.connection);
        fresh.push(Box::new(move |waiting| waiting.current = Some((all, connection))));
    }

    /// One event that cannot be read is passed over: the others are as good as before.
    fn unreadable(&self, event: &Event) {
        tracing::error!(event = event.name, "an event of the control plane cannot be read");
        let note = |plane: &mut ControlPlane| plane.reason = Some(format!("its event `{}` cannot be read", event.name));
        self.board.control_plane(note);
    }
}

/// Whether an answer is a stream.
fn accept(answer: Response<Incoming>) -> Result<Incoming, Lost> {
    let status = answer.status();
    if status != StatusCode::OK {
        let wait = Wait::of_refusal(status, answer.headers());
        return Err(Lost { reason: format!("it answered {}", status.as_u16()), wait });
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("text/event-stream") {
        return Err(Lost::new("its answer is no stream of events"));
    }
    Ok(answer.into_body())
}

fn json<T: DeserializeOwned>(data: &[u8]) -> Option<T> {
    serde_json::from_slice(data).ok()
}

/// The path with the hello as its query.
fn target(hello: &Hello) -> String {
    let kind = match hello.kind {
        admin_api::edge::EdgeKind::Gateway => "gateway",
        admin_api::edge::EdgeKind::Worker => "worker",
    };
    let mut target = format!("{SNAPSHOTS}?kind={kind}");
    let fields = [
        ("edge", Some(&hello.edge)),
        ("boot", Some(&hello.boot)),
        ("region", hello.region.as_ref()),
        ("version", Some(&hello.version)),
        ("engine", Some(&hello.engine)),
    ];
    for (name, value) in fields.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        target.push('&');
        target.push_str(name);
        target.push('=');
        encode(value, &mut target);
    }
    target
}

/// Percent-encodes everything that could mean something in a query.
fn encode(value: &str, to: &mut String) {
    use std::fmt::Write as _;
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use admin_api::edge::EdgeKind;

    use super::*;

    #[test]
    fn who_connects_is_said_in_the_query() {
        let hello = Hello {
            edge: "a/b+c".into(),
            boot: "7".into(),
            kind: EdgeKind::Gateway,
            region: Some("eu west".into()),
            version: "1.0".into(),
            engine: "native".into(),
        };
        let expected =
            "/edge/v1/snapshots?kind=gateway&edge=a%2Fb%2Bc&boot=7&region=eu%20west&version=1.0&engine=native";
        assert_eq!(target(&hello), expected);
    }
}

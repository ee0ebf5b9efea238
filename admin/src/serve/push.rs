//! Pushing snapshots to Workers, each by a task of its own, so that a slow one delays nobody.
//!
//! A Worker gets the newest snapshot of its environment only, with the OFREP tokens of that environment and no other; when
//! these change, the same snapshot comes again. What was not answered is pushed again after a pause that grows; what was
//! answered, once in a while, which finds a Worker that is gone and repairs one that lost its snapshot. A refusal is an
//! answer. Invariant: the text of a token is in its file, in the connection's head field, and nowhere else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use admin_api::ClientError;
use admin_api::client::{Answer, Call, Link, Settings, Token};
use admin_api::edge::{OfrepToken, PushAck};
use admin_api::problem::MEDIA_TYPE;
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::watch;

use crate::edges::workers::{Said, Worker};
use crate::edges::{Hub, Latest};
use crate::http::Shared;
use crate::ids;

/// Where a Worker takes snapshots.
const PATH: &str = "/.bascule/v1/snapshot";
/// For one push, connection and answer included.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two pushes when the first was not answered, at most; twice that after the next, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// What the pause grows to.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Between two pushes of a snapshot that was answered.
const HEARTBEAT: Duration = Duration::from_mins(1);
/// The codes by which a Worker refuses a snapshot. Another attempt would be refused as well.
const REFUSALS: [&str; 7] =
    ["key_unknown", "signature_invalid", "document_invalid", "format_unknown", "older", "same_number", "too_large"];
/// Of what a Worker says of itself, so many characters are believed to be meant for people.
const MAX_TEXT: usize = 500;

/// What a push was made of.
#[derive(Debug)]
struct Tried {
    sequence: u64,
    ofrep: Vec<OfrepToken>,
}

/// Wake with every publication, and when the tokens that count may be others.
type Wakes<'w> = (&'w mut watch::Receiver<u64>, &'w mut watch::Receiver<u64>);

/// Pushes to one Worker.
#[derive(Debug)]
pub(super) struct Pusher {
    worker: Worker,
    link: Link,
    token: Option<Token>,
    failures: u32,
    /// What was said last, so that only changes are logged.
    said: Option<Said>,
}

impl Pusher {
    /// Does not connect yet.
    pub(super) fn new(worker: Worker) -> Result<Self, ClientError> {
        let link = Link::new(Settings { timeout: LIMIT, ..Settings::new(worker.url.as_str()) })?;
        Ok(Self { worker, link, token: None, failures: 0, said: None })
    }

    /// Whom it pushes to.
    pub(super) fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Pushes for as long as it is polled.
    pub(super) async fn run(mut self, shared: Arc<Shared>) {
        let hub = Arc::clone(&shared.control.hub);
        let (mut published, mut access) = (hub.published(), hub.access_changes());
        loop {
            let latest = hub.latest(&self.worker.scope);
            let ofrep = hub.ofrep_tokens(&self.worker.scope, ids::now_ms());
            let tried = Tried { sequence: latest.as_ref().map_or(0, |latest| latest.sequence), ofrep };
            let mut pause = HEARTBEAT;
            // What was withdrawn is not pushed: a Worker goes on with its last snapshot.
            if let Some(latest) = latest.filter(|latest| latest.document.is_some()) {
                let began = Instant::now();
                let said = self.push(&latest, &tried.ofrep).await;
                shared.metrics.pushed(&said, began.elapsed());
                if matches!(said, Said::Unreachable(_)) {
                    pause = pause_after(self.failures);
                    self.failures = self.failures.saturating_add(1);
                } else {
                    self.failures = 0;
                }
                self.log(&said);
                self.said = Some(said.clone());
                hub.worker_said(&self.worker, said);
            }
            self.wait(&hub, (&mut published, &mut access), &tried, pause).await;
        }
    }

    /// Waits for a newer publication or other OFREP tokens, and no longer than the pause.
    async fn wait(&self, hub: &Hub, (published, access): Wakes<'_>, tried: &Tried, pause: Duration) {
        let scope = &self.worker.scope;
        let newer = async {
            while hub.latest(scope).is_none_or(|latest| latest.sequence <= tried.sequence) {
                if published.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let others = async {
            while hub.ofrep_tokens(scope, ids::now_ms()) == tried.ofrep {
                // One that is over is no longer told; nothing but the clock says when.
                let over = tokio::time::sleep(until_over(&tried.ofrep, ids::now_ms()));
                tokio::select! {
                    changed = access.changed() => if changed.is_err() {
                        std::future::pending::<()>().await;
                    },
                    () = over => {}
                }
            }
        };
        let either = async {
            tokio::select! { () = newer => {}, () = others => {} }
        };
        // That the time is over is a reason to go on, too.
        let _ = tokio::time::timeout(pause, either).await;
    }

    async fn push(&mut self, latest: &Latest, ofrep: &[OfrepToken]) -> Said {
        let body = latest.sealed(ofrep.to_vec()).unwrap_or_default();
        if self.token.is_none()
            && let Err(why) = self.read_token().await
        {
            return Said::Unreachable(why);
        }
        let mut answer = self.put(&body).await;
        if answer.as_ref().is_ok_and(|answer| answer.status == StatusCode::UNAUTHORIZED) {
            // Perhaps it was turned since it was read.
            match self.read_token().await {
                Ok(true) => answer = self.put(&body).await,
                Ok(false) => {}
                Err(why) => return Said::Unreachable(why),
            }
        }
        match answer {
            Ok(answer) => understood(latest.number, &answer),
            Err(error) => Said::Unreachable(plain(&chain(&error))),
        }
    }

    async fn put(&mut self, body: &Bytes) -> Result<Answer, ClientError> {
        let call = Call::raw(Method::PUT, PATH).body("application/octet-stream", body.clone());
        self.link.exchange(call).await
    }

    /// Whether the file holds another token than before.
    async fn read_token(&mut self) -> Result<bool, String> {
        let file = self.worker.token_file.display();
        let text = tokio::fs::read_to_string(&self.worker.token_file).await;
        let text = text.map_err(|error| format!("the token file {file} cannot be read: {error}"))?;
        let token = Token::new(text.trim()).map_err(|_| format!("{file} holds no token"))?;
        let is_another = self.token.as_ref() != Some(&token);
        self.link.set_token(token.clone());
        self.token = Some(token);
        Ok(is_another)
    }

    /// Says what has changed; an attempt that fails like the one before is not worth a line.
    fn log(&self, said: &Said) {
        let Worker { id: edge, scope, .. } = &self.worker;
        let was_reached = matches!(&self.said, Some(Said::Runs { .. } | Said::Refused { .. }));
        if !was_reached && !matches!(said, Said::Unreachable(_)) {
            tracing::info!(edge, app = scope.app, environment = scope.environment, "a Worker is reached");
        }
        match said {
            Said::Runs { .. } => {}
            Said::Refused { number, detail } => {
                let is_known = matches!(&self.said, Some(Said::Refused { number: known, .. }) if known == number);
                if !is_known {
                    tracing::warn!(
                        edge,
                        app = scope.app,
                        environment = scope.environment,
                        snapshot.number = number,
                        reason = detail,
                        "an edge refused a snapshot"
                    );
                }
            }
            Said::Unreachable(reason) => {
                if was_reached || self.said.is_none() {
                    let (app, environment) = (&scope.app, &scope.environment);
                    tracing::warn!(edge, app, environment, reason, "a Worker cannot be reached");
                }
            }
        }
    }
}

/// How long until the first of these tokens is over; the push after that leaves it out.
fn until_over(tokens: &[OfrepToken], now_ms: i64) -> Duration {
    let ends = tokens.iter().filter_map(|token| token.expires_at_ms);
    let left = ends.min().map_or(u64::MAX, |end| u64::try_from(end.saturating_sub(now_ms)).unwrap_or(0));
    // Whoever waits looks again after a heartbeat at the latest. The clock of the timer is no finer than this.
    Duration::from_millis(left.max(1)).min(HEARTBEAT)
}

/// A random time between half of a ceiling and all of it; the ceiling doubles with each failure.
fn pause_after(failures: u32) -> Duration {
    let ceiling = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(LONGEST_PAUSE);
    let part = f64::from(u32::from_be_bytes(ids::random())) / f64::from(u32::MAX);
    ceiling.mul_f64(0.5 + part / 2.0)
}

/// A Worker's refusal.
#[derive(Debug, Deserialize)]
struct Refused {
    code: String,
    #[serde(default)]
    detail: String,
}

/// What a Worker's answer to a push of this number means.
fn understood(number: u64, answer: &Answer) -> Said {
    let status = answer.status.as_u16();
    if answer.status == StatusCode::OK {
        let ack: Option<PushAck> = serde_json::from_slice(&answer.body).ok();
        return match ack.filter(|ack| ack.number == number && edge_engine::FlagKey::new(ack.engine.as_str()).is_ok()) {
            Some(PushAck { engine, bound_ms, .. }) => Said::Runs { number, engine, bound_ms },
            None => Said::Unreachable("it answered 200 in a way that no Worker does".to_owned()),
        };
    }
    let is_problem = answer.media_type() == MEDIA_TYPE;
    let refused: Option<Refused> = is_problem.then(|| serde_json::from_slice(&answer.body).ok()).flatten();
    match refused {
        Some(Refused { code, detail }) if is_client_error(answer) && REFUSALS.contains(&code.as_str()) => {
            Said::Refused { number, detail: plain(&format!("{code}: {detail}")) }
        }
        Some(_) if answer.status == StatusCode::UNAUTHORIZED => {
            Said::Unreachable("it answered 401: the token in its file is not its EDGE_TOKEN".to_owned())
        }
        Some(Refused { code, detail }) => Said::Unreachable(plain(&format!("it answered {status} ({code}): {detail}"))),
        None => Said::Unreachable(format!("it answered {status} in a way that no Worker does")),
    }
}

fn is_client_error(answer: &Answer) -> bool {
    answer.status.is_client_error() && answer.status != StatusCode::UNAUTHORIZED
}

/// An error with all that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A text of somebody else's on one line.
fn plain(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|one| if one.is_control() { ' ' } else { one }).collect()
}

#[cfg(test)]
mod tests {
    use admin_api::edge::{EnvironmentAccess, Scope};
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn answer(status: u16, media_type: &'static str, body: &str) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn taken(body: &str) -> Said {
        understood(7, &answer(200, "application/json", body))
    }

    fn problem(status: u16, body: &str) -> Said {
        understood(7, &answer(status, MEDIA_TYPE, body))
    }

    #[track_caller]
    fn is_no_answer(said: &Said, why: &str) {
        assert!(matches!(said, Said::Unreachable(text) if text.contains(why)), "{said:?}");
    }

    #[test]
    fn an_acknowledgement_is_of_the_pushed_number() {
        let runs = |bound_ms| Said::Runs { number: 7, engine: "native".to_owned(), bound_ms };
        assert_eq!(taken(r#"{"number": 7, "engine": "native", "boundMs": 1000}"#), runs(Some(1000)));
        assert_eq!(taken(r#"{"number": 7, "engine": "native", "more": 1}"#), runs(None));
        for body in [r#"{"number": 8, "engine": "native"}"#, r#"{"number": 7, "engine": "a b\n"}"#, "<html>", ""] {
            is_no_answer(&taken(body), "it answered 200 in a way that no Worker does");
        }
    }

    #[test]
    fn a_refusal_has_one_of_the_codes_and_anything_else_is_no_answer() {
        let older = problem(409, r#"{"status": 409, "code": "older", "detail": "8\nruns"}"#);
        assert_eq!(older, Said::Refused { number: 7, detail: "older: 8 runs".to_owned() });
        assert!(matches!(problem(422, r#"{"code": "key_unknown"}"#), Said::Refused { .. }));
        assert!(matches!(problem(413, r#"{"code": "too_large"}"#), Said::Refused { .. }));
        is_no_answer(
            &problem(503, r#"{"code": "object_unavailable", "detail": "gone"}"#),
            "503 (object_unavailable): gone",
        );
        is_no_answer(&problem(503, r#"{"code": "older"}"#), "503 (older)");
        is_no_answer(&problem(401, r#"{"code": "unauthorized"}"#), "not its EDGE_TOKEN");
        is_no_answer(&understood(7, &answer(404, "text/html", "x")), "404 in a way that no Worker does");
        let long = problem(422, &format!(r#"{{"code": "older", "detail": "{}"}}"#, "x".repeat(9000)));
        assert!(matches!(long, Said::Refused { detail, .. } if detail.len() == MAX_TEXT));
    }

    #[test]
    fn pauses_grow_to_an_end_and_are_not_all_alike() {
        for failures in [0, 1, 5, 31, 32, u32::MAX] {
            let ceiling = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
            let pauses: Vec<Duration> = (0..20).map(|_| pause_after(failures)).collect();
            assert!(pauses.iter().all(|pause| (ceiling / 2..=ceiling).contains(pause)), "{failures}: {pauses:?}");
            assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{failures}");
        }
    }

    fn pusher() -> Pusher {
        let worker = Worker {
            id: "w".to_owned(),
            scope: Scope { app: "web".to_owned(), environment: "production".to_owned() },
            url: "http://127.0.0.1:1".to_owned(),
            token_file: "token".into(),
            region: None,
        };
        Pusher::new(worker).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_answered_is_pushed_again_after_a_while_and_what_is_newer_at_once() {
        let hub = Hub::new(admin_api::edge::PublicKey { id: "k".to_owned(), key: String::new() });
        let publish = |environment: &str, sequence| {
            let publication = crate::service::publish::withdrawal("web", environment, 1, 0, 0);
            hub.publish(&crate::store::Publication { sequence, ..publication }, None);
        };
        let (pusher, mut published, mut tokens) = (pusher(), hub.published(), hub.access_changes());
        publish("production", 1);
        let tried = Tried { sequence: 1, ofrep: Vec::new() };
        for pause in [HEARTBEAT, FIRST_PAUSE] {
            let began = tokio::time::Instant::now();
            publish("staging", 2);
            hub.set_access(vec![access("staging", "ab", None)]);
            pusher.wait(&hub, (&mut published, &mut tokens), &tried, pause).await;
            assert!(began.elapsed() >= pause, "nothing of its environment was published");
        }
        let began = tokio::time::Instant::now();
        let waiting = pusher.wait(&hub, (&mut published, &mut tokens), &tried, HEARTBEAT);
        tokio::join!(waiting, async { publish("production", 3) });
        assert!(began.elapsed() < HEARTBEAT);
    }

    fn access(environment: &str, sha256: &str, expires_at_ms: Option<i64>) -> EnvironmentAccess {
        let scope = Scope { app: "web".to_owned(), environment: environment.to_owned() };
        let token = OfrepToken { sha256: sha256.to_owned(), is_client: false, expires_at_ms };
        EnvironmentAccess { scope, tokens: vec![token] }
    }

    #[tokio::test(start_paused = true)]
    async fn other_tokens_are_a_reason_to_push_and_so_is_the_end_of_one() {
        let hub = Hub::new(admin_api::edge::PublicKey { id: "k".to_owned(), key: String::new() });
        let (pusher, mut published, mut tokens) = (pusher(), hub.published(), hub.access_changes());
        let scope = &pusher.worker.scope;
        let mut waited = async |tried: &Tried, tokens: &mut watch::Receiver<u64>, meanwhile: Vec<EnvironmentAccess>| {
            let began = tokio::time::Instant::now();
            let waiting = pusher.wait(&hub, (&mut published, tokens), tried, HEARTBEAT);
            tokio::join!(waiting, async { hub.set_access(meanwhile) });
            began.elapsed() < HEARTBEAT
        };
        let (none, now) = (Tried { sequence: 1, ofrep: Vec::new() }, ids::now_ms());
        assert!(waited(&none, &mut tokens, vec![access("production", "ab", None)]).await, "it is made");
        let one = Tried { sequence: 1, ofrep: hub.ofrep_tokens(scope, now) };
        assert_eq!(one.ofrep.len(), 1);
        assert!(waited(&one, &mut tokens, Vec::new()).await, "it is revoked");
        assert_eq!(hub.ofrep_tokens(scope, now), []);
        hub.set_access(vec![access("production", "ab", Some(now + 5_000))]);
        let ends = hub.ofrep_tokens(scope, now);
        assert_eq!((ends.len(), hub.ofrep_tokens(scope, now + 5_000)), (1, vec![]), "it is over");
        assert_eq!(until_over(&ends, now), Duration::from_secs(5));
        assert_eq!(until_over(&ends, now + 6_000), Duration::from_millis(1));
        assert_eq!(until_over(&one.ofrep, now), HEARTBEAT);
    }

    #[test]
    fn the_token_is_in_no_debug_output() {
        let mut pusher = pusher();
        pusher.token = Some(Token::new("canary").unwrap());
        pusher.link.set_token(Token::new("canary").unwrap());
        assert!(!format!("{pusher:?}").contains("canary"));
    }
}

//! A request on its way: decided, sent to an upstream, answered.
//!
//! A second attempt happens only where repeating the request is the same as sending it once and no body has to be sent
//! again. Before a candidate that failed is represented by the active release, what is held is asked again, so that nothing
//! goes to a release that was rolled back meanwhile. Fails open: without a snapshot the configured origin serves.

use std::cell::RefCell;
use std::time::Duration;

use admin_api::edge::Failure;
use edge_engine::{ReleaseId, Slot, Snapshot};
use edge_http::breaker::{self, Admission, Machine, Policy};
use worker::web_sys::{Request, Response};
use worker::{Context, Env, Result, console_error, console_log};

use crate::choice::{Choice, Decided, Diverted, Serving, choose, outgoing, upstreams};
use crate::context::{Fields, Geo, Subject};
use crate::door::refuse;
use crate::held::current;
use crate::ledger::{Exchange, Outcome};
use crate::platform::{self, now_ms};
use crate::proxy::{self, Fault};
use crate::sealed::Opened;
use crate::settings::{Settings, settings};
use crate::url::parts;
use crate::{ofrep, reports};

/// How long the head of an answer may take where the snapshot names no time; as at the gateway.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

thread_local! {
    /// The breaker of the candidate, and where the upstreams' turn is.
    static BREAKER: RefCell<Option<(ReleaseId, Machine)>> = const { RefCell::new(None) };
    static TURN: RefCell<usize> = const { RefCell::new(0) };
}

/// What this edge makes up for a request.
struct Made {
    request_id: String,
    unit: [u8; 32],
    trace: [u8; 24],
}

/// Answers a request that is not for the Worker itself.
pub(crate) async fn forward(request: &Request, env: &Env, ctx: &Context) -> Result<Response> {
    let began_ms = now_ms();
    reports::open(env);
    let settings = settings(env);
    let subject = subject(request, &settings);
    let made = Made::new(&subject)?;
    let Some(opened) = current(env, ctx).await else {
        return to_origin(request, env, Some(ctx), &subject, &made).await;
    };
    if let Some(admitted) = ofrep::admit(&opened, &subject, now_ms()) {
        let body = match admitted.body_limit(&subject) {
            Some(limit) => platform::body(request, limit).await?,
            None => Some(Vec::new()),
        };
        let answer = admitted.answer(&opened, &subject, body.as_deref(), now_ms());
        let fields = answer.fields.iter().map(|(name, value)| (*name, &**value));
        return platform::answer(answer.status, fields.chain([("x-request-id", &*made.request_id)]), &answer.body);
    }
    let choice = choose(&opened, &subject, &made.unit, now_ms());
    reports::came(&opened, choice.sampled(&opened.snapshot, settings.region.as_deref()));
    let call = Call {
        env,
        request,
        settings: &settings,
        subject: &subject,
        made: &made,
        opened: &opened,
        choice: &choice,
        began_ms,
    };
    let answer = call.run().await;
    reports::decided(env, ctx, &opened.snapshot, &choice.flags);
    answer
}

/// Lets the configured origin answer. `ctx` is missing when the program was started anew, which counts these itself.
async fn to_origin(
    request: &Request,
    env: &Env,
    ctx: Option<&Context>,
    subject: &Subject,
    made: &Made,
) -> Result<Response> {
    let settings = settings(env);
    let Some(origin) = &settings.origin else {
        return refuse(503, "no_snapshot", "this Worker has no configuration yet");
    };
    if let Some(ctx) = ctx {
        reports::fell_back(env, ctx);
    }
    let fields = outgoing(subject, None, &made.request_id, made.trace);
    match proxy::send(env, request, origin, &fields, READ_TIMEOUT).await {
        Ok(answer) => proxy::dress(&answer, &made.request_id, None),
        Err(fault) => unavailable(&fault),
    }
}

/// Answers from the origin without a look at the snapshot.
pub(crate) async fn without_engine(request: &Request, env: &Env) -> Result<Response> {
    let subject = subject(request, &settings(env));
    let made = Made::new(&subject)?;
    to_origin(request, env, None, &subject, &made).await
}

struct Call<'a> {
    env: &'a Env,
    request: &'a Request,
    settings: &'a Settings,
    subject: &'a Subject,
    made: &'a Made,
    opened: &'a Opened,
    choice: &'a Choice,
    began_ms: i64,
}

/// How an attempt ended, when not with an answer to pass on.
enum Failed {
    Fault(Fault),
    /// A 5xx that the active release may hide.
    Status(Response),
}

impl Call<'_> {
    async fn run(&self) -> Result<Response> {
        let mut serving = self.first();
        loop {
            let asked = self.at(serving).await;
            self.tell(serving, &asked);
            let failed = match asked {
                Ok(answer) => return proxy::dress(&answer, &self.made.request_id, Some(self.decided(serving))),
                Err(failed) => failed,
            };
            match (self.instead(serving), failed) {
                (Some(next), failed) => {
                    if let Failed::Status(answer) = failed {
                        proxy::discard(&answer);
                    }
                    serving = next;
                }
                (None, Failed::Status(answer)) => {
                    return proxy::dress(&answer, &self.made.request_id, Some(self.decided(serving)));
                }
                (None, Failed::Fault(fault)) => return unavailable(&fault),
            }
        }
    }

    fn snapshot(&self) -> &Snapshot {
        &self.opened.snapshot
    }

    fn decided(&self, serving: Serving) -> Decided<'_> {
        Decided { snapshot: self.snapshot(), choice: self.choice, serving }
    }

    fn is_candidate(&self, slot: Slot) -> bool {
        slot != self.snapshot().traffic().active()
    }

    /// The release that the engine chose, unless it failed too often in this isolate.
    fn first(&self) -> Serving {
        let route = self.choice.route;
        let chosen = Serving { slot: route.slot, release: route.release, diverted: None };
        let diverts = self.is_candidate(chosen.slot)
            && self.breaker(chosen, |machine| machine.admit(clock())) == Admission::Divert;
        if diverts { Serving::active(self.snapshot(), Some(Diverted::Breaker)) } else { chosen }
    }

    /// Who answers after this one failed.
    fn instead(&self, serving: Serving) -> Option<Serving> {
        let may = self.is_candidate(serving.slot) && self.shields();
        may.then(|| Serving::active(self.snapshot(), Some(Diverted::Shield)))
    }

    fn shields(&self) -> bool {
        self.snapshot().edge().shield && self.subject.is_repeatable()
    }

    /// Asks the release's upstreams: one, and another one when that gave no answer and the request may be repeated.
    async fn at(&self, serving: Serving) -> std::result::Result<Response, Failed> {
        let mut upstreams = upstreams(self.snapshot(), serving.release, self.settings.region.as_deref());
        let turn = TURN.with_borrow_mut(|turn| {
            *turn = turn.wrapping_add(1);
            *turn
        });
        let count = upstreams.len().max(1);
        upstreams.rotate_left(turn % count);
        let fields = outgoing(self.subject, Some(self.decided(serving)), &self.made.request_id, self.made.trace);
        let attempts = if self.subject.is_repeatable() { 2 } else { 1 };
        let mut last = Failed::Fault(Fault::Transport("the release has no upstream".into()));
        for upstream in upstreams.iter().take(attempts) {
            match self.once(serving, &upstream.url, &fields).await {
                Err(Failed::Fault(fault)) => last = Failed::Fault(fault),
                answered => return answered,
            }
        }
        Err(last)
    }

    async fn once(&self, serving: Serving, upstream: &str, fields: &Fields) -> std::result::Result<Response, Failed> {
        let sent = proxy::send(self.env, self.request, upstream, fields, self.patience(serving)).await;
        let outcome = match &sent {
            Ok(answer) => Outcome::Status(answer.status()),
            Err(Fault::Timeout) => Outcome::Failed(Failure::Timeout),
            Err(Fault::Transport(_)) => Outcome::Failed(Failure::Transport),
        };
        self.trip(serving, outcome);
        match sent {
            Ok(answer) if answer.status() >= 500 && self.is_candidate(serving.slot) && self.shields() => {
                Err(Failed::Status(answer))
            }
            Ok(answer) => Ok(answer),
            Err(fault) => Err(Failed::Fault(fault)),
        }
    }

    /// The time until the head of the answer: `readMs`, and not more than `totalMs`.
    fn patience(&self, serving: Serving) -> Duration {
        let (all, own) = (&self.snapshot().edge().timeouts, self.snapshot().release(serving.release).timeouts.as_ref());
        let read = own.and_then(|own| own.read_ms).or(all.read_ms);
        let total = own.and_then(|own| own.total_ms).or(all.total_ms).filter(|total| *total > 0);
        let read = read.map_or(READ_TIMEOUT, |read| Duration::from_millis(read.into()));
        total.map_or(read, |total| read.min(Duration::from_millis(total.into())))
    }

    /// Counts how a release fared with this request, however many of its upstreams were asked.
    fn tell(&self, serving: Serving, asked: &std::result::Result<Response, Failed>) {
        let snapshot = self.snapshot();
        let outcome = match asked {
            Ok(answer) | Err(Failed::Status(answer)) => Outcome::Status(answer.status()),
            Err(Failed::Fault(Fault::Timeout)) => Outcome::Failed(Failure::Timeout),
            Err(Failed::Fault(Fault::Transport(_))) => Outcome::Failed(Failure::Transport),
        };
        let is_hidden = asked.is_err() && self.instead(serving).is_some();
        // Whom another release serves than was chosen says nothing about either.
        let chosen = Some(self.choice).filter(|_| serving.diverted.is_none());
        reports::exchange(&Exchange {
            release: snapshot.release(serving.release).id.as_str(),
            outcome,
            elapsed_ms: (!is_hidden).then(|| u64::try_from(now_ms() - self.began_ms).unwrap_or(0)),
            bucket: chosen.and_then(Choice::split),
            unit: chosen.and_then(|choice| choice.unit(snapshot, self.settings.region.as_deref())),
        });
    }

    /// Tells the candidate's breaker how an attempt ended.
    fn trip(&self, serving: Serving, outcome: Outcome) {
        if !self.is_candidate(serving.slot) {
            return;
        }
        let id = &self.snapshot().release(serving.release).id;
        let outcome = if outcome.failure().is_some() { breaker::Outcome::Failure } else { breaker::Outcome::Success };
        if let Some(breaker::Transition::Opened { for_ms }) =
            self.breaker(serving, |machine| machine.record(outcome, clock()))
        {
            console_log!("release {} failed too often here: the active one serves for {for_ms} ms", id.as_str());
        }
    }

    fn breaker<T>(&self, serving: Serving, ask: impl FnOnce(&mut Machine) -> T) -> T {
        let id = &self.snapshot().release(serving.release).id;
        let wire = &self.snapshot().edge().breaker;
        let policy = Policy {
            consecutive_failures: wire.consecutive_failures.unwrap_or(breaker::DEFAULT_CONSECUTIVE_FAILURES),
            open_ms: wire.open_ms.unwrap_or(breaker::DEFAULT_OPEN_MS),
        };
        BREAKER.with_borrow_mut(|known| {
            // Another candidate: what was learnt is about the one before.
            let _ = known.take_if(|(of, _)| of != id);
            let (_, machine) = known.get_or_insert_with(|| (id.clone(), Machine::new(policy)));
            machine.set_policy(policy);
            ask(machine)
        })
    }
}

fn clock() -> u64 {
    u64::try_from(now_ms()).unwrap_or(0)
}

fn unavailable(fault: &Fault) -> Result<Response> {
    match fault {
        Fault::Timeout => refuse(504, "upstream_timeout", "the upstream did not answer in time"),
        Fault::Transport(error) => {
            console_error!("the upstream did not answer: {error}");
            refuse(503, "upstream_unavailable", "no upstream can answer now; try again")
        }
    }
}

impl Made {
    /// The request's id, the client's when it may pass; a unit and a trace for whoever has none.
    fn new(subject: &Subject) -> Result<Self> {
        let random: [u8; 56] = platform::random()?;
        let (unit, rest) = random.split_first_chunk().ok_or("too few random bytes")?;
        let (id, rest) = rest.split_first_chunk().ok_or("too few random bytes")?;
        let (trace, _) = rest.split_first_chunk().ok_or("too few random bytes")?;
        let given = subject.field("x-request-id").filter(|id| edge_http::fields::is_sane_id(id.as_bytes()));
        let request_id = match given {
            Some(id) => id.to_owned(),
            None => String::from_utf8_lossy(&edge_http::ids::request_id(*id, now_ms())).into_owned(),
        };
        Ok(Self { request_id, unit: edge_http::ids::unit(*unit), trace: *trace })
    }
}

fn subject(request: &Request, settings: &Settings) -> Subject {
    let url = request.url();
    let url = parts(&url);
    let fields: Fields = worker::Headers(request.headers()).entries().collect();
    let ip = fields.iter().find(|(name, _)| name == "cf-connecting-ip").map(|(_, value)| value.clone());
    Subject {
        method: request.method(),
        path: url.path.to_owned(),
        query: url.query.to_owned(),
        authority: url.authority.to_owned(),
        ip,
        geo: geo(request),
        region: settings.region.clone(),
        is_tls: url.scheme == "https",
        has_body: request.body().is_some(),
        fields,
    }
}

fn geo(request: &Request) -> Geo {
    use worker::js_sys::Reflect;
    let Ok(cf) = Reflect::get(request, &"cf".into()) else { return Geo::default() };
    let get = |name: &str| Reflect::get(&cf, &name.into()).ok();
    let text = |name: &str| get(name)?.as_string();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of an AS has 32 bits")]
    let asn = || Some((get("asn")?.as_f64()? as u32).to_string());
    Geo { country: text("country"), region: text("regionCode"), colo: text("colo"), asn: asn() }
}

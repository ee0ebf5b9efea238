//! Deciding requests on one worker thread, whatever happens to the module.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use edge_engine::{
    ContextError, Decision, EvaluateOptions, FlagOutcome, FlagSelection, JsonContext, RequestContext, Snapshot,
};

use super::instance::{HostError, Instance};
use super::loaded::Loaded;

/// Replacing an instance starts at once the first time, then waits twice as long each time, from this…
const REPLACE_AFTER: Duration = Duration::from_millis(50);
/// …up to this: a module that always traps must not eat the machine.
const REPLACE_AFTER_MAX: Duration = Duration::from_secs(10);

/// How a decision came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// The engine decided.
    Engine,
    /// The engine could not; the active slot serves.
    Fallback(FallbackCause),
    /// The engine decided, and the native engine would have decided otherwise.
    ShadowDiffered,
}

/// Why the engine could not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FallbackCause {
    /// It missed its deadline.
    Deadline,
    /// It trapped or ran out of memory.
    Trap,
    /// Its answer was not for the snapshot.
    Answer,
    /// The instance is being replaced.
    Replacing,
}

impl FallbackCause {
    /// Name for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Trap => "trap",
            Self::Answer => "answer",
            Self::Replacing => "replacing",
        }
    }
}

/// Why a JSON context was not evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The context is at fault.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The module is.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It failed a moment ago, and its next instance is being made.
    #[error("the module's instance is being replaced")]
    Replacing,
}

/// An error with its causes on one line.
fn chain(error: &HostError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Decides requests of one snapshot on one thread.
pub struct Decider {
    loaded: Arc<Loaded>,
    state: State,
    /// The native engine's answer, when it is compared.
    shadow: Option<Decision>,
    /// Replacements in a row.
    failures: u32,
}

enum State {
    Native,
    Ready(Box<Instance>),
    /// A thread makes a new instance.
    Replacing(Receiver<Result<Option<Instance>, HostError>>),
    /// Making one failed, or the last ones trapped at once.
    WaitingUntil(Instant),
}

impl Decider {
    pub(super) fn new(loaded: Arc<Loaded>, instance: Option<Instance>) -> Self {
        let shadow = (loaded.engine.shadow && instance.is_some()).then(Decision::new);
        let state = instance.map_or(State::Native, |instance| State::Ready(Box::new(instance)));
        Self { loaded, state, shadow, failures: 0 }
    }

    /// The snapshot that is decided.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.loaded.snapshot
    }

    /// A decision to reuse for every request.
    pub fn new_decision(&self) -> Decision {
        Decision::fallback(&self.loaded.snapshot)
    }

    /// Decides a request. Total: without an answer of the engine it is the fallback.
    #[inline]
    pub fn decide(&mut self, context: &RequestContext<'_>, out: &mut Decision) -> Decided {
        match &mut self.state {
            State::Native => {
                edge_engine::decide(&self.loaded.snapshot, context, out);
                return Decided::Engine;
            }
            State::Ready(instance) => match instance.decide(&self.loaded.snapshot, context, out) {
                Ok(()) => {
                    self.failures = 0;
                    return self.compare(context, out);
                }
                Err(error) => return self.discard(&error, out),
            },
            State::Replacing(_) | State::WaitingUntil(_) => {}
        }
        if self.replaced() {
            return self.decide(context, out);
        }
        edge_engine::fall_back(&self.loaded.snapshot, out);
        Decided::Fallback(FallbackCause::Replacing)
    }

    /// Evaluates a JSON context; appends the decision as JSON.
    pub fn evaluate(
        &mut self,
        context: &[u8],
        flags: FlagSelection<'_>,
        now_ms: i64,
        explain: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), EvaluateError> {
        let engine = self.loaded.engine.name();
        match &mut self.state {
            State::Ready(instance) => {
                let evaluated = instance.evaluate(context, flags, now_ms, (engine, explain), out);
                if evaluated.is_err() {
                    self.replace();
                }
                Ok(evaluated??)
            }
            State::Native => {
                let context = JsonContext::parse(context)?;
                let options = EvaluateOptions { engine, now_ms, flags, explain };
                edge_engine::evaluate(&self.loaded.snapshot, &context, &options, out);
                Ok(())
            }
            State::Replacing(_) | State::WaitingUntil(_) => {
                if self.replaced() {
                    return self.evaluate(context, flags, now_ms, explain, out);
                }
                Err(EvaluateError::Replacing)
            }
        }
    }

    /// Evaluates flags for a JSON context that a client sent: the outcome of each, in the order of the selection, over
    /// what `out` held. An instance that fails is replaced off this thread; until then this is an error.
    pub fn outcomes(
        &mut self,
        context: &[u8],
        flags: FlagSelection<'_>,
        now_ms: i64,
        out: &mut Vec<FlagOutcome>,
    ) -> Result<(), EvaluateError> {
        match &mut self.state {
            State::Ready(instance) => {
                let evaluated = instance.outcomes(&self.loaded.snapshot, context, flags, now_ms, out);
                match &evaluated {
                    Ok(_) => self.failures = 0,
                    Err(error) => self.log_and_replace(error),
                }
                Ok(evaluated??)
            }
            State::Native => {
                let context = JsonContext::parse(context)?;
                edge_engine::outcomes(&self.loaded.snapshot, &context, flags, now_ms, out);
                Ok(())
            }
            State::Replacing(_) | State::WaitingUntil(_) => {
                if self.replaced() {
                    return self.outcomes(context, flags, now_ms, out);
                }
                Err(EvaluateError::Replacing)
            }
        }
    }

    #[inline]
    fn compare(&mut self, context: &RequestContext<'_>, out: &Decision) -> Decided {
        let Some(native) = &mut self.shadow else { return Decided::Engine };
        edge_engine::decide(&self.loaded.snapshot, context, native);
        if native == out { Decided::Engine } else { Decided::ShadowDiffered }
    }

    #[cold]
    fn discard(&mut self, error: &HostError, out: &mut Decision) -> Decided {
        self.log_and_replace(error);
        edge_engine::fall_back(&self.loaded.snapshot, out);
        Decided::Fallback(match error {
            HostError::Deadline => FallbackCause::Deadline,
            HostError::Trap(_) | HostError::Refused(_) => FallbackCause::Trap,
            HostError::Answer(_) | HostError::Region(_) => FallbackCause::Answer,
        })
    }

    #[cold]
    fn log_and_replace(&mut self, error: &HostError) {
        tracing::error!(
            app = %self.loaded.snapshot.app(),
            environment = %self.loaded.snapshot.environment(),
            error = %chain(error),
            "the edge module failed, the active slot serves until it is replaced"
        );
        self.replace();
    }

    /// Drops the instance and has another made, at once or after a pause that grows.
    fn replace(&mut self) {
        self.failures += 1;
        self.state = if self.failures == 1 {
            self.start_replacing()
        } else {
            let pause = REPLACE_AFTER.saturating_mul(1 << self.failures.min(16)).min(REPLACE_AFTER_MAX);
            State::WaitingUntil(Instant::now() + pause)
        };
    }

    fn start_replacing(&self) -> State {
        let loaded = Arc::clone(&self.loaded);
        let (sender, receiver) = sync_channel(1);
        // The decider may be gone by then: it was swapped out, and nobody wants the instance.
        let make = move || drop(sender.send(loaded.instance()));
        match std::thread::Builder::new().name("module-replace".into()).spawn(make) {
            Ok(_) => State::Replacing(receiver),
            Err(_) => State::WaitingUntil(Instant::now() + REPLACE_AFTER_MAX),
        }
    }

    /// Whether an instance is ready again.
    fn replaced(&mut self) -> bool {
        match &self.state {
            State::Replacing(receiver) => match receiver.try_recv() {
                Ok(Ok(Some(instance))) => {
                    self.state = State::Ready(Box::new(instance));
                    return true;
                }
                Err(TryRecvError::Empty) => {}
                Ok(Ok(None) | Err(_)) | Err(TryRecvError::Disconnected) => self.replace(),
            },
            State::WaitingUntil(time) if Instant::now() >= *time => self.state = self.start_replacing(),
            State::WaitingUntil(_) | State::Native | State::Ready(_) => {}
        }
        false
    }
}

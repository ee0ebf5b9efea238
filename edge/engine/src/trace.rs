//! Explaining a decision: the one evaluation, watched.
//!
//! The evaluator is generic over a [`Trace`]. [`Silent`] compiles to nothing; [`Recorder`] builds the
//! JSON tree of what was looked at, in order, short-circuits included (what was not evaluated is not
//! in the tree).

use serde_json::Value as Json;

/// Watches an evaluation. `open` and `close` nest like brackets.
pub trait Trace {
    /// Whether anything is recorded; results decided on load are evaluated anew when it is.
    const ACTIVE: bool;
    /// A step begins.
    fn open(&mut self);
    /// The step ends: `node` makes its JSON from the steps inside it.
    fn close(&mut self, node: impl FnOnce(Vec<Json>) -> Json);
    /// A step without inner steps.
    fn leaf(&mut self, node: impl FnOnce() -> Json) {
        self.open();
        self.close(|_| node());
    }
}

/// Records nothing.
pub struct Silent;

impl Trace for Silent {
    const ACTIVE: bool = false;
    #[inline]
    fn open(&mut self) {}
    #[inline]
    fn close(&mut self, _: impl FnOnce(Vec<Json>) -> Json) {}
}

/// Records every step.
#[derive(Default)]
pub(crate) struct Recorder {
    open: Vec<Vec<Json>>,
    done: Vec<Json>,
}

impl Recorder {
    /// The steps since the last call.
    pub(crate) fn take(&mut self) -> Vec<Json> {
        std::mem::take(&mut self.done)
    }
}

impl Trace for Recorder {
    const ACTIVE: bool = true;

    fn open(&mut self) {
        self.open.push(Vec::new());
    }

    fn close(&mut self, node: impl FnOnce(Vec<Json>) -> Json) {
        let inner = self.open.pop().unwrap_or_default();
        self.open.last_mut().unwrap_or(&mut self.done).push(node(inner));
    }
}

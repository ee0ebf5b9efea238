//! `decide`: the only entry point to a decision. Total: no input makes it fail, panic or loop.

use serde_json::json;

use crate::comparison::Memory;
use crate::context::RequestContext;
use crate::decision::{Decision, ErrorCode, FlagIndex, FlagOutcome, FlagReason, Route, RouteReason, VariantIndex};
use crate::snapshot::Snapshot;
use crate::trace::{Silent, Trace};
use crate::unit::Unit;

/// Decides a request: the route, and each forwarded flag. Reuses `out`, so it allocates nothing once
/// `out` has grown to the snapshot's number of forwarded flags.
pub fn decide(snapshot: &Snapshot, context: &RequestContext<'_>, out: &mut Decision) {
    let mut evaluation = Evaluation::new(snapshot, context);
    out.route = evaluation.route();
    out.flags.clear();
    out.flags.extend(snapshot.forwarded().iter().map(|flag| evaluation.flag(*flag)));
}

/// The decision of a host that has no engine to ask: the active slot, every forwarded flag off.
pub fn fall_back(snapshot: &Snapshot, out: &mut Decision) {
    out.route = snapshot.traffic().to_active(RouteReason::Fallback);
    out.flags.clear();
    let flags = snapshot.forwarded().iter().filter_map(|index| snapshot.flag(*index));
    out.flags.extend(flags.map(|flag| flag.off(FlagReason::Error, Some(ErrorCode::General))));
}

/// One request against one snapshot. The unit is looked up once.
pub struct Evaluation<'e, T: Trace = Silent> {
    pub(crate) snapshot: &'e Snapshot,
    pub(crate) context: &'e RequestContext<'e>,
    pub(crate) unit: Option<Unit<'e>>,
    pub(crate) memory: Memory,
    pub(crate) trace: T,
}

impl<'e> Evaluation<'e> {
    /// Prepares the evaluation of a request.
    #[inline]
    pub fn new(snapshot: &'e Snapshot, context: &'e RequestContext<'e>) -> Self {
        Self::with_trace(snapshot, context, Silent)
    }
}

impl<'e, T: Trace> Evaluation<'e, T> {
    pub(crate) fn with_trace(snapshot: &'e Snapshot, context: &'e RequestContext<'e>, trace: T) -> Self {
        let unit = snapshot.unit().find(context);
        Self { snapshot, context, unit, memory: Memory::default(), trace }
    }

    /// Which release serves.
    pub fn route(&mut self) -> Route {
        self.snapshot.traffic().route(self)
    }

    /// The outcome of a flag. An index that is not of this snapshot gives variant 0 with `ERROR`.
    #[inline]
    pub fn flag(&mut self, index: FlagIndex) -> FlagOutcome {
        match self.snapshot.flag(index) {
            Some(flag) => match flag.decided {
                Some(outcome) if !T::ACTIVE => outcome,
                _ => flag.evaluate(self),
            },
            None => FlagOutcome {
                flag: index,
                variant: VariantIndex(0),
                reason: FlagReason::Error,
                rule: None,
                bucket: None,
                error: Some(ErrorCode::General),
            },
        }
    }

    /// Whether a flag has one of the variants: the form that conditions and prerequisites share.
    pub(crate) fn flag_is(&mut self, index: FlagIndex, variants: &[VariantIndex]) -> bool {
        self.trace.open();
        let outcome = self.flag(index);
        let result = variants.contains(&outcome.variant);
        let snapshot = self.snapshot;
        self.trace.close(|inner| {
            let flag = snapshot.flag(index);
            let key = flag.map_or("", |flag| flag.key.as_str());
            let variant = flag.map_or("", |flag| flag.key_of(outcome.variant));
            json!({"flag": key, "variant": variant, "steps": inner, "result": result})
        });
        result
    }
}

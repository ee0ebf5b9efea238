//! The engines that the vectors run against.

use edge_engine::{
    BucketingKey, Decision, EvaluateOptions, FlagSelection, JsonContext, ReleaseIndex, Route, RouteReason, Slot,
    Snapshot, check, decide, evaluate, parse, write_decision,
};
use server::host::{Decided, Decider, Engine as HostEngine, EvaluateError, LoadError, LoadedSnapshot, Module};

/// A host of the engine. All name themselves `native` in their answers, so that bytes can be compared.
pub(super) trait Engine {
    /// Takes a snapshot document, or answers the codes of its problems.
    fn load(&mut self, snapshot: &[u8], key: &BucketingKey) -> Result<(), Vec<String>>;
    /// Evaluates a JSON context to a decision as JSON, or answers the code of the error.
    fn evaluate(
        &mut self,
        context: &[u8],
        flags: FlagSelection<'_>,
        now_ms: i64,
        explain: bool,
    ) -> Result<Vec<u8>, String>;
    /// Decides as on the request path, with the forwarded flags, and writes the decision as JSON.
    fn decide(&mut self, context: &[u8], now_ms: i64) -> Result<Vec<u8>, String>;
}

/// A decision to be overwritten: everything in it is wrong.
pub(super) fn nothing() -> Decision {
    let route = Route {
        slot: Slot::Green,
        release: ReleaseIndex(u16::MAX),
        reason: RouteReason::Override,
        rule: None,
        bucket: Some(u32::MAX),
        unit: None,
        renew_pin: true,
    };
    Decision { route, flags: Vec::new() }
}

/// The engine in this process.
#[derive(Default)]
pub(super) struct Native(Option<Snapshot>);

impl Engine for Native {
    fn load(&mut self, snapshot: &[u8], key: &BucketingKey) -> Result<(), Vec<String>> {
        let loaded = parse(snapshot).and_then(|wire| check(wire, key));
        self.0 = Some(loaded.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?);
        Ok(())
    }

    fn evaluate(
        &mut self,
        context: &[u8],
        flags: FlagSelection<'_>,
        now_ms: i64,
        explain: bool,
    ) -> Result<Vec<u8>, String> {
        let snapshot = self.0.as_ref().unwrap();
        let context = JsonContext::parse(context).map_err(|error| error.code.to_owned())?;
        let mut out = Vec::new();
        evaluate(snapshot, &context, &EvaluateOptions { engine: "native", now_ms, flags, explain }, &mut out);
        Ok(out)
    }

    fn decide(&mut self, context: &[u8], now_ms: i64) -> Result<Vec<u8>, String> {
        let snapshot = self.0.as_ref().unwrap();
        packed(snapshot, context, now_ms, |request, decision| decide(snapshot, request, decision))
    }
}

/// The edge module in wasmtime, as the gateway hosts it.
pub(super) struct Wasm {
    engine: HostEngine,
    decider: Option<Decider>,
}

impl Wasm {
    pub(super) fn new() -> Self {
        Self { engine: HostEngine::wasm(Module::embedded().unwrap()), decider: None }
    }
}

impl Engine for Wasm {
    fn load(&mut self, snapshot: &[u8], key: &BucketingKey) -> Result<(), Vec<String>> {
        let loaded = LoadedSnapshot::load(snapshot, key, &self.engine).map_err(|error| match error {
            LoadError::Problems(problems) => problems.iter().map(ToString::to_string).collect(),
            LoadError::Module(error) => vec![error.to_string()],
        })?;
        self.decider = Some(loaded.decider().unwrap());
        Ok(())
    }

    fn evaluate(
        &mut self,
        context: &[u8],
        flags: FlagSelection<'_>,
        now_ms: i64,
        explain: bool,
    ) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        match self.decider.as_mut().unwrap().evaluate(context, flags, now_ms, explain, &mut out) {
            Ok(()) => {
                let named = format!(",\"engine\":\"{}\",", self.engine.name());
                let text = String::from_utf8(out).unwrap();
                assert_eq!(text.matches(&named).count(), 1, "the answer names its engine");
                Ok(text.replace(&named, ",\"engine\":\"native\",").into_bytes())
            }
            Err(EvaluateError::Context(error)) => Err(error.code.to_owned()),
            Err(error) => panic!("the module failed: {error}"),
        }
    }

    fn decide(&mut self, context: &[u8], now_ms: i64) -> Result<Vec<u8>, String> {
        let decider = self.decider.as_mut().unwrap();
        let snapshot = std::sync::Arc::clone(decider.snapshot());
        packed(&snapshot, context, now_ms, |request, decision| {
            assert_eq!(decider.decide(request, decision), Decided::Engine);
        })
    }
}

fn packed(
    snapshot: &Snapshot,
    context: &[u8],
    now_ms: i64,
    decide: impl FnOnce(&edge_engine::RequestContext<'_>, &mut Decision),
) -> Result<Vec<u8>, String> {
    let context = JsonContext::parse(context).map_err(|error| error.code.to_owned())?;
    let lists = context.lists(snapshot);
    let values = context.values(snapshot, &lists);
    let request = context.request(&values, now_ms);
    let mut decision = nothing();
    decide(&request, &mut decision);
    let mut out = Vec::new();
    write_decision(snapshot, &request, &decision, "native", &mut out);
    Ok(out)
}

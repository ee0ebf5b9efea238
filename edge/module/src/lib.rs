//! The engine as a WebAssembly module: exports, no logic. `edge-abi` documents the contract.
//!
//! A core instance runs one call at a time, so its state is a plain static. Nothing is freed and
//! nothing leaks: input and output are buffers that are reused.
#![expect(unsafe_code, reason = "exported symbols and the state of a single-threaded guest")]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::cell::UnsafeCell;

use edge_abi::Form;
use edge_engine::{ContextError, Decision, EvaluateOptions, FlagOutcome, JsonContext, Problem, Snapshot};

struct State {
    input: Vec<u8>,
    output: Vec<u8>,
    snapshot: Option<Snapshot>,
    decision: Decision,
    outcomes: Vec<FlagOutcome>,
}

struct Global(UnsafeCell<State>);

// SAFETY: the module is built for wasm32-unknown-unknown without atomics: there is one thread.
unsafe impl Sync for Global {}

static STATE: Global = Global(UnsafeCell::new(State {
    input: Vec::new(),
    output: Vec::new(),
    snapshot: None,
    decision: Decision::new(),
    outcomes: Vec::new(),
}));

fn state() -> &'static mut State {
    // SAFETY: exports are not reentrant (there are no imports to call back through) and each takes
    // this reference once, so it is unique while an export runs.
    unsafe { &mut *STATE.0.get() }
}

/// Version of the contract.
#[unsafe(no_mangle)]
pub extern "C" fn abi_version() -> u32 {
    edge_abi::ABI_VERSION
}

/// The input buffer, at least `len` bytes long.
#[unsafe(no_mangle)]
pub extern "C" fn input(len: usize) -> *mut u8 {
    let buffer = &mut state().input;
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    buffer.as_mut_ptr()
}

/// Loads the snapshot in the input. Answers the problems as a JSON list; empty = loaded.
#[unsafe(no_mangle)]
pub extern "C" fn configure() -> u64 {
    let state = state();
    state.output.clear();
    let loaded = edge_abi::decode_configuration(&state.input)
        .map_err(|error| vec![Problem { pointer: String::new(), code: "abi_malformed", detail: error.to_string() }])
        .and_then(|(json, key)| edge_engine::check(edge_engine::parse(json)?, &key));
    match loaded {
        Ok(snapshot) => {
            state.snapshot = Some(snapshot);
            // The document is no longer needed and can be thousands of times a request's size.
            state.input = Vec::new();
        }
        Err(problems) => write_problems(&problems, &mut state.output),
    }
    region(&state.output)
}

fn write_problems(problems: &[Problem], out: &mut Vec<u8>) {
    let list: serde_json::Value = problems
        .iter()
        .map(|problem| serde_json::json!({"pointer": problem.pointer, "code": problem.code, "detail": problem.detail}))
        .collect();
    out.extend_from_slice(list.to_string().as_bytes());
}

/// Decides the request in the input. Answers an empty region when the input is malformed or nothing
/// is configured: the host falls back.
#[unsafe(no_mangle)]
pub extern "C" fn decide() -> u64 {
    let State { input, output, snapshot, decision, .. } = state();
    output.clear();
    if let Some(snapshot) = snapshot {
        let decided = edge_abi::with_request(input, |context| edge_engine::decide(snapshot, context, decision));
        if decided.is_ok() {
            edge_abi::encode_decision(decision, output);
        }
    }
    region(output)
}

/// Evaluates the JSON context in the input.
#[unsafe(no_mangle)]
pub extern "C" fn evaluate() -> u64 {
    answer(false)
}

/// Evaluates the JSON context in the input, with the trace.
#[unsafe(no_mangle)]
pub extern "C" fn explain() -> u64 {
    answer(true)
}

fn answer(explain: bool) -> u64 {
    let State { input, output, snapshot, outcomes, .. } = state();
    edge_abi::encode_answer(
        |out| {
            let general = |detail: String| ContextError { code: "GENERAL", detail };
            let snapshot = snapshot.as_ref().ok_or_else(|| general("no snapshot is configured".into()))?;
            let message = edge_abi::decode_evaluation(input).map_err(|error| general(error.to_string()))?;
            let context = JsonContext::parse(message.context)?;
            let (now_ms, flags) = (message.now_ms, message.selection());
            match message.form {
                Form::Decision => {
                    let options = EvaluateOptions { engine: message.engine, now_ms, flags, explain };
                    edge_engine::evaluate(snapshot, &context, &options, out);
                }
                Form::Outcomes => {
                    edge_engine::outcomes(snapshot, &context, flags, now_ms, outcomes);
                    edge_abi::encode_outcomes(outcomes, out);
                }
            }
            Ok(())
        },
        output,
    );
    region(output)
}

/// `address << 32 | length`. Addresses of wasm32 fit 32 bits; natively the module is only compiled.
fn region(bytes: &[u8]) -> u64 {
    (bytes.as_ptr() as u64) << 32 | bytes.len() as u64
}

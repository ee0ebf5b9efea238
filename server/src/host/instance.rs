//! One long-lived instance of the edge module. Everything it answers is bounds-checked.

use edge_abi::{
    Answer, EXPORT_ABI_VERSION, EXPORT_CONFIGURE, EXPORT_DECIDE, EXPORT_EVALUATE, EXPORT_EXPLAIN, EXPORT_INPUT,
    EXPORT_MEMORY,
};
use edge_engine::{BucketingKey, ContextError, Decision, FlagOutcome, FlagSelection, RequestContext, Snapshot};
use wasmtime::{InstancePre, Memory, Store, StoreLimits, StoreLimitsBuilder, Trap, TypedFunc};

use super::limits::{CONFIGURE_EPOCHS, DECIDE_EPOCHS, EVALUATE_EPOCHS, MEMORY_BYTES};

/// Bytes of the input buffer that is asked for once: a request with 32 KiB of headers and room to spare.
const INPUT_BYTES: usize = 64 << 10;

/// Why an instance did not answer. The instance must be thrown away.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// It took too long.
    #[error("the module missed its deadline")]
    Deadline,
    /// It trapped, or ran out of memory.
    #[error("the module trapped")]
    Trap(#[source] wasmtime::Error),
    /// It answered something that is not for the snapshot.
    #[error("the module's answer cannot be used")]
    Answer(#[source] edge_abi::DecodeError),
    /// It named memory that it does not have, or answered nothing.
    #[error("the module answered {0}")]
    Region(&'static str),
    /// It refused a snapshot that the native engine accepts.
    #[error("the module refuses the snapshot: {0}")]
    Refused(String),
}

/// What a store holds: the budget.
pub(super) struct Limited(StoreLimits);

/// An instance and its exports.
pub(super) struct Instance {
    store: Store<Limited>,
    memory: Memory,
    abi_version: TypedFunc<(), u32>,
    input: TypedFunc<u32, u32>,
    configure: TypedFunc<(), u64>,
    decide: TypedFunc<(), u64>,
    evaluate: TypedFunc<(), u64>,
    explain: TypedFunc<(), u64>,
    /// The guest's input buffer: address and size.
    buffer: (usize, usize),
    message: Vec<u8>,
}

impl Instance {
    pub(super) fn new(pre: &InstancePre<Limited>) -> Result<Self, HostError> {
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).memories(1).tables(4).instances(1).build();
        let mut store = Store::new(pre.module().engine(), Limited(limits));
        store.limiter(|limited| &mut limited.0);
        store.set_epoch_deadline(CONFIGURE_EPOCHS);
        let instance = pre.instantiate(&mut store).map_err(failure)?;
        let memory = instance.get_memory(&mut store, EXPORT_MEMORY).ok_or(HostError::Region("no memory"))?;
        Ok(Self {
            abi_version: instance.get_typed_func(&mut store, EXPORT_ABI_VERSION).map_err(HostError::Trap)?,
            input: instance.get_typed_func(&mut store, EXPORT_INPUT).map_err(HostError::Trap)?,
            configure: instance.get_typed_func(&mut store, EXPORT_CONFIGURE).map_err(HostError::Trap)?,
            decide: instance.get_typed_func(&mut store, EXPORT_DECIDE).map_err(HostError::Trap)?,
            evaluate: instance.get_typed_func(&mut store, EXPORT_EVALUATE).map_err(HostError::Trap)?,
            explain: instance.get_typed_func(&mut store, EXPORT_EXPLAIN).map_err(HostError::Trap)?,
            store,
            memory,
            buffer: (0, 0),
            message: Vec::new(),
        })
    }

    pub(super) fn abi_version(&mut self) -> Result<u32, HostError> {
        self.store.set_epoch_deadline(DECIDE_EPOCHS);
        self.abi_version.call(&mut self.store, ()).map_err(failure)
    }

    /// Loads a snapshot that the native engine accepted.
    pub(super) fn configure(&mut self, snapshot: &[u8], key: &BucketingKey) -> Result<(), HostError> {
        self.store.set_epoch_deadline(CONFIGURE_EPOCHS);
        self.message.clear();
        edge_abi::encode_configuration(snapshot, key, &mut self.message);
        self.send_message()?;
        let region = self.configure.call(&mut self.store, ()).map_err(failure)?;
        let problems = self.region(region)?;
        if !problems.is_empty() {
            return Err(HostError::Refused(String::from_utf8_lossy(problems).into_owned()));
        }
        // The guest gave its buffer up with the document; requests want a small one.
        self.message = Vec::new();
        self.ask_for(INPUT_BYTES)
    }

    /// Decides a request. On an error `out` is as it was or half new: the caller falls back.
    #[inline]
    pub(super) fn decide(
        &mut self,
        snapshot: &Snapshot,
        context: &RequestContext<'_>,
        out: &mut Decision,
    ) -> Result<(), HostError> {
        self.store.set_epoch_deadline(DECIDE_EPOCHS);
        while !self.send_request(context)? {
            // Larger than any request so far; the guest's memory limit bounds the doubling.
            self.ask_for(self.buffer.1.saturating_mul(2).max(INPUT_BYTES))?;
        }
        let region = self.decide.call(&mut self.store, ()).map_err(failure)?;
        let answer = self.region(region)?;
        if answer.is_empty() {
            return Err(HostError::Region("nothing"));
        }
        edge_abi::decode_decision(answer, snapshot, out).map_err(HostError::Answer)
    }

    /// Evaluates a JSON context; appends the decision.
    pub(super) fn evaluate(
        &mut self,
        context: &[u8],
        flags: FlagSelection<'_>,
        now_ms: i64,
        (engine, explain): (&str, bool),
        out: &mut Vec<u8>,
    ) -> Result<Result<(), ContextError>, HostError> {
        self.store.set_epoch_deadline(CONFIGURE_EPOCHS);
        self.message.clear();
        edge_abi::encode_evaluation(context, flags, now_ms, engine, &mut self.message);
        self.send_message()?;
        let function = if explain { &self.explain } else { &self.evaluate };
        let region = function.call(&mut self.store, ()).map_err(failure)?;
        match edge_abi::decode_answer(self.region(region)?).map_err(HostError::Answer)? {
            Answer::Decision(json) => {
                out.extend_from_slice(json);
                Ok(Ok(()))
            }
            Answer::Refused(code, detail) => Ok(Err(refusal(code, detail))),
        }
    }

    /// Evaluates flags for a JSON context. On an error `out` is half new.
    pub(super) fn outcomes(
        &mut self,
        snapshot: &Snapshot,
        context: &[u8],
        flags: FlagSelection<'_>,
        now_ms: i64,
        out: &mut Vec<FlagOutcome>,
    ) -> Result<Result<(), ContextError>, HostError> {
        self.store.set_epoch_deadline(EVALUATE_EPOCHS);
        self.message.clear();
        edge_abi::encode_outcome_evaluation(context, flags, now_ms, &mut self.message);
        self.send_message()?;
        let region = self.evaluate.call(&mut self.store, ()).map_err(failure)?;
        match edge_abi::decode_answer(self.region(region)?).map_err(HostError::Answer)? {
            Answer::Decision(bytes) => {
                edge_abi::decode_outcomes(bytes, snapshot, flags, out).map_err(HostError::Answer)?;
                Ok(Ok(()))
            }
            Answer::Refused(code, detail) => Ok(Err(refusal(code, detail))),
        }
    }

    /// Whether the request fitted into the buffer.
    #[inline]
    fn send_request(&mut self, context: &RequestContext<'_>) -> Result<bool, HostError> {
        let (at, size) = self.buffer;
        let memory = self.memory.data_mut(&mut self.store);
        let buffer = memory.get_mut(at..at + size).ok_or(HostError::Region("an input buffer outside of its memory"))?;
        Ok(edge_abi::encode_request(context, buffer).is_some())
    }

    fn send_message(&mut self) -> Result<(), HostError> {
        if self.buffer.1 < self.message.len() {
            self.ask_for(self.message.len())?;
        }
        let at = self.buffer.0;
        self.memory
            .data_mut(&mut self.store)
            .get_mut(at..at + self.message.len())
            .ok_or(HostError::Region("an input buffer outside of its memory"))?
            .copy_from_slice(&self.message);
        Ok(())
    }

    fn ask_for(&mut self, len: usize) -> Result<(), HostError> {
        let wanted = u32::try_from(len).map_err(|_| HostError::Region("no buffer of more than 4 GiB"))?;
        let at = self.input.call(&mut self.store, wanted).map_err(failure)?;
        self.buffer = (at as usize, len);
        Ok(())
    }

    /// The bytes that `address << 32 | length` names.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "both halves are 32 bits wide")]
    fn region(&self, region: u64) -> Result<&[u8], HostError> {
        let (at, len) = ((region >> 32) as usize, region as u32 as usize);
        self.memory.data(&self.store).get(at..at + len).ok_or(HostError::Region("a region outside of its memory"))
    }
}

/// The engine's codes are static texts; an unknown one can only come from another module.
fn refusal(code: &str, detail: &str) -> ContextError {
    let code = ["PARSE_ERROR", "INVALID_CONTEXT"].into_iter().find(|known| *known == code).unwrap_or("GENERAL");
    ContextError { code, detail: detail.to_owned() }
}

fn failure(error: wasmtime::Error) -> HostError {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => HostError::Deadline,
        _ => HostError::Trap(error),
    }
}

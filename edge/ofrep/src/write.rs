//! The engine's outcomes as OFREP's JSON, written by hand: a gateway writes hundreds of thousands of flags a second.

use std::fmt::Write as _;

use edge_engine::{ErrorCode, Flag, FlagOutcome, FlagReason, Snapshot};

use crate::events::INACTIVITY_SECONDS;

/// Appends `lead` and the text as a JSON string.
pub(crate) fn put_text(lead: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(lead.as_bytes());
    if text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing to a Vec cannot fail.
        let _ = serde_json::to_writer(out, text);
    }
}

fn put_integer(lead: &str, value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(lead.as_bytes());
    // Writing to a Vec cannot fail.
    let _ = serde_json::to_writer(out, &value);
}

/// Writes the answers of one snapshot.
pub(crate) struct Writer<'s> {
    snapshot: &'s Snapshot,
    /// What every flag's metadata starts with, without the closing brace.
    metadata: String,
}

impl<'s> Writer<'s> {
    pub(crate) fn new(snapshot: &'s Snapshot) -> Self {
        let mut metadata = String::with_capacity(96);
        // Names are safe as they are; writing to a String cannot fail.
        let _ = write!(
            metadata,
            "\"metadata\":{{\"flagSetId\":\"{}/{}\",\"configVersion\":{}",
            snapshot.app(),
            snapshot.environment(),
            snapshot.number()
        );
        Self { snapshot, metadata }
    }

    /// A whole bulk answer.
    pub(crate) fn bulk(&self, outcomes: &[FlagOutcome], stream_uri: Option<&str>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"flags\":[");
        let mut is_first = true;
        for outcome in outcomes {
            let Some(flag) = self.snapshot.flag(outcome.flag) else { continue };
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            self.flag(flag, outcome, out);
        }
        out.extend_from_slice(b"],");
        out.extend_from_slice(self.metadata.as_bytes());
        out.push(b'}');
        if let Some(uri) = stream_uri {
            put_text(",\"eventStreams\":[{\"type\":\"sse\",\"endpoint\":{\"requestUri\":", uri, out);
            put_integer("},\"inactivityDelaySec\":", INACTIVITY_SECONDS, out);
            out.extend_from_slice(b"}]");
        }
        out.push(b'}');
    }

    /// One flag, as the answer to a single evaluation and as an entry of a bulk. Whether it is a success.
    pub(crate) fn flag(&self, flag: &Flag, outcome: &FlagOutcome, out: &mut Vec<u8>) -> bool {
        let key = flag.key().as_str();
        put_text("{\"key\":", key, out);
        let variant = flag.variant(outcome.variant).filter(|_| outcome.reason != FlagReason::Error);
        if let Some(variant) = variant {
            out.extend_from_slice(b",\"value\":");
            out.extend_from_slice(variant.json.as_bytes());
            put_text(",\"variant\":", variant.key.as_str(), out);
            put_text(",\"reason\":", outcome.reason.as_str(), out);
        } else {
            let missing = outcome.error == Some(ErrorCode::TargetingKeyMissing);
            put_text(",\"errorCode\":", if missing { "TARGETING_KEY_MISSING" } else { "GENERAL" }, out);
            put_text(",\"errorDetails\":", if missing { NO_UNIT } else { NOT_EVALUATED }, out);
        }
        self.flag_metadata(flag, outcome, out);
        variant.is_some()
    }

    fn flag_metadata(&self, flag: &Flag, outcome: &FlagOutcome, out: &mut Vec<u8>) {
        out.push(b',');
        out.extend_from_slice(self.metadata.as_bytes());
        if let Some(id) = outcome.rule.and_then(|rule| flag.rule(rule)) {
            put_text(",\"ruleId\":", id.as_str(), out);
        }
        if let Some(bucket) = outcome.bucket {
            put_integer(",\"bucket\":", bucket, out);
        }
        if outcome.error == Some(ErrorCode::PrerequisiteFailed) {
            put_text(",\"errorCode\":", ErrorCode::PrerequisiteFailed.as_str(), out);
        }
        out.extend_from_slice(b"}}");
    }
}

const NO_UNIT: &str = "the flag splits by a unit, and the context has none; send a `targetingKey`";
const NOT_EVALUATED: &str = "the flag could not be evaluated";

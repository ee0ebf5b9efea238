//! OFREP 0.3.0, the OpenFeature Remote Evaluation Protocol: all of it that does not depend on who serves it.
//!
//! Pure: bytes of a request in, bytes of an answer out; no I/O, no clock, no sockets. A host says which flags a token may
//! see, what time it is and how to evaluate; [`respond()`] does the rest, so gateway, control plane and Worker give the same
//! bytes to the same request. The only evaluator is the engine: what is written here are its outcomes.
//!
//! What the answers look like follows from what the released providers accept:
//!
//! - `variant` and `value` are always there, also of a flag that is off; `value` is never null and keeps the spelling of its
//!   number (`1.0` stays `1.0`);
//! - `reason` is one of `STATIC DEFAULT TARGETING_MATCH SPLIT DISABLED`; a flag that failed is a failure with `errorCode`;
//! - every error has `errorCode` and `errorDetails`, and `key` where one was asked for;
//! - `metadata` is flat: texts, numbers and booleans, and nothing of the context.
//!
//! ```
//! use edge_engine::{BucketingKey, check, parse};
//! use edge_ofrep::{Audience, Conditions, Reply, Request, Target, native, respond};
//!
//! let wire = parse(br#"{
//!     "format": "v1", "app": "web", "environment": "production", "number": 7,
//!     "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1",
//!     "traffic": {"active": "blue", "slots": {"blue": "web-1"}, "salt": "s"},
//!     "releases": {"web-1": {"version": "1", "upstreams": [{"url": "http://127.0.0.1:7001"}]}},
//!     "flags": {"new-checkout": {"id": "f1", "type": "boolean", "enabled": true, "offVariant": "off",
//!         "variants": [{"key": "on", "value": true}, {"key": "off", "value": false}],
//!         "fallthrough": {"serve": "on"}}}
//! }"#).expect("well formed");
//! let snapshot = check(wire, &BucketingKey::new([7; 16])).expect("consistent");
//! let target = Target::parse("/ofrep/v1/evaluate/flags/new-checkout").expect("one of OFREP's");
//! let request = Request { target: &target, content_type: None, body: b"", conditions: Conditions::default() };
//! let audience = Audience { snapshot: &snapshot, visible: None, stream_uri: None };
//! let mut reply = Reply::default();
//! respond(&request, &audience, native(&snapshot, 0), &mut reply);
//! assert_eq!(reply.status, 200);
//! assert!(reply.body.starts_with(br#"{"key":"new-checkout","value":true,"variant":"on","reason":"STATIC""#));
//! ```
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod cors;
pub mod events;

mod conditions;
mod credentials;
mod failure;
mod query;
mod request;
mod respond;
mod target;
mod ticket;
mod write;

pub use conditions::{Conditions, ETag};
pub use credentials::{Fingerprint, TOKEN_PREFIX, token};
pub use failure::Failure;
pub use query::parameter;
pub use request::{MAX_BODY_BYTES, context};
pub use respond::{Audience, Reply, Request, native, respond, visible};
pub use target::Target;
pub use ticket::{TICKET_PARAMETER, TICKET_STEP_SECONDS, Tickets};

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests_of_providers;

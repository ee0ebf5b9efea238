//! The decision: which release serves a request, and which variant of every flag it sees.
//!
//! Pure: no I/O, clock, randomness, globals or logging; native and `wasm32` give the same answer
//! to the same bytes. It is the only evaluator in the project: gateway, Worker, console and tests
//! all call it.
//!
//! A snapshot is checked once ([`parse()`], [`check()`]) and then decides for ever: [`decide()`] is
//! total, it neither fails nor panics, whatever the request holds.
//!
//! ```
//! use edge_engine::{BucketingKey, Evaluation, JsonContext, check, parse};
//!
//! let wire = parse(br#"{
//!     "format": "v1", "app": "web", "environment": "production", "number": 1,
//!     "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1",
//!     "unit": ["header:x-user-id"],
//!     "traffic": {"active": "blue", "slots": {"blue": "web-1", "green": "web-2"},
//!                 "candidateWeight": 1000000, "salt": "web-2"},
//!     "releases": {"web-1": {"version": "1", "upstreams": [{"url": "http://127.0.0.1:7001"}]},
//!                  "web-2": {"version": "2", "upstreams": [{"url": "http://127.0.0.1:7002"}]}}
//! }"#).expect("well formed");
//! let snapshot = check(wire, &BucketingKey::new([7; 16])).expect("consistent");
//! let context = JsonContext::parse(br#"{"header": {"x-user-id": "u1"}}"#).expect("a JSON object");
//! let lists = context.lists(&snapshot);
//! let values = context.values(&snapshot, &lists);
//! let route = Evaluation::new(&snapshot, &context.request(&values, 0)).route();
//! assert_eq!(snapshot.release(route.release).id.as_str(), "web-2");
//! ```
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod attribute;
mod bucket;
mod comparison;
mod condition;
mod context;
mod decide;
mod decision;
mod flag;
mod flagd;
mod json;
pub mod limits;
mod names;
mod operator;
mod problem;
mod reweight;
mod sip;
mod snapshot;
mod split;
mod text;
mod time;
mod token;
mod trace;
mod traffic;
mod unit;

pub use attribute::{Attribute, AttributeKind};
pub use bucket::{BUCKETS, Bucketer, BucketingKey, Domain, SIPHASH24_V1};
pub use context::{RequestContext, Value};
pub use decide::{Evaluation, decide, fall_back};
pub use decision::{
    Decision, ErrorCode, FlagIndex, FlagOutcome, FlagReason, ReleaseIndex, Route, RouteReason, RuleIndex, UnitIndex,
    VariantIndex,
};
pub use flag::{Flag, Variant};
pub use flagd::{FLAGD_V2, FLAGD_V3, Flagd, Form};
pub use json::{
    ContextError, EvaluateOptions, FlagSelection, JsonContext, evaluate, evaluate_plainly, outcomes, write_decision,
};
pub use names::{
    AppName, EnvironmentName, FlagKey, InvalidName, KeyId, RegionName, ReleaseId, RuleId, SegmentKey, Slot, VariantKey,
};
pub use operator::OPERATORS;
pub use problem::Problem;
pub use reweight::{Reweighted, reweight, reweight_of};
pub use snapshot::{Release, Snapshot, check, parse, wire};
pub use time::{format_rfc3339, parse_rfc3339};
pub use token::TokenKey;
pub use traffic::Traffic;
pub use unit::UnitSource;

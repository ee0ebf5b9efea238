//! Decisions with their trace, for one context or many: the engine itself, on what is in the store now.

use edge_engine::{EvaluateOptions, FlagSelection, JsonContext, evaluate};
use http::{Method, StatusCode};
use serde_json::{Map, Value};

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, Gives, IfMatch, Operation, Takes, schema_of};
use super::reply::Reply;
use crate::ids;
use crate::principal::Role;
use crate::service::ServiceError;
use admin_api::answers::{EvaluateAnswer, EvaluateRequest};

/// Contexts in one request.
const MAX_CONTEXTS: usize = 1000;

pub(super) const OPERATIONS: &[Operation] = &[Operation {
    id: "evaluate",
    method: Method::POST,
    path: "/api/v1/apps/{app}/environments/{env}/evaluate",
    summary: "Decides for one context or many, with the trace of every step.",
    access: Access::environment(Role::Viewer),
    query: &[],
    body: Takes::Json(schema_of::<EvaluateRequest>),
    answers: &[Answer {
        status: 200,
        help: "A decision for each context, in their order.",
        body: Gives::Json(schema_of::<EvaluateAnswer>),
    }],
    if_match: IfMatch::No,
    handler: |call| Box::pin(decide(call)),
}];

async fn decide(call: Call) -> Result<Reply, Failure> {
    let request: EvaluateRequest = call.typed()?;
    let wrong = |code, detail: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail);
    let contexts: Vec<Map<String, Value>> = match (request.context, request.contexts) {
        (Some(one), None) => vec![one],
        (None, Some(many)) if many.len() <= MAX_CONTEXTS => many,
        (None, Some(_)) => return Err(wrong("out_of_range", format!("at most {MAX_CONTEXTS} contexts"))),
        _ => return Err(wrong("context_form", "exactly one of \"context\" and \"contexts\"".to_owned())),
    };
    let environment = call.param("env");
    let cached = call.shared.control.existing(call.param("app")).await?;
    let built = cached.app.build(environment, &cached.keys).map_err(ServiceError::Faults)?;
    let built = built.ok_or_else(|| ServiceError::not_found("environment", environment))?;
    let snapshot = &built.snapshot;
    let mut indices = Vec::new();
    for key in request.flags.iter().flatten() {
        let index = snapshot.flag_index(key);
        indices.push(index.ok_or_else(|| wrong("flag_unknown", format!("there is no flag \"{key:.128}\"")))?);
    }
    let flags = if request.flags.is_some() { FlagSelection::These(&indices) } else { FlagSelection::All };
    let options =
        EvaluateOptions { engine: "native", now_ms: ids::now_ms(), flags, explain: request.explain.unwrap_or(true) };
    let number = cached.published.get(environment).map_or(0, |last| last.number);
    let mut decisions = Vec::with_capacity(contexts.len());
    for context in contexts {
        let context = JsonContext::from_object(context)
            .map_err(|error| wrong("context_invalid", format!("{}: {}", error.code, error.detail)))?;
        let mut bytes = Vec::new();
        evaluate(snapshot, &context, &options, &mut bytes);
        let mut decision: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        // What is decided by is what the objects say, which is what was last published.
        decision["snapshot"] = number.into();
        decisions.push(decision);
    }
    Ok(Reply::ok(&EvaluateAnswer { decisions }))
}

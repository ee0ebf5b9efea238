//! Every refusal as `application/problem+json`: the one map from what went wrong to a status.

use admin_api::problem::{self, Fault as ApiFault, Problem};
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use crate::model::At;
use crate::model::fault::{Fault, Unfit};
use crate::model::rollback::RollbackError;
use crate::service::ServiceError;
use crate::store::StoreError;

/// An answer that says why not. Boxed, because it is the error of nearly everything here.
#[derive(Debug)]
pub struct Failure(Box<Refusal>);

#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    detail: String,
    hint: Option<String>,
    errors: Vec<ApiFault>,
    current: Option<Value>,
    revision: Option<i64>,
    retry_after: Option<u64>,
    allow: Option<String>,
}

impl Failure {
    /// A refusal.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Refusal {
            status,
            code,
            detail: detail.into(),
            hint: None,
            errors: Vec::new(),
            current: None,
            revision: None,
            retry_after: None,
            allow: None,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Refusal)) -> Self {
        change(&mut self.0);
        self
    }

    /// Nobody, or nobody known.
    pub fn unauthenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", "a valid token is needed")
            .hint("send Authorization: Bearer bsc_…")
    }

    /// A body with one mistake.
    pub fn unfit(pointer: &str, code: &'static str, detail: impl Into<String>) -> Self {
        Self::at(StatusCode::UNPROCESSABLE_ENTITY, pointer, code, detail)
    }

    /// A refusal for what stands at this place of the body.
    pub fn at(status: StatusCode, pointer: &str, code: &'static str, detail: impl Into<String>) -> Self {
        let (pointer, detail) = (pointer.to_owned(), detail.into());
        let fault = ApiFault { pointer, code: code.to_owned(), detail: detail.clone(), place: None, hint: None };
        Self::new(status, code, detail).with(|refusal| refusal.errors.push(fault))
    }

    /// Not this one.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// Too much at once; come back after so many seconds.
    pub fn later(status: StatusCode, code: &'static str, detail: &str, seconds: u64) -> Self {
        Self::new(status, code, detail).with(|refusal| refusal.retry_after = Some(seconds))
    }

    /// The store holds what nobody could have written; asking again changes nothing about it.
    fn corrupt(detail: &str) -> Self {
        tracing::error!(detail, "the store holds something that cannot be read");
        let detail = "the store holds something that cannot be read";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
            .hint("the log says what; `bascule db` and a backup are the way out")
    }

    /// Another revision than the caller has seen.
    pub fn stale(expected: &str, actual: i64, current: Option<Value>) -> Self {
        let detail = match actual {
            0 => format!("the object does not exist, and If-Match says {expected}"),
            _ => format!("the object has revision {actual}, not {expected}"),
        };
        let failure = Self::new(StatusCode::PRECONDITION_FAILED, "revision_stale", detail).with(|refusal| {
            refusal.current = current;
            refusal.revision = (actual != 0).then_some(actual);
        });
        failure.hint("read the object again, look at what changed, and repeat the change")
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What is wrong.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        self.with(|refusal| refusal.hint = Some(hint.into()))
    }

    /// Which methods there are.
    #[must_use]
    pub fn allow(self, methods: String) -> Self {
        self.with(|refusal| refusal.allow = Some(methods))
    }

    /// A body that is not of its type.
    pub fn of_serde(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let inner = error.inner();
        if !inner.is_data() {
            return Self::new(StatusCode::BAD_REQUEST, "body_invalid", format!("the body is not JSON: {inner}"));
        }
        let Unfit { pointer, code, detail } = Unfit::of(error);
        let fault = ApiFault { pointer, code: code.to_owned(), detail: detail.clone(), place: None, hint: None };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "body_unfit", detail).with(|refusal| refusal.errors.push(fault))
    }

    /// Mistakes in a change, seen from the object that the request's body is.
    pub fn of_faults(faults: Vec<Fault>, body: Option<&At>) -> Self {
        let errors: Vec<ApiFault> = faults.into_iter().map(|fault| shown(fault, body)).collect();
        let detail = match errors.as_slice() {
            [] => "the change is not sound".to_owned(),
            [only] => only.detail.clone(),
            [first, rest @ ..] => format!("{} (and {} more)", first.detail, rest.len()),
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "change_invalid", detail).with(|refusal| refusal.errors = errors)
    }

    /// Mistakes in a `bascule.yaml`.
    pub fn of_findings(findings: Vec<edge_manifest::Finding>) -> Self {
        let errors: Vec<ApiFault> = findings
            .into_iter()
            .map(|finding| ApiFault {
                pointer: String::new(),
                code: finding.code.to_owned(),
                detail: finding.detail,
                place: Some(format!("{}:{}", finding.line, finding.column)),
                hint: finding.suggestion,
            })
            .collect();
        let detail = errors.first().map_or_else(String::new, |first| first.detail.clone());
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "manifest_invalid", detail).with(|refusal| refusal.errors = errors)
    }

    /// Where the errors of a change point, when the body is one of the app's objects.
    pub fn of_service(error: ServiceError, body: Option<&At>) -> Self {
        match error {
            ServiceError::Faults(faults) => Self::of_faults(faults, body),
            other => other.into(),
        }
    }

    /// As a problem.
    pub fn into_response(self, request_id: &str) -> Response<Body> {
        let refusal = *self.0;
        let problem = Problem {
            r#type: format!("https://bascule.dev/problems/{}", refusal.code),
            title: refusal.status.canonical_reason().unwrap_or_default().to_owned(),
            status: refusal.status.as_u16(),
            detail: refusal.detail,
            instance: request_id.to_owned(),
            code: refusal.code.to_owned(),
            hint: refusal.hint,
            errors: refusal.errors,
            current: refusal.current,
        };
        let mut response = Response::new(Body::from(serde_json::to_vec(&problem).unwrap_or_default()));
        *response.status_mut() = refusal.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::MEDIA_TYPE));
        if refusal.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bascule\""));
        }
        if let Some(seconds) = refusal.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        for (name, text) in
            [(header::ETAG, refusal.revision.map(|revision| format!("\"{revision}\""))), (header::ALLOW, refusal.allow)]
        {
            if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// A fault in another object than the body is about the body as a whole, and says where it is.
fn shown(fault: Fault, body: Option<&At>) -> ApiFault {
    let (pointer, detail) = match body {
        Some(at) if *at == fault.at => (fault.pointer, fault.detail),
        Some(_) => (String::new(), format!("{}{}: {}", fault.at, fault.pointer, fault.detail)),
        None => (format!("/{}{}", fault.at, fault.pointer), fault.detail),
    };
    ApiFault { pointer, code: fault.code.to_owned(), detail, place: None, hint: fault.hint }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let detail = error.to_string();
        match error {
            ServiceError::Store(error) => error.into(),
            ServiceError::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            ServiceError::Exists { .. } => Self::new(StatusCode::CONFLICT, "exists", detail),
            ServiceError::Stale { expected, actual, current } => Self::stale(&expected, actual, current),
            ServiceError::Faults(faults) => Self::of_faults(faults, None),
            ServiceError::Refused { code, detail, hint } => {
                Self::new(StatusCode::CONFLICT, code, detail).with(|refusal| refusal.hint = hint)
            }
            ServiceError::Forbidden { .. } => Self::forbidden(detail),
            ServiceError::Rollback(error) => match error {
                RollbackError::NothingServes => Self::new(StatusCode::CONFLICT, "nothing_serves", detail),
                RollbackError::NoTarget { .. } => Self::new(StatusCode::CONFLICT, "no_rollback_target", detail)
                    .hint("name a registered release with \"to\""),
                RollbackError::NotFrom { .. } => Self::new(StatusCode::PRECONDITION_FAILED, "release_mismatch", detail)
                    .hint("look at the traffic again: something else is being rolled out by now"),
                RollbackError::Same { .. } => Self::new(StatusCode::CONFLICT, "rollback_to_itself", detail),
                RollbackError::Unknown { .. } => Self::unfit("/to", "release_unknown", detail),
            },
            ServiceError::Corrupt { detail } => Self::corrupt(&detail),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Conflict(_) => {
                return Self::new(StatusCode::CONFLICT, "conflict", "somebody else changed the same at this moment");
            }
            StoreError::Corrupt { .. } => return Self::corrupt(&error.to_string()),
            _ => {}
        }
        tracing::error!(error = &error as &dyn std::error::Error, "the store refused");
        Self::later(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "the store cannot be used now", 1)
    }
}

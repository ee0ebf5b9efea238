//! The `OpenAPI` 3.1 document, made from the table of operations.

use std::sync::LazyLock;

use admin_api::answers::Outcome;
use admin_api::problem::{self, Problem};
use http::Method;
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::idempotency;
use super::operation::{Access, Answer, Gives, IfMatch, Operation, Query, QueryKind, SchemaOf, Takes, all};

static DOCUMENT: LazyLock<Value> = LazyLock::new(make);

/// The document.
pub fn document() -> &'static Value {
    &DOCUMENT
}

fn make() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut schemas = settings.into_generator();
    schemas.subschema_for::<Problem>();
    let mut paths: Map<String, Value> = Map::new();
    for operation in all() {
        let entry = describe(operation, &mut schemas);
        let methods = paths.entry(operation.path.replace("{*", "{")).or_insert_with(|| json!({}));
        methods[operation.method.as_str().to_ascii_lowercase()] = entry;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bascule",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Flags per environment, releases and traffic, snapshots for edges, rollback with proof.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "A token, `bsc_…`."}},
        },
    })
}

fn describe(operation: &Operation, schemas: &mut SchemaGenerator) -> Value {
    let mut parameters: Vec<Value> = path_parameters(operation.path);
    parameters.extend(operation.query.iter().map(query));
    if operation.if_match != IfMatch::No {
        let is_required = operation.if_match == IfMatch::Required;
        let help = "The `ETag` of the revision that was seen. Required for objects that exist.";
        parameters.push(json!({"name": "If-Match", "in": "header", "required": is_required, "description": help,
            "schema": {"type": "string", "pattern": "^(\\*|\"[0-9]{1,18}\")$"}}));
    }
    if idempotency::counts_for(operation) {
        let help = "Under the same key the same request is done once and answered again, for 24 hours.";
        parameters.push(json!({"name": "Idempotency-Key", "in": "header", "required": false, "description": help,
            "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"}}));
    }
    let mut entry = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": responses(operation, schemas),
    });
    if let Some((body, is_required)) = body(operation.body, schemas) {
        entry["requestBody"] = json!({"required": is_required, "content": body});
    }
    entry["security"] = match operation.access {
        // OFREP looks at its token itself, because it refuses in its own words; a ticket is in the query.
        Access::Public if speaks_ofrep(operation) && operation.method == Method::POST => json!([{"token": []}]),
        Access::Public => json!([]),
        Access::Token(needs) => {
            entry["x-bascule-role"] = json!(needs.role.as_str());
            json!([{"token": []}])
        }
    };
    entry
}

fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name);
    let parameter = |name: &str| {
        let label = json!({"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"});
        let key = json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:+-]{0,127}$"});
        let schema = match name {
            "app" | "env" => label,
            "number" | "other" => json!({"type": "integer", "minimum": 1, "maximum": i64::MAX}),
            _ => key,
        };
        json!({"name": name.trim_start_matches('*'), "in": "path", "required": true, "schema": schema})
    };
    names.map(parameter).collect()
}

fn query(query: &Query) -> Value {
    let schema = match query.kind {
        QueryKind::Text => json!({"type": "string", "maxLength": 512}),
        QueryKind::Flag => json!({"type": "boolean"}),
        QueryKind::Number(from, to) => json!({"type": "integer", "minimum": from, "maximum": to}),
    };
    json!({"name": query.name, "in": "query", "required": false, "description": query.help, "schema": schema})
}

fn body(takes: Takes, schemas: &mut SchemaGenerator) -> Option<(Value, bool)> {
    let json_of =
        |schema: SchemaOf, schemas: &mut SchemaGenerator| json!({"application/json": {"schema": schema(schemas)}});
    match takes {
        Takes::Nothing => None,
        Takes::Json(schema) => Some((json_of(schema, schemas), true)),
        Takes::OptionalJson(schema) => Some((json_of(schema, schemas), false)),
        Takes::Ofrep => Some((json!({"application/json": {"schema": {"type": "object"}}}), false)),
        Takes::Manifest => {
            let schema = json!({"type": "object", "description": "A bascule.yaml.",
                "required": ["app", "environments"],
                "properties": {"environments": {"type": "object"}}});
            Some((
                json!({"application/yaml": {"schema": {"type": "string"}}, "application/json": {"schema": schema}}),
                true,
            ))
        }
    }
}

fn responses(operation: &Operation, schemas: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let has_dry_run = operation.query.iter().any(|query| query.name == "dryRun");
    for Answer { status, help, body } in operation.answers {
        let mut response = json!({"description": help});
        match body {
            Gives::Nothing => {}
            Gives::Json(schema) => {
                let own = schema(schemas);
                let outcome = schemas.subschema_for::<Outcome>();
                let schema = if has_dry_run && *status == 200 { json!({"anyOf": [own, outcome]}) } else { json!(own) };
                response["content"] = json!({"application/json": {"schema": schema}});
            }
            Gives::Events => response["content"] = json!({"text/event-stream": {"schema": {"type": "string"}}}),
            Gives::Other(media_type) => response["content"] = json!({*media_type: {"schema": {}}}),
        }
        responses.insert(status.to_string(), response);
    }
    let content = if speaks_ofrep(operation) {
        json!({"application/json": {"schema": ofrep_failure()}})
    } else {
        json!({problem::MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}})
    };
    for (status, help) in problems(operation) {
        responses.entry(status.to_string()).or_insert_with(|| json!({"description": help, "content": content}));
    }
    Value::Object(responses)
}

fn speaks_ofrep(operation: &Operation) -> bool {
    operation.path.starts_with("/ofrep/")
}

/// How OFREP says what is wrong.
fn ofrep_failure() -> Value {
    let text = || json!({"type": "string"});
    json!({"type": "object", "properties": {"key": text(), "errorCode": text(), "errorDetails": text()}})
}

/// The refusals that an operation can come to, which follow from what it is.
fn problems(operation: &Operation) -> Vec<(u16, &'static str)> {
    let mut problems = vec![
        (400, "The request cannot be read: its path, query, headers or body."),
        (414, "The path and its query are too long."),
        (503, "Too much is under way, or the store does not answer; see Retry-After."),
    ];
    if operation.access != Access::Public {
        problems.push((401, "No token, or one that does not count."));
        problems.push((403, "The token lacks the role."));
        problems.push((429, "The token asked too often; see Retry-After."));
    }
    if operation.path.contains('{') {
        problems.push((404, "There is no such thing."));
    }
    if !matches!(operation.body, Takes::Nothing) {
        problems.push((408, "The body came too slowly."));
        problems.push((413, "The body is too large."));
        problems.push((415, "The body is of another media type."));
        problems.push((422, "The request has mistakes; each one has a pointer and a code."));
    }
    if operation.method != Method::GET {
        problems.push((409, "It does not fit to what there is."));
        problems.push((412, "The object, or what is rolled out, is not what the caller has seen."));
        problems.push((422, "The change has mistakes; each one has a pointer and a code."));
    }
    if operation.if_match != IfMatch::No {
        problems.push((428, "If-Match is missing."));
    }
    problems
}

//! The table of all operations: path, who may, what it takes and answers.

use std::future::Future;
use std::pin::Pin;

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::call::Call;
use super::error::Failure;
use super::reply::Reply;
use crate::principal::{Needs, Reach, Role};

/// Does an operation.
pub type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;
/// Describes a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// Describes a type of ours.
pub fn schema_of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<T>()
}

/// One thing that can be asked for.
#[derive(Debug)]
pub struct Operation {
    /// Unique name: `operationId`, audit, metrics.
    pub id: &'static str,
    /// The method.
    pub method: Method,
    /// The path with its parameters in braces.
    pub path: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Who may.
    pub access: Access,
    /// Query parameters; all others are refused.
    pub query: &'static [Query],
    /// What it takes.
    pub body: Takes,
    /// What it answers when it was done.
    pub answers: &'static [Answer],
    /// Whether it changes one object of which the caller must have seen the newest revision.
    pub if_match: IfMatch,
    /// What does it.
    pub handler: Handler,
}

/// Who may do an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Whoever has this.
    Token(Needs),
}

impl Access {
    /// A role in some scope.
    pub const fn anywhere(role: Role) -> Self {
        Self::Token(Needs { role, reach: Reach::Anywhere })
    }

    /// A role in some environment of the app.
    pub const fn some_of_app(role: Role) -> Self {
        Self::Token(Needs { role, reach: Reach::SomeOfApp })
    }

    /// A role in all environments of the app.
    pub const fn all_of_app(role: Role) -> Self {
        Self::Token(Needs { role, reach: Reach::AllOfApp })
    }

    /// A role in the environment.
    pub const fn environment(role: Role) -> Self {
        Self::Token(Needs { role, reach: Reach::Environment })
    }

    /// A role everywhere.
    pub const fn everything(role: Role) -> Self {
        Self::Token(Needs { role, reach: Reach::Everything })
    }
}

/// A query parameter.
#[derive(Debug, Clone, Copy)]
pub struct Query {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: QueryKind,
    /// One sentence.
    pub help: &'static str,
}

/// What the value of a query parameter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryKind {
    /// A text of at most 512 bytes.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number in this range.
    Number(u32, u32),
}

/// Only say what would happen.
pub const DRY_RUN: Query =
    Query { name: "dryRun", kind: QueryKind::Flag, help: "Only say what would change; nothing is written." };
/// Why.
pub const REASON: Query = Query { name: "reason", kind: QueryKind::Text, help: "Why, for the audit." };
/// Where the part of a list begins.
pub const CURSOR: Query =
    Query { name: "cursor", kind: QueryKind::Text, help: "`nextCursor` of the part before; absent for the first." };
/// How many items.
pub const LIMIT: Query =
    Query { name: "limit", kind: QueryKind::Number(1, 200), help: "Items in this part; by default 50." };

/// What an operation takes as its body.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// A JSON document.
    Json(SchemaOf),
    /// A JSON document, or nothing.
    OptionalJson(SchemaOf),
    /// A `bascule.yaml`, or the same as JSON.
    Manifest,
    /// An OFREP context, whose type and form OFREP judges itself.
    Ofrep,
}

impl Takes {
    /// Bytes that it may have.
    pub fn limit(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Json(_) | Self::OptionalJson(_) => 1 << 20,
            Self::Manifest => 32 << 20,
            Self::Ofrep => edge_ofrep::MAX_BODY_BYTES,
        }
    }
}

/// What an operation answers.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// When.
    pub help: &'static str,
    /// The body.
    pub body: Gives,
}

/// The body of an answer.
#[derive(Debug, Clone, Copy)]
pub enum Gives {
    /// None.
    Nothing,
    /// JSON.
    Json(SchemaOf),
    /// Server-sent events.
    Events,
    /// Another media type.
    Other(&'static str),
}

/// Whether a request says which revision it was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    /// It does not.
    No,
    /// It must: 428 without.
    Required,
    /// It must if the object exists; `If-None-Match: *`, or nothing, for a new one.
    ForExisting,
}

/// Every operation there is.
pub fn all() -> impl Iterator<Item = &'static Operation> {
    let tables: [&'static [Operation]; 24] = [
        super::apps::OPERATIONS,
        super::environments::OPERATIONS,
        super::flags::OPERATIONS,
        super::targeting::OPERATIONS,
        super::segments::OPERATIONS,
        super::releases::OPERATIONS,
        super::traffic::OPERATIONS,
        super::rollback::OPERATIONS,
        super::rollouts::OPERATIONS,
        super::signals::OPERATIONS,
        super::notifications::OPERATIONS,
        super::calibration::OPERATIONS,
        super::templates::OPERATIONS,
        super::panic::OPERATIONS,
        super::snapshots::OPERATIONS,
        super::evaluate::OPERATIONS,
        super::apply::OPERATIONS,
        super::edges::OPERATIONS,
        super::audit::OPERATIONS,
        super::events::OPERATIONS,
        super::tokens::OPERATIONS,
        super::ofrep::OPERATIONS,
        super::edges::PROTOCOL,
        super::ops::OPERATIONS,
    ];
    tables.into_iter().flatten()
}

//! Tokens.

use http::{Method, StatusCode};

use super::call::Call;
use super::error::Failure;
use super::operation::{Access, Answer, CURSOR, Gives, IfMatch, LIMIT, Operation, Takes, schema_of};
use super::reply::Reply;
use crate::principal::Role;
use admin_api::access::{MintedToken, NewToken, Token};
use admin_api::objects::Page;

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listTokens",
        method: Method::GET,
        path: "/api/v1/tokens",
        summary: "Lists all tokens, without their text.",
        access: Access::everything(Role::Admin),
        query: &[CURSOR, LIMIT],
        body: Takes::Nothing,
        answers: &[Answer { status: 200, help: "A part of the list.", body: Gives::Json(schema_of::<Page<Token>>) }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(list(call)),
    },
    Operation {
        id: "createToken",
        method: Method::POST,
        path: "/api/v1/tokens",
        summary: "Makes a token. Its text is in this answer and nowhere else.",
        access: Access::anywhere(Role::Admin),
        query: &[],
        body: Takes::Json(schema_of::<NewToken>),
        answers: &[Answer {
            status: 201,
            help: "The token with its text.",
            body: Gives::Json(schema_of::<MintedToken>),
        }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(create(call)),
    },
    Operation {
        id: "revokeToken",
        method: Method::DELETE,
        path: "/api/v1/tokens/{token}",
        summary: "Revokes a token, at once.",
        access: Access::everything(Role::Admin),
        query: &[],
        body: Takes::Nothing,
        answers: &[Answer { status: 204, help: "It no longer counts.", body: Gives::Nothing }],
        if_match: IfMatch::No,
        handler: |call| Box::pin(revoke(call)),
    },
];

async fn list(call: Call) -> Result<Reply, Failure> {
    let limit = call.limit();
    let mut items = call.shared.control.token_page(&call.cursor()?, limit + 1).await?;
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next_cursor = items.last().filter(|_| more).map(|last| Call::cursor_after(&last.id));
    Ok(Reply::ok(&Page { items, next_cursor }))
}

async fn create(call: Call) -> Result<Reply, Failure> {
    let new: NewToken = call.typed()?;
    let minted = call.shared.control.mint(&call.actor(), &new).await;
    let minted = minted.map_err(|error| Failure::of_service(error, Some(&crate::model::At::app())))?;
    let path = format!("/api/v1/tokens/{}", minted.token.id);
    Ok(Reply::json(StatusCode::CREATED, &minted).header(http::header::LOCATION, &path))
}

async fn revoke(call: Call) -> Result<Reply, Failure> {
    call.shared.control.revoke(&call.actor(), call.param("token")).await?;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

//! An evaluation from request to reply, whoever evaluates.

use edge_engine::{FlagIndex, FlagOutcome, FlagSelection, JsonContext, Snapshot};

use crate::conditions::{Conditions, ETag};
use crate::failure::Failure;
use crate::request::{context, is_json};
use crate::target::Target;
use crate::write::Writer;

/// A POST to one of the evaluation paths.
#[derive(Debug)]
pub struct Request<'r> {
    /// What it is for.
    pub target: &'r Target<'r>,
    /// Its `Content-Type`.
    pub content_type: Option<&'r [u8]>,
    /// Its body, at most [`crate::MAX_BODY_BYTES`].
    pub body: &'r [u8],
    /// What its client has already; counts for bulk evaluations.
    pub conditions: Conditions<'r>,
}

/// For whom flags are evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Audience<'s> {
    /// The environment of the token.
    pub snapshot: &'s Snapshot,
    /// The flags that the token may see, by [`visible()`]; `None` = all.
    pub visible: Option<&'s [FlagIndex]>,
    /// Where its stream of changes is, by [`crate::Tickets::stream_uri`].
    pub stream_uri: Option<&'s str>,
}

/// The flags that a client token may see. Hidden ones are evaluated where others depend on them; their keys and values
/// are told to nobody.
pub fn visible(snapshot: &Snapshot) -> Vec<FlagIndex> {
    let flags = (0..).zip(snapshot.flags());
    flags.filter(|(_, flag)| flag.client_visible()).map(|(index, _)| FlagIndex(index)).collect()
}

/// What to answer; kept and reused by whoever answers often. The body of everything but a 304 is JSON.
#[derive(Debug, Default)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The `ETag` of a bulk answer, also of a 304.
    pub etag: Option<ETag>,
    /// The body.
    pub body: Vec<u8>,
    outcomes: Vec<FlagOutcome>,
}

impl Reply {
    /// Makes it a failure.
    pub fn fail(&mut self, failure: &Failure, key: Option<&str>) {
        self.status = failure.status;
        self.etag = None;
        self.body.clear();
        failure.write(key, &mut self.body);
    }
}

/// Evaluates natively: what [`respond()`] takes where the engine is not a module.
pub fn native(
    snapshot: &Snapshot,
    now_ms: i64,
) -> impl FnOnce(&[u8], FlagSelection<'_>, &mut Vec<FlagOutcome>) -> Result<(), Failure> {
    move |context, flags, outcomes| {
        let context = JsonContext::parse(context)?;
        edge_engine::outcomes(snapshot, &context, flags, now_ms, outcomes);
        Ok(())
    }
}

/// Answers an evaluation. `evaluate` is asked at most once, with a JSON object as context, and overwrites the outcomes
/// with those of the flags in the order of [`FlagSelection::indices`].
pub fn respond(
    request: &Request<'_>,
    audience: &Audience<'_>,
    evaluate: impl FnOnce(&[u8], FlagSelection<'_>, &mut Vec<FlagOutcome>) -> Result<(), Failure>,
    reply: &mut Reply,
) {
    reply.status = 200;
    reply.etag = None;
    reply.body.clear();
    let answered = match request.target {
        Target::Bulk => bulk(request, audience, evaluate, reply),
        Target::Single(key) => single(key, request, audience, evaluate, reply),
        Target::Events => Err(Failure::METHOD),
    };
    if let Err(failure) = answered {
        reply.fail(&failure, request.target.key());
    }
}

fn bulk(
    request: &Request<'_>,
    audience: &Audience<'_>,
    evaluate: impl FnOnce(&[u8], FlagSelection<'_>, &mut Vec<FlagOutcome>) -> Result<(), Failure>,
    reply: &mut Reply,
) -> Result<(), Failure> {
    let context = readable(request)?;
    let selection = audience.visible.map_or(FlagSelection::All, FlagSelection::These);
    evaluate(context, selection, &mut reply.outcomes)?;
    Writer::new(audience.snapshot).bulk(&reply.outcomes, audience.stream_uri, &mut reply.body);
    let etag = ETag::of(&reply.body);
    if request.conditions.hold(&etag, audience.snapshot) {
        reply.status = 304;
        reply.body.clear();
    }
    reply.etag = Some(etag);
    Ok(())
}

fn single(
    key: &str,
    request: &Request<'_>,
    audience: &Audience<'_>,
    evaluate: impl FnOnce(&[u8], FlagSelection<'_>, &mut Vec<FlagOutcome>) -> Result<(), Failure>,
    reply: &mut Reply,
) -> Result<(), Failure> {
    let context = readable(request)?;
    let snapshot = audience.snapshot;
    let index = snapshot.flag_index(key);
    // Indices are in order: flags are sorted by key, and the list was made by walking them.
    let index = index.filter(|index| {
        audience.visible.is_none_or(|visible| visible.binary_search_by_key(&index.0, |visible| visible.0).is_ok())
    });
    let index = index.ok_or_else(|| Failure::not_found(key))?;
    evaluate(context, FlagSelection::These(&[index]), &mut reply.outcomes)?;
    let (flag, outcome) = snapshot.flag(index).zip(reply.outcomes.first()).ok_or(Failure::INTERNAL)?;
    if !Writer::new(snapshot).flag(flag, outcome, &mut reply.body) {
        reply.status = 400;
    }
    Ok(())
}

fn readable<'r>(request: &Request<'r>) -> Result<&'r [u8], Failure> {
    if request.body.len() > crate::MAX_BODY_BYTES {
        return Err(Failure::TOO_LARGE);
    }
    if !request.body.is_empty() && !is_json(request.content_type) {
        return Err(Failure::MEDIA_TYPE);
    }
    context(request.body)
}

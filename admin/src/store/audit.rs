//! The audit's hash chain.
//!
//! The hash of an entry is the SHA-256 of the hash before it and every field of the entry, each with its length in
//! front, so that no two entries are the same bytes; `docs/audit.md` says it for those who verify an export. Changing,
//! taking out or reordering entries breaks the chain; cutting off its end does not fit the head, which is kept apart, nor
//! a head that somebody wrote down elsewhere.

use sha2::{Digest as _, Sha256};

use super::StoreError;
use super::reads::Reads;
use super::rows::NewAudit;
use crate::ids;

/// Entries that are read at once.
const PAGE: u32 = 500;
/// The hash before the first entry.
const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Which entries are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this app.
    pub app: Option<String>,
    /// Of this environment.
    pub environment: Option<String>,
    /// By this token.
    pub actor: Option<String>,
    /// This operation.
    pub operation: Option<String>,
    /// Subjects that begin with this.
    pub subject: Option<String>,
    /// Of this request.
    pub request_id: Option<String>,
}

/// What a walk along the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditVerdict {
    /// How many entries there are.
    pub entries: i64,
    /// The hash of the last.
    pub head: String,
    /// The first that is not what it was.
    pub broken: Option<Broken>,
}

/// An entry that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its place.
    pub sequence: i64,
    /// What is wrong.
    pub why: String,
}

/// The hash of an entry.
pub(super) fn hash(sequence: i64, previous: &str, entry: &NewAudit) -> String {
    let NewAudit { at, actor, actor_name, app, environment, operation, subject, reason, request_id, changes } = entry;
    let mut digest = Sha256::new();
    let (sequence, at) = (sequence.to_string(), at.to_string());
    let fields = [
        "bascule-audit-v1",
        previous,
        &sequence,
        &at,
        actor,
        actor_name,
        app,
        environment,
        operation,
        subject,
        reason,
        request_id,
        changes,
    ];
    for field in fields {
        digest.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(field);
    }
    ids::hex(&digest.finalize())
}

pub(super) async fn verify<T: Reads>(tx: &mut T, known: Option<(i64, &str)>) -> Result<AuditVerdict, StoreError> {
    let (head_sequence, head_hash) = tx.audit_head().await?;
    let (mut last, mut previous) = (0, START.to_owned());
    let mut broken = None;
    while broken.is_none() {
        let page = tx.audit_after(last, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for row in page {
            let why = if row.sequence != last + 1 {
                Some(format!("entry {} follows entry {last}", row.sequence))
            } else if row.previous != previous {
                Some("it does not follow the entry before it".to_owned())
            } else if hash(row.sequence, &row.previous, &row.entry) != row.hash {
                Some("its content is not what was written".to_owned())
            } else if known.is_some_and(|(sequence, hash)| sequence == row.sequence && hash != row.hash) {
                Some("its hash is not the one that is known from elsewhere".to_owned())
            } else {
                None
            };
            if let Some(why) = why {
                let sequence = if row.sequence == last + 1 { row.sequence } else { last + 1 };
                broken = Some(Broken { sequence, why });
                break;
            }
            (last, previous) = (row.sequence, row.hash);
        }
    }
    if broken.is_none() {
        broken = cut_off(last, &previous, (head_sequence, &head_hash), known);
    }
    Ok(AuditVerdict { entries: last, head: previous, broken })
}

fn cut_off(last: i64, hash: &str, head: (i64, &str), known: Option<(i64, &str)>) -> Option<Broken> {
    let longest = known.map_or(0, |(sequence, _)| sequence).max(head.0);
    if longest > last {
        return Some(Broken { sequence: last + 1, why: format!("entries up to {longest} were cut off") });
    }
    (head != (last, hash)).then(|| Broken { sequence: last, why: "it is not the head that was noted".to_owned() })
}

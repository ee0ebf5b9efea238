//! The audit: a chain of entries in which each hash covers the one before (docs/audit.md).
//!
//! Invariant: the hash covers every field, and the lengths of the fields, so no two different entries have the same bytes.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::connection::{Row, Value, values};
use super::error::StoreError;
use super::read::View;
use super::rows::{Audit, NewAudit};
use super::{AuditVerdict, WriteTx, verify};

/// What the first entry follows.
pub(super) const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Of which entries one wants to know; all conditions have to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// The app concerned.
    pub app: Option<String>,
    /// The environment concerned.
    pub environment: Option<String>,
    /// The token that did it.
    pub actor: Option<String>,
    /// What was done.
    pub operation: Option<String>,
    /// How the subject begins.
    pub subject: Option<String>,
    /// The request that did it.
    pub request_id: Option<String>,
}

impl View {
    /// Entries before this one, newest first.
    pub async fn audit(
        &mut self,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Audit>, StoreError> {
        // Behind every text that begins with the prefix, as texts are ordered by their bytes.
        let end = filter.subject.as_ref().map(|prefix| format!("{prefix}\u{10ffff}"));
        let conditions = [
            ("app =", &filter.app),
            ("environment =", &filter.environment),
            ("actor =", &filter.actor),
            ("operation =", &filter.operation),
            ("request_id =", &filter.request_id),
            ("subject >=", &filter.subject),
            ("subject <", &end),
        ];
        // No sequence reaches the largest.
        let mut values = vec![Value::from(before.unwrap_or(i64::MAX)), Value::from(limit)];
        let mut sql =
            "SELECT sequence, at, actor, actor_name, app, environment, operation, subject, reason, request_id, \
            changes, previous, hash FROM audit WHERE sequence < $1"
                .to_owned();
        for (condition, value) in conditions {
            if let Some(value) = value {
                values.push(value.into());
                // Writing to a String cannot fail.
                let _ = write!(sql, " AND {condition} ${}", values.len());
            }
        }
        sql.push_str(" ORDER BY sequence DESC LIMIT $2");
        self.session.rows(sqlx::AssertSqlSafe(sql), &values).await?.iter_mut().map(audit).collect()
    }

    /// Entries after this one, oldest first.
    pub async fn audit_after(&mut self, sequence: i64, limit: u32) -> Result<Vec<Audit>, StoreError> {
        const SQL: &str = "SELECT sequence, at, actor, actor_name, app, environment, operation, subject, reason, \
            request_id, changes, previous, hash FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2";
        self.session.rows(SQL, values![sequence, limit]).await?.iter_mut().map(audit).collect()
    }

    /// Walks the whole chain, up to the head that the store keeps and, if one is given, past a head that was noted
    /// elsewhere.
    pub async fn verify_audit(&mut self, expected_head: Option<(i64, &str)>) -> Result<AuditVerdict, StoreError> {
        verify::verify(self, expected_head).await
    }

    /// The end of the chain as the store keeps it.
    pub(super) async fn audit_head(&mut self) -> Result<Option<(i64, String)>, StoreError> {
        let row = self.session.row("SELECT sequence, hash FROM audit_head", &[]).await?;
        row.map(|mut row| Ok((row.integer()?, row.text()?))).transpose()
    }
}

impl WriteTx {
    /// Adds an entry to the end of the chain.
    pub async fn append_audit(&mut self, entry: NewAudit) -> Result<Audit, StoreError> {
        const SQL: &str = "INSERT INTO audit (sequence, at, actor, actor_name, app, environment, operation, subject, \
            reason, request_id, changes, previous, hash) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
        const HEAD: &str = "UPDATE audit_head SET sequence = $1, hash = $2";
        let gone = || StoreError::corrupt("the audit", "its head is gone");
        let (last, previous) = self.0.audit_head().await?.ok_or_else(gone)?;
        let sequence = last + 1;
        let hash = hash(&previous, sequence, &entry);
        let values = values![
            sequence,
            entry.at,
            &entry.actor,
            &entry.actor_name,
            &entry.app,
            &entry.environment,
            &entry.operation,
            &entry.subject,
            &entry.reason,
            &entry.request_id,
            &entry.changes,
            &previous,
            &hash
        ];
        self.run(SQL, values).await?;
        self.run(HEAD, values![sequence, &hash]).await?;
        Ok(Audit { sequence, entry, previous, hash })
    }
}

fn audit(row: &mut Row) -> Result<Audit, StoreError> {
    Ok(Audit {
        sequence: row.integer()?,
        entry: NewAudit {
            at: row.integer()?,
            actor: row.text()?,
            actor_name: row.text()?,
            app: row.text()?,
            environment: row.text()?,
            operation: row.text()?,
            subject: row.text()?,
            reason: row.text()?,
            request_id: row.text()?,
            changes: row.text()?,
        },
        previous: row.text()?,
        hash: row.text()?,
    })
}

/// The hash of an entry, lower-case hexadecimal.
pub(super) fn hash(previous: &str, sequence: i64, entry: &NewAudit) -> String {
    let (sequence, at) = (sequence.to_string(), entry.at.to_string());
    let fields = [
        "bascule-audit-1",
        previous,
        &sequence,
        &at,
        &entry.actor,
        &entry.actor_name,
        &entry.app,
        &entry.environment,
        &entry.operation,
        &entry.subject,
        &entry.reason,
        &entry.request_id,
        &entry.changes,
    ];
    let mut hash = Sha256::new();
    for field in fields {
        hash.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(field.as_bytes());
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> NewAudit {
        NewAudit {
            at: 1_700_000_000_123,
            actor: "tok_1".into(),
            actor_name: "Zoë".into(),
            app: "web".into(),
            environment: "production".into(),
            operation: "updateTargeting".into(),
            subject: "flags/new-checkout".into(),
            reason: String::new(),
            request_id: "req-1".into(),
            changes: r#"{"before":null}"#.into(),
        }
    }

    #[test]
    fn the_hash_is_the_one_of_the_document() {
        // Computed by the Python of docs/audit.md.
        assert_eq!(hash(BEGINNING, 1, &entry()), "351b9d6f7d1a2a75555a10dfd1550f0e2e3e7f7bc222a2f0a7bc1496dfb8d20b");
    }

    #[test]
    fn text_that_moves_from_one_field_to_the_next_changes_the_hash() {
        let moved = NewAudit { actor: "tok_1Z".into(), actor_name: "oë".into(), ..entry() };
        assert_ne!(hash(BEGINNING, 1, &entry()), hash(BEGINNING, 1, &moved));
        assert_ne!(hash(BEGINNING, 1, &entry()), hash(BEGINNING, 2, &entry()));
    }
}

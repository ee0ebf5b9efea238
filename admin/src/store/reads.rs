//! What can be read, in a transaction that reads or in one that writes.

use std::future::Future;

use sqlx::any::AnyRow;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, Row as _, any::AnyArguments};

use super::audit::{self, AuditFilter, AuditVerdict};
use super::rows::{
    Audit, EnvironmentKey, Kind, NewAudit, Object, ObjectId, Publication, PublicationHead, Remembered, Token, Usage,
};
use super::{ReadTx, StoreError, WriteTx};

type Answer<T> = Result<T, StoreError>;

/// Has a connection.
pub(super) trait Connected {
    fn connection(&mut self) -> &mut AnyConnection;
}

mod sealed {
    /// Only the two transactions of a store.
    pub trait Sealed {}
    impl Sealed for super::ReadTx {}
    impl Sealed for super::WriteTx {}
}

/// Reading.
#[expect(private_bounds, reason = "only the transactions of this module have connections")]
pub trait Reads: sealed::Sealed + Connected + Send + Sized {
    /// One object.
    fn object(&mut self, id: &ObjectId) -> impl Future<Output = Answer<Option<Object>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT app, kind, environment, key, revision, document, created_at, updated_at FROM object \
                 WHERE app = $1 AND kind = $2 AND environment = $3 AND key = $4",
            );
            let query = query.bind(&id.app).bind(id.kind.as_str()).bind(&id.environment).bind(&id.key);
            one(self, query, object).await
        }
    }

    /// All objects of an app.
    fn objects(&mut self, app: &str) -> impl Future<Output = Answer<Vec<Object>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT app, kind, environment, key, revision, document, created_at, updated_at FROM object \
                 WHERE app = $1 ORDER BY kind, environment, key",
            );
            all(self, query.bind(app), object).await
        }
    }

    /// Objects of a kind after a key. With an empty app: the apps themselves, after a name.
    fn objects_of(
        &mut self,
        app: &str,
        kind: Kind,
        environment: &str,
        after: &str,
        limit: u32,
    ) -> impl Future<Output = Answer<Vec<Object>>> + Send {
        async move {
            if app.is_empty() {
                let query = sqlx::query(
                    "SELECT app, kind, environment, key, revision, document, created_at, updated_at FROM object \
                     WHERE kind = 'app' AND app > $1 ORDER BY app LIMIT $2",
                );
                return all(self, query.bind(after).bind(i64::from(limit)), object).await;
            }
            let query = sqlx::query(
                "SELECT app, kind, environment, key, revision, document, created_at, updated_at FROM object \
                 WHERE app = $1 AND kind = $2 AND environment = $3 AND key > $4 ORDER BY key LIMIT $5",
            );
            let query = query.bind(app).bind(kind.as_str()).bind(environment).bind(after).bind(i64::from(limit));
            all(self, query, object).await
        }
    }

    /// The last revision that changed anything of an app; 0 when there was none.
    fn app_revision(&mut self, app: &str) -> impl Future<Output = Answer<i64>> + Send {
        async move {
            let query = sqlx::query("SELECT revision FROM app_revision WHERE app = $1").bind(app);
            Ok(one(self, query, |row| row.try_get(0)).await?.unwrap_or(0))
        }
    }

    /// A snapshot by its number.
    fn snapshot(
        &mut self,
        app: &str,
        environment: &str,
        number: i64,
    ) -> impl Future<Output = Answer<Option<Publication>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT sequence, app, environment, number, created_at, document, sha256, previous, key_id, signature, \
                 audit FROM publication WHERE app = $1 AND environment = $2 AND number = $3",
            );
            one(self, query.bind(app).bind(environment).bind(number), publication).await
        }
    }

    /// The newest publication of an environment, a withdrawal included.
    fn latest_snapshot(
        &mut self,
        app: &str,
        environment: &str,
    ) -> impl Future<Output = Answer<Option<Publication>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT sequence, app, environment, number, created_at, document, sha256, previous, key_id, signature, \
                 audit FROM publication WHERE app = $1 AND environment = $2 ORDER BY number DESC LIMIT 1",
            );
            one(self, query.bind(app).bind(environment), publication).await
        }
    }

    /// The snapshots of an environment, the newest first.
    fn snapshots(
        &mut self,
        app: &str,
        environment: &str,
        before: Option<i64>,
        limit: u32,
    ) -> impl Future<Output = Answer<Vec<PublicationHead>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT sequence, number, created_at, sha256, key_id, length(document) AS bytes, audit FROM publication \
                 WHERE app = $1 AND environment = $2 AND number < $3 AND document IS NOT NULL \
                 ORDER BY number DESC LIMIT $4",
            );
            let query = query.bind(app).bind(environment).bind(before.unwrap_or(i64::MAX)).bind(i64::from(limit));
            all(self, query, |row| {
                Ok(PublicationHead {
                    sequence: row.try_get("sequence")?,
                    number: row.try_get("number")?,
                    created_at: row.try_get("created_at")?,
                    sha256: row.try_get("sha256")?,
                    key_id: row.try_get("key_id")?,
                    bytes: row.try_get("bytes")?,
                    audit: row.try_get("audit")?,
                })
            })
            .await
        }
    }

    /// For each environment its newest publication, where that came after a sequence; in order.
    fn publications_after(
        &mut self,
        sequence: i64,
        limit: u32,
    ) -> impl Future<Output = Answer<Vec<Publication>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT p.sequence, p.app, p.environment, p.number, p.created_at, p.document, p.sha256, p.previous, \
                 p.key_id, p.signature, p.audit FROM publication p WHERE p.sequence > $1 AND NOT EXISTS \
                 (SELECT 1 FROM publication n WHERE n.app = p.app AND n.environment = p.environment AND n.number > p.number) \
                 ORDER BY p.sequence LIMIT $2",
            );
            all(self, query.bind(sequence).bind(i64::from(limit)), publication).await
        }
    }

    /// The sequence of the last publication.
    fn last_sequence(&mut self) -> impl Future<Output = Answer<i64>> + Send {
        async move {
            let query = sqlx::query("SELECT value FROM counter WHERE name = 'publication'");
            Ok(one(self, query, |row| row.try_get(0)).await?.unwrap_or(0))
        }
    }

    /// The secret of an environment.
    fn environment_key(
        &mut self,
        app: &str,
        environment: &str,
    ) -> impl Future<Output = Answer<Option<EnvironmentKey>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT app, environment, id, key FROM environment_key WHERE app = $1 AND environment = $2",
            );
            one(self, query.bind(app).bind(environment), |row| {
                Ok(EnvironmentKey {
                    app: row.try_get(0)?,
                    environment: row.try_get(1)?,
                    id: row.try_get(2)?,
                    key: row.try_get(3)?,
                })
            })
            .await
        }
    }

    /// Audit entries that fit, the newest first.
    fn audit(
        &mut self,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u32,
    ) -> impl Future<Output = Answer<Vec<Audit>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT sequence, at, actor, actor_name, app, environment, operation, subject, reason, request_id, \
                 changes, previous, hash FROM audit WHERE sequence < $1 AND ($2 = '' OR app = $2) \
                 AND ($3 = '' OR environment = $3) AND ($4 = '' OR actor = $4) AND ($5 = '' OR operation = $5) \
                 AND ($6 = '' OR substr(subject, 1, length($6)) = $6) AND ($7 = '' OR request_id = $7) \
                 ORDER BY sequence DESC LIMIT $8",
            );
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let query = query.bind(before.unwrap_or(i64::MAX)).bind(text(&filter.app)).bind(text(&filter.environment));
            let query = query.bind(text(&filter.actor)).bind(text(&filter.operation)).bind(text(&filter.subject));
            all(self, query.bind(text(&filter.request_id)).bind(i64::from(limit)), entry).await
        }
    }

    /// Audit entries after a sequence, the oldest first.
    fn audit_after(&mut self, sequence: i64, limit: u32) -> impl Future<Output = Answer<Vec<Audit>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT sequence, at, actor, actor_name, app, environment, operation, subject, reason, request_id, \
                 changes, previous, hash FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2",
            );
            all(self, query.bind(sequence).bind(i64::from(limit)), entry).await
        }
    }

    /// The last entry that the chain is known to have, and its hash.
    fn audit_head(&mut self) -> impl Future<Output = Answer<(i64, String)>> + Send {
        async move {
            let query = sqlx::query("SELECT sequence, hash FROM audit_head WHERE one = 1");
            let head = one(self, query, |row| Ok((row.try_get(0)?, row.try_get(1)?))).await?;
            head.ok_or_else(|| StoreError::Corrupt { what: "audit", detail: "its head is missing".to_owned() })
        }
    }

    /// Walks the whole chain. `known` is an entry of which the hash is known from elsewhere.
    fn verify_audit(&mut self, known: Option<(i64, &str)>) -> impl Future<Output = Answer<AuditVerdict>> + Send {
        audit::verify(self, known)
    }

    /// The token with this digest.
    fn token_by_sha256(&mut self, sha256: &str) -> impl Future<Output = Answer<Option<Token>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT id, sha256, name, scopes, created_at, created_by, expires_at, revoked_at, last_used_at \
                 FROM token WHERE sha256 = $1",
            );
            one(self, query.bind(sha256), token).await
        }
    }

    /// The token with this id.
    fn token(&mut self, id: &str) -> impl Future<Output = Answer<Option<Token>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT id, sha256, name, scopes, created_at, created_by, expires_at, revoked_at, last_used_at \
                 FROM token WHERE id = $1",
            );
            one(self, query.bind(id), token).await
        }
    }

    /// Tokens after an id, in order.
    fn tokens(&mut self, after: &str, limit: u32) -> impl Future<Output = Answer<Vec<Token>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT id, sha256, name, scopes, created_at, created_by, expires_at, revoked_at, last_used_at \
                 FROM token WHERE id > $1 ORDER BY id LIMIT $2",
            );
            all(self, query.bind(after).bind(i64::from(limit)), token).await
        }
    }

    /// The answer that was given under a key.
    fn remembered(&mut self, token: &str, key: &str) -> impl Future<Output = Answer<Option<Remembered>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT token, key, request, status, headers, body, created_at FROM remembered \
                 WHERE token = $1 AND key = $2",
            );
            one(self, query.bind(token).bind(key), |row| {
                Ok(Remembered {
                    token: row.try_get(0)?,
                    key: row.try_get(1)?,
                    request: row.try_get(2)?,
                    status: row.try_get(3)?,
                    headers: row.try_get(4)?,
                    body: row.try_get(5)?,
                    created_at: row.try_get(6)?,
                })
            })
            .await
        }
    }

    /// The counters of an environment.
    fn usage(&mut self, app: &str, environment: &str) -> impl Future<Output = Answer<Vec<Usage>>> + Send {
        async move {
            let query = sqlx::query(
                "SELECT kind, key, variant, count, last_at FROM usage_count WHERE app = $1 AND environment = $2 \
                 ORDER BY kind, key, variant",
            );
            all(self, query.bind(app).bind(environment), |row| {
                Ok(Usage {
                    kind: row.try_get(0)?,
                    key: row.try_get(1)?,
                    variant: row.try_get(2)?,
                    count: row.try_get(3)?,
                    last_at: row.try_get(4)?,
                })
            })
            .await
        }
    }
}

impl Reads for ReadTx {}
impl Reads for WriteTx {}

type Statement<'q> = Query<'q, Any, AnyArguments>;

async fn one<T>(
    tx: &mut impl Connected,
    query: Statement<'_>,
    read: impl Fn(&AnyRow) -> Result<T, sqlx::Error>,
) -> Answer<Option<T>> {
    let row = query.fetch_optional(tx.connection()).await?;
    Ok(row.as_ref().map(read).transpose()?)
}

async fn all<T>(
    tx: &mut impl Connected,
    query: Statement<'_>,
    read: impl Fn(&AnyRow) -> Result<T, sqlx::Error>,
) -> Answer<Vec<T>> {
    let rows = query.fetch_all(tx.connection()).await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

fn object(row: &AnyRow) -> Result<Object, sqlx::Error> {
    let kind: String = row.try_get(1)?;
    let known = Kind::ALL.into_iter().find(|known| known.as_str() == kind);
    let kind = known.ok_or_else(|| sqlx::Error::Decode(format!("{kind:?} is no kind of object").into()))?;
    let id = ObjectId { app: row.try_get(0)?, kind, environment: row.try_get(2)?, key: row.try_get(3)? };
    Ok(Object {
        id,
        revision: row.try_get(4)?,
        document: row.try_get(5)?,
        created_at: row.try_get(6)?,
        updated_at: row.try_get(7)?,
    })
}

fn publication(row: &AnyRow) -> Result<Publication, sqlx::Error> {
    Ok(Publication {
        sequence: row.try_get(0)?,
        app: row.try_get(1)?,
        environment: row.try_get(2)?,
        number: row.try_get(3)?,
        created_at: row.try_get(4)?,
        document: row.try_get(5)?,
        sha256: row.try_get(6)?,
        previous: row.try_get(7)?,
        key_id: row.try_get(8)?,
        signature: row.try_get(9)?,
        audit: row.try_get(10)?,
    })
}

fn entry(row: &AnyRow) -> Result<Audit, sqlx::Error> {
    let new = NewAudit {
        at: row.try_get(1)?,
        actor: row.try_get(2)?,
        actor_name: row.try_get(3)?,
        app: row.try_get(4)?,
        environment: row.try_get(5)?,
        operation: row.try_get(6)?,
        subject: row.try_get(7)?,
        reason: row.try_get(8)?,
        request_id: row.try_get(9)?,
        changes: row.try_get(10)?,
    };
    Ok(Audit { sequence: row.try_get(0)?, entry: new, previous: row.try_get(11)?, hash: row.try_get(12)? })
}

fn token(row: &AnyRow) -> Result<Token, sqlx::Error> {
    Ok(Token {
        id: row.try_get(0)?,
        sha256: row.try_get(1)?,
        name: row.try_get(2)?,
        scopes: row.try_get(3)?,
        created_at: row.try_get(4)?,
        created_by: row.try_get(5)?,
        expires_at: row.try_get(6)?,
        revoked_at: row.try_get(7)?,
        last_used_at: row.try_get(8)?,
    })
}

//! What can be read, by a reader and within a write transaction alike.

use sqlx::SqlSafeStr;

use super::connection::{Row, Value, values};
use super::error::StoreError;
use super::rows::{
    EnvironmentKey, Kind, Object, ObjectId, Publication, PublicationHead, Remembered, RosterRow, Token, Usage,
};
use super::session::Session;

/// One consistent state of the store.
pub struct View {
    pub(super) session: Session,
}

impl View {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    pub(super) async fn all<T>(
        &mut self,
        sql: impl SqlSafeStr,
        values: &[Value<'_>],
        read: impl Fn(&mut Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.session.rows(sql, values).await?.iter_mut().map(read).collect()
    }

    pub(super) async fn maybe<T>(
        &mut self,
        sql: impl SqlSafeStr,
        values: &[Value<'_>],
        read: impl Fn(&mut Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.session.row(sql, values).await?.as_mut().map(read).transpose()
    }

    /// An object.
    pub async fn object(&mut self, id: &ObjectId) -> Result<Option<Object>, StoreError> {
        const SQL: &str = "SELECT app, kind, environment, key, revision, created_at, updated_at, document FROM objects \
            WHERE app = $1 AND kind = $2 AND environment = $3 AND key = $4";
        let values = values![&id.app, id.kind.as_str(), &id.environment, &id.key];
        self.maybe(SQL, values, object).await
    }

    /// All objects of an app, ordered by id.
    pub async fn objects(&mut self, app: &str) -> Result<Vec<Object>, StoreError> {
        const SQL: &str = "SELECT app, kind, environment, key, revision, created_at, updated_at, document FROM objects \
            WHERE app = $1";
        let mut objects = self.all(SQL, values![app], object).await?;
        // Kinds have an order that their names do not have.
        objects.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        Ok(objects)
    }

    /// Objects of one kind with a key after this one, ordered by key.
    ///
    /// Without an app: the object of each app after the one named `after`, ordered by the app's name.
    pub async fn objects_of(
        &mut self,
        app: &str,
        kind: Kind,
        environment: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Object>, StoreError> {
        const SQL: &str = "SELECT app, kind, environment, key, revision, created_at, updated_at, document FROM objects \
            WHERE app = $1 AND kind = $2 AND environment = $3 AND key > $4 ORDER BY key LIMIT $5";
        const APPS: &str = "SELECT app, kind, environment, key, revision, created_at, updated_at, document FROM objects \
            WHERE kind = 'app' AND app > $1 ORDER BY app LIMIT $2";
        if app.is_empty() && kind == Kind::App {
            return self.all(APPS, values![after, limit], object).await;
        }
        self.all(SQL, values![app, kind.as_str(), environment, after, limit], object).await
    }

    /// The last revision that changed anything of an app, deletions included; 0 when there is none.
    pub async fn app_revision(&mut self, app: &str) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT revision FROM app_revisions WHERE app = $1";
        Ok(self.maybe(SQL, values![app], Row::integer).await?.unwrap_or_default())
    }

    /// The snapshot with this number. A withdrawal is answered only if no snapshot has its number.
    pub async fn snapshot(
        &mut self,
        app: &str,
        environment: &str,
        number: i64,
    ) -> Result<Option<Publication>, StoreError> {
        const SQL: &str = "SELECT sequence, app, environment, number, created_at, document, sha256, previous, key_id, \
            signature, audit FROM publications WHERE app = $1 AND environment = $2 AND number = $3 \
            ORDER BY document IS NULL, sequence DESC LIMIT 1";
        self.maybe(SQL, values![app, environment, number], publication).await
    }

    /// The newest publication of an environment, a withdrawal included.
    pub async fn latest_snapshot(&mut self, app: &str, environment: &str) -> Result<Option<Publication>, StoreError> {
        const SQL: &str = "SELECT p.sequence, p.app, p.environment, p.number, p.created_at, p.document, p.sha256, \
            p.previous, p.key_id, p.signature, p.audit FROM latest_publications AS l \
            JOIN publications AS p ON p.sequence = l.sequence WHERE l.app = $1 AND l.environment = $2";
        self.maybe(SQL, values![app, environment], publication).await
    }

    /// Publications of an environment with a number below this one, newest first.
    pub async fn snapshots(
        &mut self,
        app: &str,
        environment: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<PublicationHead>, StoreError> {
        const SQL: &str = "SELECT sequence, number, created_at, sha256, key_id, bytes, audit FROM publications \
            WHERE app = $1 AND environment = $2 AND number < $3 ORDER BY number DESC, sequence DESC LIMIT $4";
        // No number reaches the largest.
        let values = values![app, environment, before.unwrap_or(i64::MAX), limit];
        self.all(SQL, values, publication_head).await
    }

    /// Of each environment its newest publication, if that is after this sequence; ordered by sequence.
    pub async fn publications_after(&mut self, sequence: i64, limit: u32) -> Result<Vec<Publication>, StoreError> {
        const SQL: &str = "SELECT p.sequence, p.app, p.environment, p.number, p.created_at, p.document, p.sha256, \
            p.previous, p.key_id, p.signature, p.audit FROM latest_publications AS l \
            JOIN publications AS p ON p.sequence = l.sequence WHERE l.sequence > $1 ORDER BY l.sequence LIMIT $2";
        self.all(SQL, values![sequence, limit], publication).await
    }

    /// The sequence of the newest publication of all; 0 when there is none.
    pub async fn last_sequence(&mut self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT value FROM counters WHERE name = 'sequence'";
        self.session.one(SQL, &[]).await?.integer()
    }

    /// The key of an environment.
    pub async fn environment_key(
        &mut self,
        app: &str,
        environment: &str,
    ) -> Result<Option<EnvironmentKey>, StoreError> {
        const SQL: &str = "SELECT app, environment, id, key FROM environment_keys WHERE app = $1 AND environment = $2";
        self.maybe(SQL, values![app, environment], environment_key).await
    }

    /// The keys of all environments, ordered by app and environment.
    pub async fn environment_keys(&mut self) -> Result<Vec<EnvironmentKey>, StoreError> {
        const SQL: &str = "SELECT app, environment, id, key FROM environment_keys ORDER BY app, environment";
        self.all(SQL, &[], environment_key).await
    }

    /// The token whose text has this SHA-256.
    pub async fn token_by_sha256(&mut self, sha256: &str) -> Result<Option<Token>, StoreError> {
        const SQL: &str = "SELECT id, sha256, name, scopes, created_at, created_by, expires_at, revoked_at, \
            last_used_at FROM tokens WHERE sha256 = $1";
        self.maybe(SQL, values![sha256], token).await
    }

    /// The token with this id.
    pub async fn token(&mut self, id: &str) -> Result<Option<Token>, StoreError> {
        const SQL: &str = "SELECT id, sha256, name, scopes, created_at, created_by, expires_at, revoked_at, \
            last_used_at FROM tokens WHERE id = $1";
        self.maybe(SQL, values![id], token).await
    }

    /// Tokens with an id after this one, ordered by id.
    pub async fn tokens(&mut self, after: &str, limit: u32) -> Result<Vec<Token>, StoreError> {
        const SQL: &str = "SELECT id, sha256, name, scopes, created_at, created_by, expires_at, revoked_at, \
            last_used_at FROM tokens WHERE id > $1 ORDER BY id LIMIT $2";
        self.all(SQL, values![after, limit], token).await
    }

    /// The answer that was given to this `Idempotency-Key`.
    pub async fn remembered(&mut self, token: &str, key: &str) -> Result<Option<Remembered>, StoreError> {
        const SQL: &str = "SELECT token, key, request, status, headers, body, created_at FROM remembered \
            WHERE token = $1 AND key = $2";
        self.maybe(SQL, values![token, key], remembered).await
    }

    /// The rosters of all processes, ordered by process.
    pub async fn rosters(&mut self) -> Result<Vec<RosterRow>, StoreError> {
        self.all("SELECT process, beat, document FROM rosters ORDER BY process", &[], roster).await
    }

    /// The counters of an environment, ordered by kind, key and variant.
    pub async fn usage(&mut self, app: &str, environment: &str) -> Result<Vec<Usage>, StoreError> {
        const SQL: &str = "SELECT kind, key, variant, count, last_at FROM usage_counters \
            WHERE app = $1 AND environment = $2 ORDER BY kind, key, variant";
        self.all(SQL, values![app, environment], usage).await
    }
}

fn object(row: &mut Row) -> Result<Object, StoreError> {
    Ok(Object {
        id: ObjectId { app: row.text()?, kind: kind(&row.text()?)?, environment: row.text()?, key: row.text()? },
        revision: row.integer()?,
        created_at: row.integer()?,
        updated_at: row.integer()?,
        document: row.text()?,
    })
}

fn kind(name: &str) -> Result<Kind, StoreError> {
    Kind::from_name(name).ok_or_else(|| StoreError::corrupt("an object", format!("there is no kind {name:?}")))
}

fn publication(row: &mut Row) -> Result<Publication, StoreError> {
    Ok(Publication {
        sequence: row.integer()?,
        app: row.text()?,
        environment: row.text()?,
        number: row.integer()?,
        created_at: row.integer()?,
        document: row.maybe_text()?,
        sha256: row.text()?,
        previous: row.text()?,
        key_id: row.text()?,
        signature: row.text()?,
        audit: row.integer()?,
    })
}

fn publication_head(row: &mut Row) -> Result<PublicationHead, StoreError> {
    Ok(PublicationHead {
        sequence: row.integer()?,
        number: row.integer()?,
        created_at: row.integer()?,
        sha256: row.text()?,
        key_id: row.text()?,
        bytes: row.integer()?,
        audit: row.integer()?,
    })
}

fn environment_key(row: &mut Row) -> Result<EnvironmentKey, StoreError> {
    Ok(EnvironmentKey { app: row.text()?, environment: row.text()?, id: row.text()?, key: row.text()? })
}

fn token(row: &mut Row) -> Result<Token, StoreError> {
    Ok(Token {
        id: row.text()?,
        sha256: row.text()?,
        name: row.text()?,
        scopes: row.text()?,
        created_at: row.integer()?,
        created_by: row.text()?,
        expires_at: row.maybe_integer()?,
        revoked_at: row.maybe_integer()?,
        last_used_at: row.maybe_integer()?,
    })
}

fn remembered(row: &mut Row) -> Result<Remembered, StoreError> {
    Ok(Remembered {
        token: row.text()?,
        key: row.text()?,
        request: row.text()?,
        status: row.integer()?,
        headers: row.text()?,
        body: row.text()?,
        created_at: row.integer()?,
    })
}

fn roster(row: &mut Row) -> Result<RosterRow, StoreError> {
    Ok(RosterRow { process: row.text()?, beat: row.integer()?, document: row.text()? })
}

fn usage(row: &mut Row) -> Result<Usage, StoreError> {
    Ok(Usage {
        kind: row.text()?,
        key: row.text()?,
        variant: row.text()?,
        count: row.integer()?,
        last_at: row.integer()?,
    })
}

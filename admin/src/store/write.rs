//! What can be written, in the one write transaction.

use super::WriteTx;
use super::connection::{Value, values};
use super::error::StoreError;
use super::rows::{EnvironmentKey, Object, ObjectId, Publication, Remembered, RosterRow, Token};

impl WriteTx {
    /// Makes everything durable. When this returns it survives the loss of power.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.0.session.commit().await
    }

    pub(super) async fn run(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        self.0.session.execute(sql, values).await
    }

    /// Raises the global revision by one; within this transaction, like everything else.
    pub async fn next_revision(&mut self) -> Result<i64, StoreError> {
        const SQL: &str = "UPDATE counters SET value = value + 1 WHERE name = 'revision' RETURNING value";
        self.0.session.one(SQL, &[]).await?.integer()
    }

    /// Makes or replaces an object; the app is then at the object's revision.
    pub async fn put_object(&mut self, object: &Object) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO objects \
            (app, kind, environment, key, revision, created_at, updated_at, document) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
            ON CONFLICT (app, kind, environment, key) DO UPDATE SET revision = excluded.revision, \
            created_at = excluded.created_at, updated_at = excluded.updated_at, document = excluded.document";
        let Object { id, revision, document, created_at, updated_at } = object;
        let values =
            values![&id.app, id.kind.as_str(), &id.environment, &id.key, *revision, *created_at, *updated_at, document];
        self.run(SQL, values).await?;
        self.set_app_revision(&id.app, *revision).await
    }

    /// Deletes an object, if it is there; the app is then at this revision.
    pub async fn delete_object(&mut self, id: &ObjectId, revision: i64) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM objects WHERE app = $1 AND kind = $2 AND environment = $3 AND key = $4";
        self.run(SQL, values![&id.app, id.kind.as_str(), &id.environment, &id.key]).await?;
        self.set_app_revision(&id.app, revision).await
    }

    async fn set_app_revision(&mut self, app: &str, revision: i64) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO app_revisions (app, revision) VALUES ($1, $2) \
            ON CONFLICT (app) DO UPDATE SET revision = excluded.revision \
            WHERE app_revisions.revision < excluded.revision";
        self.run(SQL, values![app, revision]).await.map(drop)
    }

    /// Publishes a snapshot or a withdrawal, and answers it with the sequence that it was given.
    pub async fn publish(&mut self, publication: Publication) -> Result<Publication, StoreError> {
        const NEXT: &str = "UPDATE counters SET value = value + 1 WHERE name = 'sequence' RETURNING value";
        const SQL: &str = "INSERT INTO publications (sequence, app, environment, number, created_at, sha256, previous, \
            key_id, signature, audit, bytes, document) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        const LATEST: &str = "INSERT INTO latest_publications (app, environment, sequence) VALUES ($1, $2, $3) \
            ON CONFLICT (app, environment) DO UPDATE SET sequence = excluded.sequence";
        let sequence = self.0.session.one(NEXT, &[]).await?.integer()?;
        let given = Publication { sequence, ..publication };
        let bytes = given.document.as_ref().map_or(0, String::len);
        let values = values![
            sequence,
            &given.app,
            &given.environment,
            given.number,
            given.created_at,
            &given.sha256,
            &given.previous,
            &given.key_id,
            &given.signature,
            given.audit,
            i64::try_from(bytes).unwrap_or(i64::MAX),
            &given.document
        ];
        self.run(SQL, values).await?;
        self.run(LATEST, values![&given.app, &given.environment, sequence]).await?;
        Ok(given)
    }

    /// Sets the key of an environment.
    pub async fn put_environment_key(&mut self, key: &EnvironmentKey) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO environment_keys (app, environment, id, key) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (app, environment) DO UPDATE SET id = excluded.id, key = excluded.key";
        self.run(SQL, values![&key.app, &key.environment, &key.id, &key.key]).await.map(drop)
    }

    /// Deletes the key of an environment, if there is one.
    pub async fn delete_environment_key(&mut self, app: &str, environment: &str) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM environment_keys WHERE app = $1 AND environment = $2";
        self.run(SQL, values![app, environment]).await.map(drop)
    }

    /// Adds a token. Its id and its hash must be new.
    pub async fn insert_token(&mut self, token: &Token) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO tokens (id, sha256, name, scopes, created_at, created_by, expires_at, \
            revoked_at, last_used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let values = values![
            &token.id,
            &token.sha256,
            &token.name,
            &token.scopes,
            token.created_at,
            &token.created_by,
            token.expires_at,
            token.revoked_at,
            token.last_used_at
        ];
        self.run(SQL, values).await.map(drop)
    }

    /// Revokes a token, if it is there and was not revoked earlier.
    pub async fn revoke_token(&mut self, id: &str, at: i64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
        self.run(SQL, values![id, at]).await.map(drop)
    }

    /// Notes when tokens were last used. An earlier time changes nothing.
    pub async fn touch_tokens(&mut self, uses: &[(String, i64)]) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE tokens SET last_used_at = $2 \
            WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
        for (id, at) in uses {
            self.run(SQL, values![id, *at]).await?;
        }
        Ok(())
    }

    /// Remembers an answer, instead of an older one under the same key.
    pub async fn remember(&mut self, answer: &Remembered) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO remembered (token, key, request, status, headers, created_at, body) \
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (token, key) DO UPDATE SET request = excluded.request, \
            status = excluded.status, headers = excluded.headers, created_at = excluded.created_at, \
            body = excluded.body";
        let values = values![
            &answer.token,
            &answer.key,
            &answer.request,
            answer.status,
            &answer.headers,
            answer.created_at,
            &answer.body
        ];
        self.run(SQL, values).await.map(drop)
    }

    /// Forgets the answers that were given before this time.
    pub async fn forget_remembered(&mut self, before: i64) -> Result<(), StoreError> {
        self.run("DELETE FROM remembered WHERE created_at < $1", values![before]).await.map(drop)
    }

    /// Makes or replaces the roster of a process.
    pub async fn put_roster(&mut self, roster: &RosterRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO rosters (process, beat, document) VALUES ($1, $2, $3) \
            ON CONFLICT (process) DO UPDATE SET beat = excluded.beat, document = excluded.document";
        self.run(SQL, values![&roster.process, roster.beat, &roster.document]).await.map(drop)
    }

    /// Forgets the roster of a process, if it is there.
    pub async fn delete_roster(&mut self, process: &str) -> Result<(), StoreError> {
        self.run("DELETE FROM rosters WHERE process = $1", values![process]).await.map(drop)
    }

    /// Whether a report is to be counted: false when it, or a later one of the same boot, already was.
    pub async fn accept_report(&mut self, edge: &str, boot: &str, sequence: i64, at: i64) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO edge_reports (edge, boot, sequence, at) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (edge, boot) DO UPDATE SET sequence = excluded.sequence, at = excluded.at \
            WHERE edge_reports.sequence < excluded.sequence";
        Ok(self.run(SQL, values![edge, boot, sequence, at]).await? == 1)
    }

    /// Forgets the boots that have not reported since then, and how many they were.
    pub async fn forget_reports(&mut self, before: i64) -> Result<u64, StoreError> {
        self.run("DELETE FROM edge_reports WHERE at < $1", values![before]).await
    }
}

//! What can be written.

use sqlx::Executor as _;

use super::reads::{Connected as _, Reads as _};
use super::rows::{Audit, EnvironmentKey, NewAudit, Object, ObjectId, Publication, Remembered, Token, UsageDelta};
use super::{StoreError, WriteTx, audit};

type Answer<T> = Result<T, StoreError>;

impl WriteTx {
    async fn run(&mut self, query: sqlx::query::Query<'_, sqlx::Any, sqlx::any::AnyArguments>) -> Answer<u64> {
        Ok(self.connection().execute(query).await?.rows_affected())
    }

    async fn next(&mut self, counter: &str) -> Answer<i64> {
        let raise = sqlx::query("UPDATE counter SET value = value + 1 WHERE name = $1 RETURNING value").bind(counter);
        let row = raise.fetch_one(self.connection()).await?;
        Ok(sqlx::Row::try_get(&row, 0)?)
    }

    /// Raises the revision of everything by one.
    pub async fn next_revision(&mut self) -> Answer<i64> {
        self.next("revision").await
    }

    /// Writes an object.
    pub async fn put_object(&mut self, object: &Object) -> Answer<()> {
        let query = sqlx::query(
            "INSERT INTO object (app, kind, environment, key, revision, document, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (app, kind, environment, key) DO UPDATE SET \
             revision = excluded.revision, document = excluded.document, updated_at = excluded.updated_at",
        );
        let id = &object.id;
        let query = query.bind(&id.app).bind(id.kind.as_str()).bind(&id.environment).bind(&id.key);
        let query = query.bind(object.revision).bind(&object.document);
        self.run(query.bind(object.created_at).bind(object.updated_at)).await?;
        self.put_app_revision(&id.app, object.revision).await
    }

    /// Takes an object away.
    pub async fn delete_object(&mut self, id: &ObjectId, revision: i64) -> Answer<()> {
        let query = sqlx::query("DELETE FROM object WHERE app = $1 AND kind = $2 AND environment = $3 AND key = $4");
        let query = query.bind(&id.app).bind(id.kind.as_str()).bind(&id.environment).bind(&id.key);
        self.run(query).await?;
        self.put_app_revision(&id.app, revision).await
    }

    async fn put_app_revision(&mut self, app: &str, revision: i64) -> Answer<()> {
        let query = sqlx::query(
            "INSERT INTO app_revision (app, revision) VALUES ($1, $2) \
             ON CONFLICT (app) DO UPDATE SET revision = excluded.revision",
        );
        self.run(query.bind(app).bind(revision)).await.map(drop)
    }

    /// Writes a publication and gives it its sequence.
    pub async fn publish(&mut self, publication: Publication) -> Answer<Publication> {
        let publication = Publication { sequence: self.next("publication").await?, ..publication };
        let query = sqlx::query(
            "INSERT INTO publication (sequence, app, environment, number, created_at, document, sha256, previous, \
             key_id, signature, audit) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        );
        let query = query.bind(publication.sequence).bind(&publication.app).bind(&publication.environment);
        let query = query.bind(publication.number).bind(publication.created_at).bind(publication.document.clone());
        let query = query.bind(&publication.sha256).bind(&publication.previous).bind(&publication.key_id);
        self.run(query.bind(&publication.signature).bind(publication.audit)).await?;
        Ok(publication)
    }

    /// Writes an audit entry at the end of the chain.
    pub async fn append_audit(&mut self, new: NewAudit) -> Answer<Audit> {
        let (last, previous) = self.audit_head().await?;
        let sequence = last + 1;
        let hash = audit::hash(sequence, &previous, &new);
        let query = sqlx::query(
            "INSERT INTO audit (sequence, at, actor, actor_name, app, environment, operation, subject, reason, \
             request_id, changes, previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        );
        let query = query.bind(sequence).bind(new.at).bind(&new.actor).bind(&new.actor_name).bind(&new.app);
        let query = query.bind(&new.environment).bind(&new.operation).bind(&new.subject).bind(&new.reason);
        let query = query.bind(&new.request_id).bind(&new.changes).bind(&previous).bind(&hash);
        self.run(query).await?;
        let head = sqlx::query("UPDATE audit_head SET sequence = $1, hash = $2 WHERE one = 1");
        self.run(head.bind(sequence).bind(&hash)).await?;
        Ok(Audit { sequence, entry: new, previous, hash })
    }

    /// Writes the secret of an environment.
    pub async fn put_environment_key(&mut self, row: &EnvironmentKey) -> Answer<()> {
        let query = sqlx::query("INSERT INTO environment_key (app, environment, id, key) VALUES ($1, $2, $3, $4)");
        self.run(query.bind(&row.app).bind(&row.environment).bind(&row.id).bind(&row.key)).await.map(drop)
    }

    /// Forgets the secret of an environment.
    pub async fn delete_environment_key(&mut self, app: &str, environment: &str) -> Answer<()> {
        let query = sqlx::query("DELETE FROM environment_key WHERE app = $1 AND environment = $2");
        self.run(query.bind(app).bind(environment)).await.map(drop)
    }

    /// Writes a new token.
    pub async fn insert_token(&mut self, token: &Token) -> Answer<()> {
        let query = sqlx::query(
            "INSERT INTO token (id, sha256, name, scopes, created_at, created_by, expires_at, revoked_at, last_used_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        );
        let query = query.bind(&token.id).bind(&token.sha256).bind(&token.name).bind(&token.scopes);
        let query = query.bind(token.created_at).bind(&token.created_by).bind(token.expires_at);
        self.run(query.bind(token.revoked_at).bind(token.last_used_at)).await.map(drop)
    }

    /// Marks a token as revoked.
    pub async fn revoke_token(&mut self, id: &str, at: i64) -> Answer<()> {
        let query = sqlx::query("UPDATE token SET revoked_at = $1 WHERE id = $2");
        self.run(query.bind(at).bind(id)).await.map(drop)
    }

    /// Notes when tokens were used.
    pub async fn touch_tokens(&mut self, used: &[(String, i64)]) -> Answer<()> {
        for (id, at) in used {
            let query = sqlx::query(
                "UPDATE token SET last_used_at = $1 WHERE id = $2 AND (last_used_at IS NULL OR last_used_at < $1)",
            );
            self.run(query.bind(*at).bind(id)).await?;
        }
        Ok(())
    }

    /// Keeps an answer.
    pub async fn remember(&mut self, row: &Remembered) -> Answer<()> {
        let query = sqlx::query(
            "INSERT INTO remembered (token, key, request, status, headers, body, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (token, key) DO UPDATE SET request = excluded.request, \
             status = excluded.status, headers = excluded.headers, body = excluded.body, created_at = excluded.created_at",
        );
        let query = query.bind(&row.token).bind(&row.key).bind(&row.request).bind(row.status);
        self.run(query.bind(&row.headers).bind(&row.body).bind(row.created_at)).await.map(drop)
    }

    /// Forgets answers from before.
    pub async fn forget_remembered(&mut self, before: i64) -> Answer<()> {
        self.run(sqlx::query("DELETE FROM remembered WHERE created_at < $1").bind(before)).await.map(drop)
    }

    /// Takes note of a report; `false` when this one, or a later one of the process, was taken before.
    pub async fn accept_report(&mut self, edge: &str, boot: &str, sequence: i64, at: i64) -> Answer<bool> {
        let query = sqlx::query(
            "INSERT INTO report (edge, boot, sequence, received_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (edge, boot) DO UPDATE SET sequence = excluded.sequence, received_at = excluded.received_at \
             WHERE report.sequence < excluded.sequence",
        );
        Ok(self.run(query.bind(edge).bind(boot).bind(sequence).bind(at)).await? > 0)
    }

    /// Adds to counters.
    pub async fn add_usage(&mut self, deltas: &[UsageDelta], at: i64) -> Answer<()> {
        for delta in deltas {
            let query = sqlx::query(
                "INSERT INTO usage_count (app, environment, kind, key, variant, count, last_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (app, environment, kind, key, variant) DO UPDATE SET \
                 count = usage_count.count + excluded.count, last_at = excluded.last_at",
            );
            let query = query.bind(&delta.app).bind(&delta.environment).bind(&delta.kind).bind(&delta.key);
            self.run(query.bind(&delta.variant).bind(delta.count).bind(at)).await?;
        }
        Ok(())
    }
}

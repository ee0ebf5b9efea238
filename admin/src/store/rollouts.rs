//! Rollouts, what was decided about them, and what edges reported: the three tables of `0006_rollouts`.

use super::WriteTx;
use super::connection::{Row, values};
use super::error::StoreError;
use super::read::View;
use super::rows::{BatchRow, RolloutRow, TransitionRow};

impl View {
    /// The rollouts that have not ended, ordered by id.
    pub async fn rollouts_under_way(&mut self) -> Result<Vec<RolloutRow>, StoreError> {
        const SQL: &str = "SELECT id, app, environment, release, state, created_at, ended_at, counted, transitions, \
            plan, document FROM rollouts WHERE ended_at IS NULL ORDER BY id";
        self.all(SQL, &[], rollout).await
    }

    /// The rollout of an environment that has not ended.
    pub async fn rollout_under_way(&mut self, app: &str, environment: &str) -> Result<Option<RolloutRow>, StoreError> {
        const SQL: &str = "SELECT id, app, environment, release, state, created_at, ended_at, counted, transitions, \
            plan, document FROM rollouts WHERE app = $1 AND environment = $2 AND ended_at IS NULL";
        self.maybe(SQL, values![app, environment], rollout).await
    }

    /// A rollout.
    pub async fn rollout(&mut self, id: i64) -> Result<Option<RolloutRow>, StoreError> {
        const SQL: &str = "SELECT id, app, environment, release, state, created_at, ended_at, counted, transitions, \
            plan, document FROM rollouts WHERE id = $1";
        self.maybe(SQL, values![id], rollout).await
    }

    /// Rollouts of an environment with an id below this one, newest first.
    pub async fn rollouts(
        &mut self,
        app: &str,
        environment: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<RolloutRow>, StoreError> {
        const SQL: &str = "SELECT id, app, environment, release, state, created_at, ended_at, counted, transitions, \
            plan, document FROM rollouts WHERE app = $1 AND environment = $2 AND id < $3 ORDER BY id DESC LIMIT $4";
        self.all(SQL, values![app, environment, before.unwrap_or(i64::MAX), limit], rollout).await
    }

    /// The newest hundred rollouts of a release in an environment that ended in this state: their documents.
    pub async fn rollouts_that_ended(
        &mut self,
        app: &str,
        environment: &str,
        release: &str,
        state: &str,
    ) -> Result<Vec<String>, StoreError> {
        const SQL: &str = "SELECT document FROM rollouts \
            WHERE app = $1 AND environment = $2 AND release = $3 AND state = $4 ORDER BY id DESC LIMIT 100";
        self.all(SQL, values![app, environment, release, state], Row::text).await
    }

    /// What was decided about a rollout after this number, in order.
    pub async fn transitions(
        &mut self,
        rollout: i64,
        after: i64,
        limit: u32,
    ) -> Result<Vec<TransitionRow>, StoreError> {
        const SQL: &str = "SELECT rollout, number, at, state_before, state_after, actor, actor_name, counted, \
            begins_step, sentence, grounds FROM rollout_transitions WHERE rollout = $1 AND number > $2 \
            ORDER BY number LIMIT $3";
        self.all(SQL, values![rollout, after, limit], transition).await
    }

    /// The batches of the groups from one to another, both included, in order of group and stratum.
    pub async fn batches(&mut self, rollout: i64, from: i64, to: i64) -> Result<Vec<BatchRow>, StoreError> {
        const SQL: &str = "SELECT rollout, sequence, stratum, document FROM rollout_batches \
            WHERE rollout = $1 AND sequence >= $2 AND sequence <= $3 ORDER BY sequence, stratum";
        self.all(SQL, values![rollout, from, to], batch).await
    }
}

impl WriteTx {
    /// Makes a rollout and answers the id that it got; the environment must have none under way.
    pub async fn insert_rollout(&mut self, row: &RolloutRow) -> Result<i64, StoreError> {
        const NEXT: &str = "SELECT COALESCE(MAX(id), 0) + 1 FROM rollouts";
        const SQL: &str = "INSERT INTO rollouts (id, app, environment, release, state, created_at, ended_at, counted, \
            transitions, plan, document) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let id = self.0.session.one(NEXT, &[]).await?.integer()?;
        let values = values![
            id,
            &row.app,
            &row.environment,
            &row.release,
            &row.state,
            row.created_at,
            row.ended_at,
            row.counted,
            row.transitions,
            &row.plan,
            &row.document
        ];
        self.run(SQL, values).await?;
        Ok(id)
    }

    /// Writes what changes of a rollout: its state, what it counted, and whether it ended.
    pub async fn update_rollout(&mut self, row: &RolloutRow) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE rollouts SET state = $2, ended_at = $3, counted = $4, transitions = $5, document = $6 \
            WHERE id = $1";
        let values = values![row.id, &row.state, row.ended_at, row.counted, row.transitions, &row.document];
        self.run(SQL, values).await.map(drop)
    }

    /// Adds what was decided. Nothing of it can be changed later.
    pub async fn add_transition(&mut self, row: &TransitionRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO rollout_transitions (rollout, number, at, state_before, state_after, actor, \
            actor_name, counted, begins_step, sentence, grounds) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        let values = values![
            row.rollout,
            row.number,
            row.at,
            &row.before,
            &row.after,
            &row.actor,
            &row.actor_name,
            row.counted,
            i64::from(row.begins_step),
            &row.sentence,
            &row.grounds
        ];
        self.run(SQL, values).await.map(drop)
    }

    /// Forgets what was reported of rollouts that ended before this time. What was decided stays.
    pub async fn forget_batches(&mut self, before: i64) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM rollout_batches WHERE rollout IN (SELECT id FROM rollouts WHERE ended_at < $1)";
        self.run(SQL, values![before]).await.map(drop)
    }

    /// Makes or replaces a batch.
    pub async fn put_batch(&mut self, row: &BatchRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO rollout_batches (rollout, sequence, stratum, document) VALUES ($1, $2, $3, $4) \
            ON CONFLICT (rollout, sequence, stratum) DO UPDATE SET document = excluded.document";
        self.run(SQL, values![row.rollout, row.sequence, &row.stratum, &row.document]).await.map(drop)
    }
}

fn rollout(row: &mut Row) -> Result<RolloutRow, StoreError> {
    Ok(RolloutRow {
        id: row.integer()?,
        app: row.text()?,
        environment: row.text()?,
        release: row.text()?,
        state: row.text()?,
        created_at: row.integer()?,
        ended_at: row.maybe_integer()?,
        counted: row.integer()?,
        transitions: row.integer()?,
        plan: row.text()?,
        document: row.text()?,
    })
}

fn transition(row: &mut Row) -> Result<TransitionRow, StoreError> {
    Ok(TransitionRow {
        rollout: row.integer()?,
        number: row.integer()?,
        at: row.integer()?,
        before: row.text()?,
        after: row.text()?,
        actor: row.text()?,
        actor_name: row.text()?,
        counted: row.integer()?,
        begins_step: row.integer()? != 0,
        sentence: row.text()?,
        grounds: row.maybe_text()?,
    })
}

fn batch(row: &mut Row) -> Result<BatchRow, StoreError> {
    Ok(BatchRow { rollout: row.integer()?, sequence: row.integer()?, stratum: row.text()?, document: row.text()? })
}

//! The versions of the schema, and the way from one to another and back.
//!
//! Invariant: a migration that was released is never edited; the database keeps the checksum of each that was applied, and
//! refuses when they differ. Each is a transaction.

use serde::Serialize;
use sqlx::SqlSafeStr as _;
use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions as _, Connection as _};

use super::error::StoreError;
use super::location::Location;
use super::pools;

/// Where sqlx notes what was applied.
const TABLE: &str = "_sqlx_migrations";

/// A migration and what the database says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationState {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: State,
}

/// Where a migration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It was applied.
    Applied,
    /// It was not.
    Pending,
    /// It was applied with another text.
    Changed,
    /// It was applied by a newer binary.
    Unknown,
}

/// One migration of a way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// Which way it was taken.
    pub direction: Direction,
}

/// The way a migration is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Direction {
    /// Applied.
    Up,
    /// Taken back.
    Down,
}

/// All migrations this binary knows, and those that only the database does.
pub async fn status(location: &Location) -> Result<Vec<MigrationState>, StoreError> {
    let applied = Place::look(location).await?;
    Ok(states(&Texts::of(location), &applied))
}

/// The newest version that this binary knows.
pub fn newest(location: &Location) -> i64 {
    Texts::of(location).newest()
}

/// Brings the schema up to a version, or to the newest. A dry run only says what it would do.
pub async fn up(location: &Location, to: Option<i64>, dry_run: bool) -> Result<Vec<Step>, StoreError> {
    go(location, to, dry_run, Direction::Up).await
}

/// Takes migrations back until this version is the newest; 0 takes back all. What only they held is lost.
pub async fn down(location: &Location, to: i64, dry_run: bool) -> Result<Vec<Step>, StoreError> {
    go(location, Some(to), dry_run, Direction::Down).await
}

async fn go(
    location: &Location,
    to: Option<i64>,
    dry_run: bool,
    direction: Direction,
) -> Result<Vec<Step>, StoreError> {
    let texts = Texts::of(location);
    let to = texts.target(to.unwrap_or_else(|| texts.newest()))?;
    if dry_run {
        let applied = Place::look(location).await?;
        texts.check(&applied)?;
        return Ok(texts.steps(&applied, to, direction));
    }
    let mut place = Place::claim(location).await?;
    let steps = texts.steps(&place.applied().await?, to, direction);
    match direction {
        Direction::Up => place.run_to(&texts, to).await?,
        Direction::Down => place.undo(&texts, to).await?,
    }
    place.close().await?;
    Ok(steps)
}

/// A connection on which the schema is brought up when a store is opened.
pub(super) trait Opened: Migrate {
    const TEXTS: &'static [Text];
}

impl Opened for SqliteConnection {
    const TEXTS: &'static [Text] = SQLITE;
}

impl Opened for PgConnection {
    const TEXTS: &'static [Text] = POSTGRES;
}

/// Brings the schema up on this connection.
pub(super) async fn open<C: Opened>(connection: &mut C) -> Result<(), StoreError> {
    let texts = Texts(C::TEXTS);
    let done = texts.migrator().run_direct(None, connection, false).await;
    done.map_err(|error| texts.explain(error))
}

/// A migration's texts.
pub(super) struct Text {
    version: i64,
    name: &'static str,
    up: &'static str,
    down: &'static str,
}

impl Text {
    fn step(&self, direction: Direction) -> Step {
        Step { version: self.version, name: self.name.to_owned(), direction }
    }
}

macro_rules! texts {
    ($folder:literal: $($version:literal $name:literal),+ $(,)?) => {
        &[$(Text {
            version: $version,
            name: $name,
            up: include_str!(concat!("../../migrations/", $folder, "/000", $version, "_", $name, ".up.sql")),
            down: include_str!(concat!("../../migrations/", $folder, "/000", $version, "_", $name, ".down.sql")),
        }),+]
    };
}

const SQLITE: &[Text] = texts!["sqlite": 1 "objects", 2 "publications", 3 "audit", 4 "access", 5 "edges", 6 "rollouts", 7 "signals", 8 "outbox"];
const POSTGRES: &[Text] = texts!["postgres": 1 "objects", 2 "publications", 3 "audit", 4 "access", 5 "edges", 6 "rollouts", 7 "signals", 8 "outbox"];

struct Texts(&'static [Text]);

impl Texts {
    fn of(location: &Location) -> Self {
        match location {
            Location::Sqlite(_) => Self(SQLITE),
            Location::Postgres(_) => Self(POSTGRES),
        }
    }

    fn newest(&self) -> i64 {
        self.0.last().map_or(0, |text| text.version)
    }

    fn target(&self, version: i64) -> Result<i64, StoreError> {
        if (0..=self.newest()).contains(&version) {
            return Ok(version);
        }
        let why = format!("there is no schema version {version}: this binary knows 0 to {}", self.newest());
        Err(StoreError::migration(Some(version), why))
    }

    /// What leads from what is applied to a version, in order.
    fn steps(&self, applied: &[AppliedMigration], to: i64, direction: Direction) -> Vec<Step> {
        let is_applied = |text: &&Text| applied.iter().any(|applied| applied.version == text.version);
        let texts: Vec<&Text> = match direction {
            Direction::Up => self.0.iter().filter(|text| text.version <= to && !is_applied(text)).collect(),
            Direction::Down => self.0.iter().rev().filter(|text| text.version > to && is_applied(text)).collect(),
        };
        texts.into_iter().map(|text| text.step(direction)).collect()
    }

    fn migrator(&self) -> Migrator {
        let migrations = self.0.iter().flat_map(|text| {
            let directions = [(MigrationType::ReversibleUp, text.up), (MigrationType::ReversibleDown, text.down)];
            directions
                .map(|(kind, sql)| Migration::new(text.version, text.name.into(), kind, sql.into_sql_str(), false))
        });
        Migrator::with_migrations(migrations.collect())
    }

    /// What a run would find out, for a dry run.
    fn check(&self, applied: &[AppliedMigration]) -> Result<(), StoreError> {
        let wrong = states(self, applied).into_iter().find_map(|state| match state.state {
            State::Unknown => Some(MigrateError::VersionMissing(state.version)),
            State::Changed => Some(MigrateError::VersionMismatch(state.version)),
            _ => None,
        });
        wrong.map_or(Ok(()), |error| Err(self.explain(error)))
    }

    fn explain(&self, error: MigrateError) -> StoreError {
        match error {
            MigrateError::VersionMissing(version) => {
                let known = self.newest();
                let why = format!(
                    "the database has schema version {version}, and this binary knows up to {known}: use the newer \
                     bascule, or step back with it (bascule db down --to {known})"
                );
                StoreError::migration(Some(version), why)
            }
            MigrateError::VersionMismatch(version) => {
                let why =
                    format!("migration {version} was applied to the database with another text than this binary has");
                StoreError::migration(Some(version), why)
            }
            MigrateError::Execute(error) => error.into(),
            MigrateError::ExecuteMigration(error, version) => match StoreError::from(error) {
                error if error.is_transient() => error,
                error => StoreError::Migration {
                    version: Some(version),
                    why: format!("migration {version} failed, and nothing of it was kept"),
                    source: Some(error.into()),
                },
            },
            error => StoreError::Migration {
                version: None,
                why: "the schema cannot be brought to where it should be".to_owned(),
                source: Some(error.into()),
            },
        }
    }
}

fn states(texts: &Texts, applied: &[AppliedMigration]) -> Vec<MigrationState> {
    let migrator = texts.migrator();
    let checksum =
        |version| migrator.iter().find(|known| known.version == version && known.migration_type.is_up_migration());
    let known = texts.0.iter().map(|text| {
        let state = match applied.iter().find(|applied| applied.version == text.version) {
            None => State::Pending,
            Some(found) if checksum(text.version).is_some_and(|known| known.checksum == found.checksum) => {
                State::Applied
            }
            Some(_) => State::Changed,
        };
        MigrationState { version: text.version, name: text.name.to_owned(), state }
    });
    let unknown = applied.iter().filter(|found| !texts.0.iter().any(|text| text.version == found.version));
    let unknown =
        unknown.map(|found| MigrationState { version: found.version, name: String::new(), state: State::Unknown });
    known.chain(unknown).collect()
}

/// A connection of its own to a database.
enum Place {
    Sqlite(SqliteConnection, Option<super::lock::ProcessLock>),
    Postgres(PgConnection),
}

impl Place {
    /// What was applied, without touching anything; nothing when there is no database yet.
    async fn look(location: &Location) -> Result<Vec<AppliedMigration>, StoreError> {
        let mut place = match location {
            Location::Sqlite(path) if !path.exists() => return Ok(Vec::new()),
            Location::Sqlite(path) => {
                let path = std::path::absolute(path).map_err(StoreError::io)?;
                Self::Sqlite(pools::sqlite(&path).read_only(true).connect().await?, None)
            }
            Location::Postgres(url) => Self::Postgres(pools::postgres(url)?.connect().await?),
        };
        let applied = place.applied().await?;
        place.close().await?;
        Ok(applied)
    }

    /// To change it: of a file, nobody else may have it open.
    async fn claim(location: &Location) -> Result<Self, StoreError> {
        Ok(match location {
            Location::Sqlite(path) => {
                let (file, lock) = pools::claim(path)?;
                Self::Sqlite(pools::sqlite_writer(&file).connect().await?, Some(lock))
            }
            Location::Postgres(url) => Self::Postgres(pools::postgres(url)?.connect().await?),
        })
    }

    async fn applied(&mut self) -> Result<Vec<AppliedMigration>, StoreError> {
        const SQLITE: &str = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
        const POSTGRES: &str = "SELECT count(to_regclass('_sqlx_migrations'))";
        let tables: i64 = match self {
            Self::Sqlite(connection, _) => sqlx::query_scalar(SQLITE).fetch_one(connection).await?,
            Self::Postgres(connection) => sqlx::query_scalar(POSTGRES).fetch_one(connection).await?,
        };
        if tables == 0 {
            return Ok(Vec::new());
        }
        let applied = match self {
            Self::Sqlite(connection, _) => connection.list_applied_migrations(TABLE).await,
            Self::Postgres(connection) => connection.list_applied_migrations(TABLE).await,
        };
        applied.map_err(|error| StoreError::Migration {
            version: None,
            why: "the table of migrations cannot be read".to_owned(),
            source: Some(error.into()),
        })
    }

    async fn run_to(&mut self, texts: &Texts, to: i64) -> Result<(), StoreError> {
        let migrator = texts.migrator();
        let done = match self {
            Self::Sqlite(connection, _) => migrator.run_to(to, connection).await,
            Self::Postgres(connection) => migrator.run_to(to, connection).await,
        };
        done.map_err(|error| texts.explain(error))
    }

    async fn undo(&mut self, texts: &Texts, to: i64) -> Result<(), StoreError> {
        let migrator = texts.migrator();
        let done = match self {
            Self::Sqlite(connection, _) => migrator.undo(connection, to).await,
            Self::Postgres(connection) => migrator.undo(connection, to).await,
        };
        done.map_err(|error| texts.explain(error))
    }

    async fn close(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection, lock) => {
                connection.close().await?;
                drop(lock);
            }
            Self::Postgres(connection) => connection.close().await?,
        }
        Ok(())
    }
}

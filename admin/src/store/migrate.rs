//! The tables' versions, forwards and back.

use std::collections::BTreeMap;

use sqlx::migrate::{Migrate as _, Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, SqlSafeStr as _};

use super::backend::Backend;
use super::{Location, StoreError};

/// Where sqlx notes what was applied.
const TABLE: &str = "_sqlx_migrations";

struct Pair {
    version: i64,
    name: &'static str,
    /// `None` = the same for both databases.
    only: Option<&'static str>,
    up: &'static str,
    down: &'static str,
}

macro_rules! pair {
    ($version:literal, $name:literal, $file:literal, $only:expr) => {
        Pair {
            version: $version,
            name: $name,
            only: $only,
            up: include_str!(concat!("../../migrations/", $file, ".up.sql")),
            down: include_str!(concat!("../../migrations/", $file, ".down.sql")),
        }
    };
}

const PAIRS: &[Pair] = &[
    pair!(1, "objects", "0001_objects", None),
    pair!(2, "reports", "0002_reports", None),
    pair!(3, "append only", "0003_append_only.sqlite", Some("sqlite")),
    pair!(3, "append only", "0003_append_only.postgres", Some("postgres")),
];

/// A version of the tables and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationState {
    /// Its number.
    pub version: i64,
    /// What it is about.
    pub name: String,
    /// Whether it was applied.
    pub is_applied: bool,
}

/// A version that was, or would be, applied or taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub version: i64,
    /// What it is about.
    pub name: String,
    /// The statements.
    pub sql: String,
}

/// The highest version that this program knows.
pub fn newest() -> i64 {
    PAIRS.iter().map(|pair| pair.version).max().unwrap_or(0)
}

fn pairs(backend: &Backend) -> impl Iterator<Item = &'static Pair> {
    let name = backend.name();
    PAIRS.iter().filter(move |pair| pair.only.is_none_or(|only| only == name))
}

fn migrator(backend: &Backend) -> Migrator {
    let both = |pair: &'static Pair| {
        let of =
            |kind, sql: &'static str| Migration::new(pair.version, pair.name.into(), kind, sql.into_sql_str(), false);
        [of(MigrationType::ReversibleUp, pair.up), of(MigrationType::ReversibleDown, pair.down)]
    };
    Migrator::with_migrations(pairs(backend).flat_map(both).collect())
}

/// Brings a database up to date.
pub(super) async fn run(backend: &Backend, connection: &mut AnyConnection) -> Result<(), StoreError> {
    refuse_newer(connection).await?;
    migrator(backend).run(connection).await.map_err(StoreError::Migrate)
}

async fn applied(connection: &mut AnyConnection) -> Result<BTreeMap<i64, String>, StoreError> {
    connection.ensure_migrations_table(TABLE).await.map_err(StoreError::Migrate)?;
    let applied = connection.list_applied_migrations(TABLE).await.map_err(StoreError::Migrate)?;
    Ok(applied.into_iter().map(|one| (one.version, String::new())).collect())
}

async fn refuse_newer(connection: &mut AnyConnection) -> Result<(), StoreError> {
    let found = applied(connection).await?.last_key_value().map_or(0, |(version, _)| *version);
    let known = newest();
    if found > known { Err(StoreError::Newer { found, known }) } else { Ok(()) }
}

/// The versions and which of them the database has.
pub async fn status(location: &Location) -> Result<Vec<MigrationState>, StoreError> {
    let backend = Backend::new(location);
    let _lock = backend.lock()?;
    let mut connection = backend.connect().await?;
    let applied = applied(&mut connection).await?;
    let known = pairs(&backend).map(|pair| (pair.version, pair.name.to_owned()));
    let mut all: BTreeMap<i64, String> = applied.keys().map(|version| (*version, "unknown".to_owned())).collect();
    all.extend(known);
    let state = |(version, name)| MigrationState { version, name, is_applied: applied.contains_key(&version) };
    Ok(all.into_iter().map(state).collect())
}

/// Applies what is missing, up to a version.
pub async fn up(location: &Location, to: Option<i64>, dry_run: bool) -> Result<Vec<Step>, StoreError> {
    let backend = Backend::new(location);
    let _lock = backend.lock()?;
    let mut connection = backend.connect().await?;
    refuse_newer(&mut connection).await?;
    let applied = applied(&mut connection).await?;
    let to = to.unwrap_or_else(newest);
    let missing = pairs(&backend).filter(|pair| pair.version <= to && !applied.contains_key(&pair.version));
    let steps = missing.map(|pair| step(pair, pair.up)).collect();
    if !dry_run {
        migrator(&backend).run_to(to, &mut connection).await.map_err(StoreError::Migrate)?;
    }
    Ok(steps)
}

/// Takes back everything above a version, the newest first.
pub async fn down(location: &Location, to: i64, dry_run: bool) -> Result<Vec<Step>, StoreError> {
    let backend = Backend::new(location);
    let _lock = backend.lock()?;
    let mut connection = backend.connect().await?;
    refuse_newer(&mut connection).await?;
    let applied = applied(&mut connection).await?;
    let mut leaving: Vec<&Pair> =
        pairs(&backend).filter(|pair| pair.version > to && applied.contains_key(&pair.version)).collect();
    leaving.sort_by_key(|pair| -pair.version);
    let steps = leaving.iter().map(|pair| step(pair, pair.down)).collect();
    if !dry_run {
        migrator(&backend).undo(&mut connection, to).await.map_err(StoreError::Migrate)?;
    }
    Ok(steps)
}

fn step(pair: &Pair, sql: &str) -> Step {
    Step { version: pair.version, name: pair.name.to_owned(), sql: sql.to_owned() }
}

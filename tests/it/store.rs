//! The store of the control plane: one suite for both databases, and what a file on a disk has to survive.

mod access;
mod audit;
mod crash;
mod edges;
mod file;
mod migrations;
mod notices;
mod objects;
mod publications;
mod rollouts;
mod speed;
mod transactions;

use std::path::PathBuf;

use admin::store::{Location, Store};
use sqlx::Connection as _;

/// Runs every case on both databases.
macro_rules! suite {
    ($($module:ident { $($case:ident),+ $(,)? })+) => {
        mod sqlite {
            $(mod $module {
                $(#[test]
                fn $case() {
                    super::super::run(super::super::Place::sqlite(), super::super::$module::$case);
                })+
            })+
        }
        mod postgres {
            $(mod $module {
                $(#[test]
                fn $case() {
                    super::super::run(super::super::Place::postgres(), super::super::$module::$case);
                })+
            })+
        }
    };
}

suite! {
    objects {
        an_object_is_read_as_it_was_put,
        objects_of_an_app_are_ordered_by_id,
        objects_of_a_kind_are_paged_by_key,
        apps_are_listed_by_name,
        the_revision_of_an_app_knows_deletions,
        a_text_with_a_nul_is_refused,
    }
    publications {
        a_publication_gets_the_next_sequence,
        a_number_is_published_once,
        a_withdrawal_is_the_newest_publication,
        heads_are_paged_newest_first,
        who_catches_up_gets_the_newest_of_each_environment,
        a_document_of_thirty_mebibytes_is_kept,
        keys_of_environments_are_kept,
    }
    audit {
        entries_form_a_chain,
        entries_are_found_by_each_filter,
        entries_are_paged_in_both_directions,
        entries_cannot_be_changed_or_deleted,
        a_changed_field_is_found,
        a_changed_hash_is_found,
        a_deleted_entry_is_found,
        exchanged_entries_are_found,
        a_chain_cut_short_is_found,
        a_chain_written_anew_is_found_by_a_noted_head,
        a_changed_or_missing_head_is_found,
    }
    access {
        a_token_is_found_by_id_and_by_hash,
        tokens_are_paged_by_id,
        a_token_is_revoked_once_and_touched_forwards,
        ids_and_hashes_of_tokens_are_unique,
        answers_are_remembered_and_forgotten,
    }
    edges {
        rosters_are_replaced_and_deleted,
        a_report_is_accepted_once,
        counters_add_up,
        counters_take_many_and_stay_at_the_largest_number,
    }
    rollouts {
        a_rollout_is_read_as_it_was_written,
        an_environment_has_one_under_way,
        transitions_only_grow,
        batches_are_replaced_in_their_group,
    }
    transactions {
        a_dropped_transaction_leaves_nothing,
        a_transaction_in_which_something_failed_cannot_be_committed,
        readers_see_no_uncommitted_state_and_keep_their_view,
        a_writer_reads_what_it_wrote,
        concurrent_writers_are_serial,
        a_writer_that_is_given_up_blocks_nobody,
        health_is_a_real_read,
        a_closed_store_is_not_available,
    }
    migrations {
        down_and_up_keep_the_schema_and_the_rows_of_what_stays,
        every_version_can_be_reached_from_every_other,
        a_dry_run_changes_nothing,
        a_newer_schema_is_refused,
        an_edited_migration_is_noticed,
    }
    notices {
        a_notice_reaches_this_process,
        a_large_notice_is_refused,
    }
}

/// Where a test's store is.
struct Place {
    location: Location,
    folder: Option<tempfile::TempDir>,
}

impl Place {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        Self { location: Location::Sqlite(folder.path().join("bascule.db")), folder: Some(folder) }
    }

    fn postgres() -> Self {
        Self { location: Location::Postgres(tests::postgres::database()), folder: None }
    }

    async fn open(&self) -> Store {
        Store::open(&self.location).await.expect("opens")
    }

    /// The database file.
    fn file(&self) -> PathBuf {
        self.folder.as_ref().expect("it is SQLite").path().join("bascule.db")
    }

    /// Runs SQL behind the store's back.
    async fn execute(&self, sql: impl Into<String>) -> Result<(), sqlx::Error> {
        let sql = sqlx::AssertSqlSafe(sql.into());
        match &self.location {
            Location::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut connection = sqlx::SqliteConnection::connect_with(&options).await?;
                sqlx::raw_sql(sql).execute(&mut connection).await?;
                connection.close().await
            }
            Location::Postgres(url) => {
                let mut connection = sqlx::PgConnection::connect(url).await?;
                sqlx::raw_sql(sql).execute(&mut connection).await?;
                connection.close().await
            }
        }
    }

    /// The definitions of all tables, indices and triggers.
    async fn schema(&self) -> String {
        match &self.location {
            Location::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut connection = sqlx::SqliteConnection::connect_with(&options).await.expect("opens");
                let sql = "SELECT coalesce(sql, name) FROM sqlite_master ORDER BY type, name";
                let lines: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.expect("readable");
                lines.join("\n")
            }
            Location::Postgres(url) => tests::postgres::schema(url),
        }
    }
}

fn run(place: Place, case: impl AsyncFnOnce(&Place)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(case(&place));
}

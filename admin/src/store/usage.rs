//! Adding to the counters, many at a time: an edge reports hundreds, and each statement is a round trip under the lock of
//! the one writer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::WriteTx;
use super::connection::{Value, values};
use super::error::StoreError;
use super::rows::UsageDelta;

/// How many counters a statement takes. Few sizes, so that their statements stay prepared.
const SIZES: [usize; 3] = [64, 8, 1];

type Key<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

impl WriteTx {
    /// Adds to counters, making those that are not there. A counter never falls, and stays at the largest number.
    pub async fn add_usage(&mut self, deltas: &[UsageDelta], at: i64) -> Result<(), StoreError> {
        let sums: Vec<_> = sums(deltas).into_iter().collect();
        let mut rest = sums.as_slice();
        for size in SIZES {
            while let Some((chunk, others)) = rest.split_at_checked(size) {
                let mut values: Vec<Value<'_>> = Vec::with_capacity(size * 7);
                for ((app, environment, kind, key, variant), count) in chunk {
                    values.extend_from_slice(values![*app, *environment, *kind, *key, *variant, *count, at]);
                }
                self.0.session.execute(sqlx::AssertSqlSafe(statement(size)), &values).await?;
                rest = others;
            }
        }
        Ok(())
    }
}

/// One sum for each counter: a statement may touch a row only once.
fn sums(deltas: &[UsageDelta]) -> BTreeMap<Key<'_>, i64> {
    let mut sums = BTreeMap::new();
    for delta in deltas {
        let key: Key<'_> = (&delta.app, &delta.environment, &delta.kind, &delta.key, &delta.variant);
        let sum: &mut i64 = sums.entry(key).or_default();
        *sum = sum.saturating_add(delta.count.max(0));
    }
    sums
}

fn statement(rows: usize) -> String {
    let mut sql =
        "INSERT INTO usage_counters (app, environment, kind, key, variant, count, last_at) VALUES ".to_owned();
    for row in 0..rows {
        let first = row * 7;
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for place in 1..=7 {
            // Writing to a String cannot fail.
            let _ = write!(sql, "{}${}", if place == 1 { "" } else { ", " }, first + place);
        }
        sql.push(')');
    }
    let _ = write!(
        sql,
        " ON CONFLICT (app, environment, kind, key, variant) DO UPDATE SET count = CASE \
         WHEN usage_counters.count > {} - excluded.count THEN {} ELSE usage_counters.count + excluded.count END, \
         last_at = CASE WHEN usage_counters.last_at > excluded.last_at THEN usage_counters.last_at \
         ELSE excluded.last_at END",
        i64::MAX,
        i64::MAX
    );
    sql
}

//! What must hold for any bytes. A claim is broken by a panic.
//!
//! The fuzzer runs the `any_bytes` of each module below, and `tests/it/corpus.rs` runs the same functions over the
//! committed corpora. So nothing here names the fuzzer.

#[path = "targets/abi.rs"]
pub mod abi;
#[path = "targets/context.rs"]
pub mod context;
#[path = "targets/decisions.rs"]
mod decisions;
#[path = "targets/manifest.rs"]
pub mod manifest;
#[path = "targets/places.rs"]
mod places;
#[path = "targets/snapshot.rs"]
pub mod snapshot;

use std::sync::LazyLock;

use edge_engine::{BucketingKey, Problem, Snapshot, check, parse};

/// Uses every operator and every kind of targeting, so that each context and each message meets all of them. It is also
/// what mutations of snapshot documents start from.
const EVERYTHING: &[u8] = include_bytes!("corpus/snapshot/everything.json");
/// Any time; it decides nothing about what must hold.
const NOW_MS: i64 = 1_767_225_600_000;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| load(EVERYTHING).expect("the snapshot of the targets is sound"));

fn key() -> BucketingKey {
    BucketingKey::new(*b"0123456789abcdef")
}

fn load(document: &[u8]) -> Result<Snapshot, Vec<Problem>> {
    check(parse(document)?, &key())
}

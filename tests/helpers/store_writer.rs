//! Commits to a store and says what was acknowledged: the victim of the tests that kill it, or fail its system calls, at
//! every point.
//!
//! `store-writer DATABASE COUNT`: prints the number of each commit when it has returned. A commit that fails is reported as
//! `failed` with the reason, and tried again once, with room made if the file size limit can be raised: what was only
//! passing must not stay.

use std::io::Write as _;

use admin::store::{Location, Store, StoreError};
use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [database, count] = args.as_slice() else { bail!("usage: store-writer DATABASE COUNT") };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(write(&database.parse()?, count.parse()?))
}

async fn write(location: &Location, count: u32) -> anyhow::Result<()> {
    // As a server does: a write beyond the file size limit is an error, not the end.
    server::lifecycle::ignore_file_size_signal()?;
    let store = Store::open(location).await.context("cannot open")?;
    let mut out = std::io::stdout().lock();
    for _ in 0..count {
        let number = match tests::store::commit(&store).await {
            Ok(number) => number,
            Err(error) => {
                writeln!(out, "failed {}", kind(&error))?;
                make_room()?;
                tests::store::commit(&store).await.context("cannot commit")?
            }
        };
        writeln!(out, "{number}")?;
        out.flush()?;
    }
    store.close().await;
    Ok(())
}

/// Raises the file size limit as far as this process may.
fn make_room() -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: limit.maximum, ..limit }).context("cannot raise the limit")
}

fn kind(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(_) => "unavailable",
        StoreError::Full(_) => "full",
        StoreError::Busy => "busy",
        _ => "otherwise",
    }
}

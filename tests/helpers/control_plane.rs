//! A control plane as a process of its own, with the logs of the program: for tests that read them.
//!
//! `control-plane DIR [ADDRESS]`: everything of it is below DIR, `BASCULE_BOOTSTRAP_ADMIN_TOKEN` is its first token. It prints where
//! it listens, and ends when its standard input does.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use admin::limits::{Limits, Timeouts};
use admin::serve::{Admin, Settings};
use admin::store::Location;
use admin::token::TokenText;
use anyhow::{Context as _, bail};
use server::telemetry;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (dir, listen) = match args.as_slice() {
        [dir] => (dir, "127.0.0.1:0"),
        [dir, listen] => (dir, listen.as_str()),
        _ => bail!("usage: control-plane DIR [ADDRESS]"),
    };
    let token = std::env::var("BASCULE_BOOTSTRAP_ADMIN_TOKEN").context("there is no first token")?;
    let logs = telemetry::Settings {
        filter: std::env::var("BASCULE_LOG_LEVEL").unwrap_or_else(|_| "info".to_owned()),
        format: telemetry::Format::Json,
        environment: "test".to_owned(),
    };
    telemetry::init(&logs)?;
    let dir = PathBuf::from(dir);
    let settings = Settings {
        listen: listen.parse()?,
        database: Location::Sqlite(dir.join("bascule.db")),
        state_dir: dir.join("state"),
        signing_key: None,
        bootstrap_token: Some(TokenText::parse(&token).context("the first token is none")?),
        tls: None,
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        workers: Vec::new(),
        integrations: admin::integrations::Integrations::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let admin = runtime.block_on(Admin::start(settings))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", admin.address())?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    runtime.block_on(admin.stop());
    Ok(())
}

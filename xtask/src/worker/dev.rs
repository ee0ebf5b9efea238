//! The Worker on the developer's machine, in the runtime that the tests use.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::process::say;
use crate::setup;
use crate::workspace::Workspace;

/// What it serves.
pub(super) struct Options {
    port: String,
    app: String,
    environment: String,
    origin: String,
    public_keys: String,
    control_plane: String,
}

impl Options {
    pub(super) fn parse(args: &[String]) -> Result<Self> {
        let mut options = Self {
            port: "8787".into(),
            app: "web".into(),
            environment: "production".into(),
            origin: "http://127.0.0.1:7001".into(),
            public_keys: String::new(),
            control_plane: String::new(),
        };
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let place = match name.as_str() {
                "--port" => &mut options.port,
                "--app" => &mut options.app,
                "--environment" => &mut options.environment,
                "--origin" => &mut options.origin,
                "--public-keys" => &mut options.public_keys,
                "--control-plane" => &mut options.control_plane,
                other => bail!("there is no `{other}`; see `cargo xtask worker --help`"),
            };
            args.next().with_context(|| format!("{name} needs a value"))?.clone_into(place);
        }
        let _: u16 = options.port.parse().with_context(|| format!("--port {} is no port", options.port))?;
        Ok(options)
    }

    /// What `tests/worker/run.mjs` starts. JSON takes every text that is quoted as Rust does it, but for control characters.
    fn setup(&self, token: &str) -> String {
        let Self { port, app, environment, origin, public_keys, control_plane } = self;
        format!(
            r#"{{"port": {port}, "object": "bound", "services": {{}}, "bindings": {{"APP": {app:?}, "ENVIRONMENT": {environment:?},
            "ORIGIN": {origin:?}, "PUBLIC_KEYS": {public_keys:?}, "CONTROL_PLANE": {control_plane:?}, "EDGE_TOKEN": {token:?}}}}}"#
        )
    }
}

/// Runs until it is interrupted.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let runtime = setup::workerd(workspace)?;
    let given = std::env::var("EDGE_TOKEN").ok().filter(|token| !token.is_empty());
    let is_fresh = given.is_none();
    let token = given.map_or_else(fresh, Ok)?;
    let mut node = Command::new("node");
    node.arg(workspace.root.join("tests/worker/run.mjs")).arg(workspace.target.join("worker"));
    node.arg(options.setup(&token)).env("WORKER_RUNTIME", runtime);
    // An open pipe keeps it running; Ctrl-C reaches it as it reaches this process.
    let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start node")?;
    let _open = child.stdin.take();
    let mut ready = String::new();
    BufReader::new(child.stdout.take().context("stdout is piped")?).read_line(&mut ready)?;
    if ready.is_empty() {
        bail!("the runtime did not start: {}", child.wait()?);
    }
    say(format_args!("worker: {} of {} on http://127.0.0.1:{}", options.environment, options.app, options.port));
    if is_fresh {
        say(format_args!("worker: its EDGE_TOKEN is {token}"));
    }
    if options.public_keys.is_empty() {
        say("worker: without --public-keys it takes no snapshot; everything goes to the origin");
    }
    let ended = child.wait().context("cannot wait for node")?;
    if !ended.success() {
        bail!("the runtime ended with {ended}");
    }
    Ok(())
}

/// 128 random bits.
fn fresh() -> Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("no random bytes")?;
    let mut token = "dev_".to_owned();
    for byte in bytes {
        write!(token, "{byte:02x}")?;
    }
    Ok(token)
}

//! `cargo xtask worker`: the Cloudflare Worker, built, run on this machine, tried, and looked at as for a deployment.

mod bundle;
mod deploy;
mod dev;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::process::{capture, run_as_talk};
use crate::workspace::Workspace;
use crate::{module, setup};

pub(crate) use bundle::build;
pub(crate) use deploy::check;

pub(crate) const SUMMARY: &str = "the Cloudflare Worker: build | dev | test | check";
pub(crate) const HELP: &str = "\
cargo xtask worker build
  Builds edge/worker for WebAssembly, makes its bindings, optimises it, and checks what it weighs compressed.
  On stdout: the path of the module to deploy.

cargo xtask worker dev [--port N] [--app APP] [--environment ENV] [--origin URL] [--public-keys KEYS] [--control-plane URL]
  Builds it and runs it in the real Workers runtime on 127.0.0.1, port 8787, until Ctrl-C. Durable Object and KV are in memory.
  Until a snapshot is pushed it forwards everything to the origin, http://127.0.0.1:7001. The edge token is that of the variable
  EDGE_TOKEN, or a fresh one, which is printed.

cargo xtask worker test
  Builds it and runs its tests in the real Workers runtime; fails when there are none.

cargo xtask worker check
  Builds it and lets wrangler read deploy/cloudflare/wrangler.toml and bundle what it names, without deploying it.";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let (command, rest) = args.split_first().map_or(("", args), |(command, rest)| (command.as_str(), rest));
    match command {
        "build" | "test" | "check" => crate::no_arguments(rest)?,
        "dev" => {}
        _ => bail!("say build, dev, test or check; see `cargo xtask worker --help`"),
    }
    let options = dev::Options::parse(rest)?;
    let toolchain = setup::toolchain(&workspace)?;
    let entry = build(&workspace, toolchain)?;
    match command {
        "build" => println!("{}", entry.display()),
        "check" => check(&workspace)?,
        "test" => test(&workspace, toolchain)?,
        _ => dev::run(&workspace, &options)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The part of `cargo xtask test` that is about the Worker.
fn test(workspace: &Workspace, toolchain: setup::Toolchain) -> Result<()> {
    setup::test_tools(workspace)?;
    // The one test binary has the module's tests too.
    module::build(workspace, toolchain)?;
    module::precompile(workspace, &[])?;
    run_as_talk(workspace.cargo().args("test --locked --package edge-worker".split(' ')))?;
    let them = "test --locked --package tests --test it -- worker::";
    let list = capture(workspace.cargo().args(them.split(' ')).arg("--list"))?;
    if !list.lines().any(|line| line.ends_with(": test")) {
        bail!("there are no tests of the Worker");
    }
    run_as_talk(workspace.cargo().args(them.split(' ')))
}

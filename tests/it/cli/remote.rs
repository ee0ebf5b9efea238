//! The verbs that speak to a control plane: the real program against a real one.

mod apply;
mod errors;
mod flags;
mod nouns;
mod rollback;
mod rollout;

use std::ffi::OsStr;
use std::process::Command;

use serde_json::Value;
use tests::admin::ControlPlane;
use tests::binary::{self, Ended};

/// The program as root of a control plane.
fn command<A: AsRef<OsStr>>(plane: &ControlPlane, args: impl IntoIterator<Item = A>) -> Command {
    let mut command = binary::command(args);
    command.env("BASCULE_URL", plane.url()).env("BASCULE_TOKEN", plane.root());
    command
}

fn run<A: AsRef<OsStr>>(plane: &ControlPlane, args: impl IntoIterator<Item = A>) -> Ended {
    binary::finish(command(plane, args), "")
}

/// Runs to a good end and gives stdout.
#[track_caller]
fn done<A: AsRef<OsStr>>(plane: &ControlPlane, args: impl IntoIterator<Item = A>) -> String {
    let ended = run(plane, args);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        !ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'),
        "colour without a terminal: {ended:?}"
    );
    ended.stdout
}

/// Runs to a good end and reads stdout as JSON.
#[track_caller]
fn json<A: AsRef<OsStr>>(plane: &ControlPlane, args: impl IntoIterator<Item = A>) -> Value {
    let mut command = command(plane, args);
    command.arg("--json");
    let ended = binary::finish(command, "");
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
}

//! The program under test, as a process.
//!
//! The package `tests` builds the binary itself from the same `main.rs`, so it is there whenever a
//! test runs and has the same dependencies as the tests: nothing is built twice, nothing is looked
//! for in places that could be stale.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The path of the program.
///
/// # Panics
/// When the test was not started by cargo.
pub fn bascule() -> &'static PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().expect("a running test has a path");
        // TARGET/PROFILE/deps/it-HASH: cargo puts binaries two levels up.
        let folder = test.ancestors().nth(2).expect("cargo runs tests from TARGET/PROFILE/deps");
        let path = folder.join("bascule-under-test").with_extension(std::env::consts::EXE_EXTENSION);
        assert!(path.is_file(), "{} is missing: start tests with cargo", path.display());
        path
    })
}

/// The program with arguments and nothing of the environment that could change what it does.
pub fn command<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(bascule());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BASCULE_") {
            command.env_remove(name);
        }
    }
    command
}

/// How a process ended and what it said.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// All of stdout.
    pub stdout: String,
    /// All of stderr.
    pub stderr: String,
}

/// Runs the program to its end.
///
/// # Panics
/// When it cannot be started, was killed, or said something that is not UTF-8.
pub fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Ended {
    finish(command(args), "")
}

/// Runs a command to its end with this on stdin.
///
/// # Panics
/// As [`run`].
pub fn finish(mut command: Command, stdin: &str) -> Ended {
    command.stdin(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut pipe = child.stdin.take().expect("stdin is a pipe");
    let input = stdin.to_owned();
    // On a thread of its own, because the program may answer before it has read everything. It may
    // also end before it has read everything, which is then its exit code's business.
    let writer = std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("writing does not panic");
    let text = |bytes| String::from_utf8(bytes).expect("the program writes UTF-8");
    let code = output.status.code().expect("nobody killed the program");
    Ended { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

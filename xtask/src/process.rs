//! Running other programs.
//!
//! Owns how a child is started, timed, limited and reported. Invariant: a child that fails or cannot start becomes an
//! error that shows the command line. Talk goes to stderr, so that stdout stays the data of a command.

use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How often a child under a time limit is looked at. The limits are minutes; a tenth of a second adds nothing to them.
const POLL: Duration = Duration::from_millis(100);

/// One progress line.
pub(crate) fn say(text: impl std::fmt::Display) {
    eprintln!("xtask: {text}");
}

/// Runs `work`, and says how long it took.
pub(crate) fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(format_args!("{what} …"));
    let start = Instant::now();
    let done = work()?;
    say(format_args!("{what}: {:.1} s", start.elapsed().as_secs_f64()));
    Ok(done)
}

/// `cargo` as the caller of xtask would run it, free of what the outer `cargo run` put into the environment: a build
/// script that watches one of these variables would otherwise rebuild on each change between a shell and xtask.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
                || name == "CARGO"
                || name == "LD_LIBRARY_PATH"
        });
        if ours {
            command.env_remove(name);
        }
    }
    command
}

/// Runs to the end with our stdin, stdout and stderr; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    check(command, status)
}

/// Like [`run`], with stdout moved to stderr: for tools whose output is talk.
pub(crate) fn run_as_talk(command: &mut Command) -> Result<()> {
    run(command.stdout(std::io::stderr()))
}

/// Runs to the end and returns stdout as text; stderr is shown only on failure.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| cannot_start(command))?;
    succeeded(command, &output)?;
    String::from_utf8(output.stdout).with_context(|| format!("the output of {} is not UTF-8", shown(command)))
}

/// Like [`run_as_talk`], and ends the child when the limit has passed.
pub(crate) fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child =
        command.stdin(Stdio::null()).stdout(std::io::stderr()).spawn().with_context(|| cannot_start(command))?;
    match wait_within(&mut child, limit)? {
        Some(status) => check(command, status),
        None => bail!("{} did not end within {} s", shown(command), limit.as_secs()),
    }
}

fn wait_within(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// The file a program name stands for on PATH.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// A command that runs as root: directly, by sudo, or not at all. sudo may ask for a password only on a terminal.
pub(crate) fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root()? {
        return Ok(Command::new(program));
    }
    if which("sudo").is_none() {
        bail!("this needs root, and there is no sudo");
    }
    let mut command = Command::new("sudo");
    if !std::io::stdin().is_terminal() {
        command.arg("--non-interactive");
    }
    command.arg(program);
    Ok(command)
}

fn is_root() -> Result<bool> {
    Ok(capture(Command::new("id").arg("-u"))?.trim() == "0")
}

fn succeeded(command: &Command, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let talk = String::from_utf8_lossy(&output.stderr);
    bail!("{} failed with {}\n{}", shown(command), output.status, talk.trim_end())
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { bail!("{} failed with {status}", shown(command)) }
}

/// The command line as a person would type it, without quoting: it is read and not run again.
fn shown(command: &Command) -> String {
    let parts = std::iter::once(command.get_program()).chain(command.get_args());
    parts.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start {}", command.get_program().display())
}

#[cfg(test)]
mod tests {
    use super::{capture, run_within, which};
    use std::process::Command;
    use std::time::{Duration, Instant};

    #[test]
    fn a_child_over_its_limit_is_ended_and_the_error_says_so() {
        let start = Instant::now();
        let error = run_within(Command::new("sleep").arg("600"), Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not end within"), "{error}");
        assert!(start.elapsed() < Duration::from_mins(1));
    }

    #[test]
    fn a_failure_shows_the_command_and_what_it_said() {
        let error = capture(Command::new("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err().to_string();
        assert!(error.contains("sh") && error.contains("broken") && error.contains('3'), "{error}");
    }

    #[test]
    fn which_finds_programs_and_not_folders() {
        assert!(which("sh").is_some());
        assert_eq!(which("no-such-program-anywhere"), None);
        assert_eq!(which("."), None);
    }
}

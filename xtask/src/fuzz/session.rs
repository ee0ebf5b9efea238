//! One target, run until its time is over or a claim is broken.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::build::Binaries;
use super::progress::{Progress, is_reason};
use super::{Folders, Target};
use crate::process::say;

/// Between two lines of progress. libFuzzer itself says nothing for as long as it finds nothing.
const PULSE: Duration = Duration::from_secs(10);
/// What a run may take; one takes a millisecond. More is a loop that does not end, or time that grows with the square.
const RUN_SECONDS: u64 = 10;
/// What the process may take. The caps of all readers together stay far below it.
const MEMORY_MIB: u64 = 2048;
/// Lines of a failure that are shown; a diff of two decisions is long.
const MAX_LAST_WORDS: usize = 40;
/// Bytes of such a line: it may quote the whole input.
const MAX_WORDS: usize = 2000;

/// Lines that wait to be looked at. A target with more to say waits until they are.
const WAITING: usize = 1000;

/// What came of a run.
pub(super) struct Session {
    pub(super) progress: Progress,
    pub(super) outcome: Outcome,
    /// The broken claim.
    pub(super) last_words: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Held,
    Broke { bytes: PathBuf },
}

/// Runs a target. An error means that it could not be run.
pub(super) fn run(binaries: &Binaries, target: &Target, folders: &Folders, seconds: u64) -> Result<Session> {
    let mut binary = binaries.command(target);
    options(&mut binary, target, folders, seconds);
    let mut child = binary.spawn().with_context(|| format!("cannot start the target {}", target.name))?;
    let stderr = child.stderr.take().context("stderr is piped")?;
    let log = File::create(&folders.log).with_context(|| format!("cannot write {}", folders.log.display()))?;
    let (lines, heard) = sync_channel(WAITING);
    let reader = std::thread::spawn(move || relay(stderr, log, &lines));
    let (progress, last_words) = listen(target, &heard);
    reader.join().map_err(|_| anyhow::anyhow!("the reader of the target's output panicked"))??;
    let status = child.wait()?;
    let outcome = match &progress.broke {
        Some(bytes) if !status.success() => Outcome::Broke { bytes: bytes.clone() },
        _ if status.success() => Outcome::Held,
        _ => bail!("the target {} ended with {status}; see {}", target.name, folders.log.display()),
    };
    Ok(Session { progress, outcome, last_words })
}

fn options(binary: &mut Command, target: &Target, folders: &Folders, seconds: u64) {
    binary.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={}", target.max_len));
    binary
        .arg("-print_final_stats=1")
        .arg(format!("-timeout={RUN_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"));
    binary.arg(format!("-dict={}", folders.dictionary.display()));
    // A prefix is put before the name as it is.
    binary.arg(format!("-artifact_prefix={}/", folders.failures.display()));
    // What is found is written into the first folder; the others are read.
    binary.arg(&folders.found).arg(&folders.committed);
    binary.env("RUST_BACKTRACE", "0").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
}

/// Hands lines on as they come, and keeps all of them in the log.
fn relay(from: ChildStderr, mut log: File, lines: &SyncSender<String>) -> Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        log.write_all(&line)?;
        // A listener that is gone has a reason of its own; the log is still written.
        let _ = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
    Ok(())
}

/// Follows a run to its end, with a line from time to time.
fn listen(target: &Target, heard: &Receiver<String>) -> (Progress, Vec<String>) {
    let (start, mut progress, mut last_words) = (Instant::now(), Progress::default(), Vec::new());
    let (mut before, mut pulse) = (None::<String>, start + PULSE);
    loop {
        match heard.recv_timeout(pulse.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                progress.read(&line);
                if last_words.len() < MAX_LAST_WORDS && is_reason(&line, before.as_deref()) {
                    last_words.push(line.chars().take(MAX_WORDS).collect());
                }
                before = Some(line);
            }
            Err(RecvTimeoutError::Timeout) => {
                say(format_args!("fuzz: {} {} s: {progress}", target.name, start.elapsed().as_secs()));
                pulse += PULSE;
            }
            Err(RecvTimeoutError::Disconnected) => return (progress, last_words),
        }
    }
}

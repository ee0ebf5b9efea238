//! `bascule gateway` as a process, its log and where it listens: for the stories that need a process of
//! their own.

pub(crate) mod plane;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tests::binary::command;

use crate::rig::{eventually, get};

/// Lets this process, and those that it starts, have so many descriptors.
pub(crate) fn allow_descriptors(needed: usize) {
    let (limit, needed) = (getrlimit(Resource::Nofile), needed as u64);
    assert!(
        limit.maximum.is_none_or(|most| most >= needed),
        "this machine allows {limit:?} descriptors, {needed} are needed"
    );
    if limit.current.is_some_and(|now| now < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    }
}

/// A running gateway; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    pub(crate) listen: SocketAddr,
    pub(crate) ops: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that failed half-way leaves nothing behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// A gateway with one worker that serves a file; `settings` are variables without their prefix.
    pub(crate) fn start(file: &Path, listen: &str, settings: &[(&str, &str)]) -> Self {
        Self::start_as(file, listen, settings, |_| {})
    }

    /// The same, when more has to be done to its command.
    pub(crate) fn start_as(
        file: &Path,
        listen: &str,
        settings: &[(&str, &str)],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        Self::start_from(&["--file", &file.display().to_string()], listen, settings, change)
    }

    /// The same from another source.
    pub(crate) fn start_from(
        source: &[&str],
        listen: &str,
        settings: &[(&str, &str)],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = command(["gateway", "--listen", listen, "--ops", "127.0.0.1:0"]);
        command.args(source);
        command.env("BASCULE_LOG_FORMAT", "json").env("BASCULE_WORKERS", "1");
        for (name, value) in settings {
            command.env(format!("BASCULE_{name}"), value);
        }
        change(&mut command);
        let mut child = command.spawn().expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let log = Arc::new(Mutex::new(String::new()));
        let to = Arc::clone(&log);
        // Always read, so that the process never waits for its log.
        let reader = std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = to.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        // Owned from here on, so that it ends with the test whatever comes.
        let mut process = Self { child, log, reader: Some(reader), listen: nowhere, ops: nowhere };
        let up = process.logged("the gateway is up");
        let address = |name: &str| up["metadata"][name].as_str().and_then(|address| address.parse().ok());
        process.listen = address("listen").expect("an address");
        process.ops = address("ops").expect("an address");
        process
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a record with this message.
    #[track_caller]
    pub(crate) fn logged(&self, message: &str) -> Value {
        let find = || {
            let log = self.log();
            let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let found = records.into_iter().find(|record| record["message"] == message);
            let ended = self.reader.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(found.is_some() || !ended, "it ended: {log}");
            found.ok_or(log)
        };
        eventually(&format!("it says: {message}"), find, Result::is_ok).expect("it was found")
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.id().to_string()]).status();
        assert!(status.expect("kill is there").success());
    }

    /// The value of a series, by its name and labels as a scrape shows them; without a fraction.
    #[track_caller]
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let metrics = get(self.ops, "/metrics").body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let whole = value.and_then(|value| value.split('.').next()?.parse().ok());
        whole.unwrap_or_else(|| panic!("{series} is not a number in {metrics}"))
    }

    pub(crate) fn resident_bytes(&self) -> u64 {
        self.metric("process_resident_memory_bytes")
    }

    /// Waits for its end: exit code and all of the log.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("it ends");
        self.reader.take().expect("once").join().expect("reading does not panic");
        (status.code(), self.log())
    }
}

//! The access log: one JSON line per request, written by a thread of its own.
//!
//! It owns the bounded queue between the workers and that thread. Invariant: a worker never waits:
//! when the queue is full, because the disk or the reader of a pipe is slow, lines are dropped and
//! counted. It writes no query strings, no client addresses and no headers but the request id.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use edge_engine::RouteReason;
use serde::Serialize;

use crate::telemetry::{self, Record};

/// Lines that wait for the writer. At 100 000 requests a second it is 80 ms of a stalled disk; a
/// line is about 400 bytes, so a full queue is about 3 MiB.
const QUEUE: usize = 8192;

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

/// One answered request.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Request id, as sent to upstream and client.
    pub request_id: &'a str,
    /// Method.
    pub method: &'a str,
    /// Host, lower-case, without port.
    pub host: &'a str,
    /// Path without query.
    pub path: &'a str,
    /// Status sent to the client.
    pub status: u16,
    /// Time until the response head was handed to the client's connection.
    pub elapsed: Duration,
    /// App and environment, when a host was found.
    pub environment: Option<(&'a str, &'a str)>,
    /// The release that answered, and why.
    pub release: Option<(&'a str, RouteReason)>,
    /// Code of the problem that the gateway itself answered with.
    pub problem: Option<&'a str>,
}

/// Where entries go. One per process; `write` must not block.
pub trait AccessLog: Send + Sync {
    /// Takes one entry.
    fn write(&self, entry: &Entry<'_>);
}

/// The `metadata` of a line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    status: u16,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

/// The workers' side; a clone shares the queue.
#[derive(Debug, Clone)]
pub struct JsonLines {
    queue: SyncSender<Box<str>>,
    dropped: Arc<AtomicU64>,
    /// Of requests that no environment has a host for.
    environment: Arc<str>,
}

/// The thread's side. Dropping it when every [`JsonLines`] is gone waits until all is written.
#[derive(Debug)]
pub struct Writer {
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // It ends when the queue is empty and closed; a panic in it was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl JsonLines {
    /// Opens the destination and starts the writer. `environment` is where this process runs, for
    /// requests that belong to none.
    pub fn start(to: &Destination, environment: &str) -> io::Result<(Self, Writer)> {
        let sink: Box<dyn Write + Send> = match to {
            Destination::Stdout => Box::new(io::stdout()),
            Destination::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        Self::start_with(sink, QUEUE, environment)
    }

    fn start_with(sink: Box<dyn Write + Send>, capacity: usize, environment: &str) -> io::Result<(Self, Writer)> {
        let (queue, lines) = sync_channel(capacity);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&lines, BufWriter::new(sink), &lost))?;
        Ok((Self { queue, dropped, environment: environment.into() }, Writer { thread: Some(thread) }))
    }

    /// How many lines were lost.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl AccessLog for JsonLines {
    fn write(&self, entry: &Entry<'_>) {
        match self.queue.try_send(self.line(entry)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl JsonLines {
    fn line(&self, entry: &Entry<'_>) -> Box<str> {
        let metadata = Metadata {
            method: entry.method,
            host: entry.host,
            path: entry.path,
            status: entry.status,
            duration_ms: milliseconds(entry.elapsed),
            app: entry.environment.map(|(app, _)| app),
            release: entry.release.map(|(release, _)| release),
            reason: entry.release.map(|(_, reason)| reason.as_str()),
            problem: entry.problem,
        };
        let record = Record {
            timestamp: &telemetry::timestamp(jiff::Timestamp::now()),
            level: "info",
            message: "request",
            service: telemetry::SERVICE,
            environment: entry.environment.map_or(&*self.environment, |(_, environment)| environment),
            user_id: None,
            request_id: (!entry.request_id.is_empty()).then_some(entry.request_id),
            metadata: Some(metadata),
        };
        let mut line = serde_json::to_string(&record).expect("strings and finite numbers always serialise");
        line.push('\n');
        line.into_boxed_str()
    }
}

/// With microseconds and no more: 1.234.
fn milliseconds(time: Duration) -> f64 {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}

/// Writes what is there, and flushes when nothing more is, so that a quiet log is up to date.
fn write_all(lines: &Receiver<Box<str>>, mut sink: impl Write, lost: &AtomicU64) {
    let mut failing = false;
    while let Ok(first) = lines.recv() {
        let mut batch = 0;
        let mut next = Ok(first);
        let result = loop {
            match next {
                Ok(line) => {
                    batch += 1;
                    if let Err(error) = sink.write_all(line.as_bytes()) {
                        break Err(error);
                    }
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break sink.flush(),
            }
            next = lines.try_recv();
        };
        if let Err(error) = &result {
            lost.fetch_add(batch, Ordering::Relaxed);
            if !failing {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    "the access log cannot be written; lines are lost"
                );
            }
            // The disk will not be free in the next microsecond.
            std::thread::sleep(Duration::from_millis(100));
        }
        failing = result.is_err();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::*;

    fn entry() -> Entry<'static> {
        Entry {
            request_id: "r-1",
            method: "GET",
            host: "shop.example",
            path: "/cart",
            status: 200,
            elapsed: Duration::from_micros(1250),
            environment: Some(("web", "production")),
            release: Some(("web-1.5.0", RouteReason::Split)),
            problem: None,
        }
    }

    fn start(sink: impl Write + Send + 'static, capacity: usize) -> (JsonLines, Writer) {
        JsonLines::start_with(Box::new(sink), capacity, "here").expect("a thread")
    }

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panics").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_request_is_one_json_line_in_the_shape_of_a_log_record() {
        let memory = Memory::default();
        let (log, writer) = start(memory.clone(), 16);
        log.write(&entry());
        log.write(&Entry { path: "/a\nb\"", environment: None, ..entry() });
        drop(log);
        drop(writer);
        let text = String::from_utf8(memory.0.lock().expect("done").clone()).expect("text");
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["environment"], "production");
        assert_eq!(lines[0]["requestId"], "r-1");
        assert_eq!(lines[0]["metadata"]["durationMs"], 1.25);
        assert_eq!(lines[0]["metadata"]["reason"], "SPLIT");
        assert_eq!(lines[1]["environment"], "here");
        assert_eq!(lines[1]["metadata"]["path"], "/a\nb\"");
    }

    /// Says that it was entered and blocks until the test lets it go.
    struct Stuck {
        entered: mpsc::SyncSender<()>,
        go: mpsc::Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.entered.send(());
            let _ = self.go.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_is_stuck_costs_lines_and_not_time() {
        let ((entered, is_entered), (release, go)) = (mpsc::sync_channel(100), mpsc::sync_channel(0));
        let (log, writer) = start(Stuck { entered, go }, 4);
        log.write(&entry());
        is_entered.recv().expect("the writer takes the first line");
        for _ in 0..100 {
            log.write(&entry());
        }
        assert_eq!(log.dropped(), 96, "four wait");
        drop(release);
        drop(log);
        drop(writer);
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_refuses_are_counted() {
        let (log, writer) = start(Full, 16);
        log.write(&entry());
        let dropped = Arc::clone(&log.dropped);
        drop(log);
        drop(writer);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}

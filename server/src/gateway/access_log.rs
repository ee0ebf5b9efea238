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

/// A request that was answered, or given up.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Access<'a> {
    /// The app.
    pub app: &'a str,
    /// The environment; it becomes the record's.
    #[serde(skip)]
    pub environment: &'a str,
    /// The request's id; it becomes the record's.
    #[serde(skip)]
    pub request_id: &'a str,
    /// The release that answered.
    pub release: &'a str,
    /// Its slot.
    pub slot: &'a str,
    /// Why this release.
    pub reason: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path without the query.
    pub path: &'a str,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'a str,
    /// The status that the client got.
    pub status: u16,
    /// From the request's head to the response's head.
    pub duration_ms: f64,
    /// The snapshot that decided.
    pub snapshot: u64,
}

/// The workers' side; a clone shares the queue.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: SyncSender<Box<str>>,
    dropped: Arc<AtomicU64>,
}

/// The thread's side. Dropping it when every [`AccessLog`] is gone waits until all is written.
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

impl AccessLog {
    /// Opens the destination and starts the writer.
    pub fn start(to: &Destination) -> io::Result<(Self, Writer)> {
        let sink: Box<dyn Write + Send> = match to {
            Destination::Stdout => Box::new(io::stdout()),
            Destination::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        Self::start_with(sink, QUEUE)
    }

    fn start_with(sink: Box<dyn Write + Send>, capacity: usize) -> io::Result<(Self, Writer)> {
        let (queue, lines) = sync_channel(capacity);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&lines, BufWriter::new(sink), &lost))?;
        Ok((Self { queue, dropped }, Writer { thread: Some(thread) }))
    }

    /// Writes a request down, unless the writer is too far behind.
    pub fn record(&self, access: &Access<'_>) {
        let line = format_line(access);
        match self.queue.try_send(line) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// How many lines were lost.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn format_line(access: &Access<'_>) -> Box<str> {
    let record = Record {
        timestamp: &telemetry::timestamp(jiff::Timestamp::now()),
        level: "info",
        message: "request",
        service: telemetry::SERVICE,
        environment: access.environment,
        user_id: None,
        request_id: (!access.request_id.is_empty()).then_some(access.request_id),
        metadata: Some(access),
    };
    let mut line = serde_json::to_string(&record).expect("strings and finite numbers always serialise");
    line.push('\n');
    line.into_boxed_str()
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
                tracing::error!(error = error as &dyn std::error::Error, "the access log cannot be written; lines are lost");
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

    fn access() -> Access<'static> {
        Access {
            app: "web",
            environment: "production",
            request_id: "r-1",
            release: "web-1.5.0",
            slot: "green",
            reason: "SPLIT",
            method: "GET",
            path: "/cart",
            protocol: "HTTP/1.1",
            status: 200,
            duration_ms: 1.25,
            snapshot: 7,
        }
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
        let (log, writer) = AccessLog::start_with(Box::new(memory.clone()), 16).expect("a thread");
        log.record(&access());
        log.record(&Access { path: "/a\nb\"", ..access() });
        drop(log);
        drop(writer);
        let text = String::from_utf8(memory.0.lock().expect("done").clone()).expect("text");
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["environment"], "production");
        assert_eq!(lines[0]["requestId"], "r-1");
        assert_eq!(lines[0]["metadata"]["durationMs"], 1.25);
        assert_eq!(lines[1]["metadata"]["path"], "/a\nb\"");
    }

    /// Blocks in its first write until the test lets it go.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            let _ = self.0.recv();
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_is_stuck_costs_lines_and_not_time() {
        let (release, stuck) = mpsc::channel();
        let (log, writer) = AccessLog::start_with(Box::new(Stuck(stuck)), 4).expect("a thread");
        // One line is with the writer at most, four wait, all others are dropped.
        for _ in 0..100 {
            log.record(&access());
        }
        assert!((95..=96).contains(&log.dropped()), "{}", log.dropped());
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
        let (log, writer) = AccessLog::start_with(Box::new(Full), 16).expect("a thread");
        log.record(&access());
        let dropped = Arc::clone(&log.dropped);
        drop(log);
        drop(writer);
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}

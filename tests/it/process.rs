//! The gateway as a process: signals, restarts, logs and what must never be in them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::live::{Client, Origin, manifest};
use crate::rig::get;
use crate::running::Process;

fn served(blue: &Origin) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("bascule.yaml");
    std::fs::write(&file, manifest(blue.address, blue.address, "0", "")).expect("writable");
    (folder, file)
}

#[test]
fn a_restart_beside_the_successor_loses_no_request() {
    let blue = Origin::start("blue");
    let (_folder, file) = served(&blue);
    let old = Process::start(&file, "127.0.0.1:0", &[]);
    let address = old.listen;
    let (is_done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    // The successor outlives the clients, who end with the scope.
    let new = std::thread::scope(|scope| {
        let _end = End(&is_done);
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = Client::new(address);
                while !is_done.load(Ordering::SeqCst) {
                    let (status, _) = connection.get("user").expect("no request is lost");
                    assert_eq!(status, 200);
                    answered.fetch_add(1, Ordering::SeqCst);
                    if connection.is_closing() {
                        connection = Client::new(address);
                    }
                }
            });
        }
        until(&answered, 500);
        let new = Process::start(&file, &address.to_string(), &[]);
        old.signal("-TERM");
        let (code, log) = old.end();
        assert_eq!(code, Some(0), "{log}");
        until(&answered, answered.load(Ordering::SeqCst) + 500);
        new
    });
    assert_eq!(get(new.ops, "/readyz").status, 200);
}

fn until(count: &AtomicUsize, at_least: usize) {
    crate::rig::eventually("requests go on", || count.load(Ordering::SeqCst), |seen| *seen >= at_least);
}

/// Sets the flag when it goes, however that happens.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_draining_process_finishes_a_request_is_not_ready_and_ends_well() {
    let blue = Origin::start("blue");
    let (_folder, file) = served(&blue);
    blue.is_held.store(true, Ordering::SeqCst);
    let process = Process::start(&file, "127.0.0.1:0", &[]);
    let (listen, ops) = (process.listen, process.ops);
    let request = std::thread::spawn(move || Client::new(listen).get("user"));
    crate::rig::eventually(
        "the origin has the request",
        || blue.waiting.load(Ordering::SeqCst),
        |waiting| *waiting == 1,
    );
    process.signal("-TERM");
    let unready = || get(ops, "/readyz").status;
    crate::rig::eventually("it is not ready", unready, |status| *status == 503);
    blue.is_held.store(false, Ordering::SeqCst);
    assert_eq!(request.join().expect("no panic").expect("answered"), (200, "blue".to_owned()));
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_second_signal_ends_at_once_with_the_code_of_a_timeout() {
    let blue = Origin::start("blue");
    let (_folder, file) = served(&blue);
    blue.is_held.store(true, Ordering::SeqCst);
    let process = Process::start(&file, "127.0.0.1:0", &[]);
    let listen = process.listen;
    let request = std::thread::spawn(move || Client::new(listen).get("user"));
    crate::rig::eventually(
        "the origin has the request",
        || blue.waiting.load(Ordering::SeqCst),
        |waiting| *waiting == 1,
    );
    let ops = process.ops;
    process.signal("-TERM");
    crate::rig::eventually("it drains", || get(ops, "/readyz").status, |status| *status == 503);
    let asked = Instant::now();
    process.signal("-INT");
    let (code, log) = process.end();
    assert_eq!(code, Some(12), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert!(request.join().expect("no panic").is_err(), "the request was cut");
    blue.is_held.store(false, Ordering::SeqCst);
}

#[test]
fn the_log_has_exactly_the_agreed_fields_and_no_secret_at_any_level() {
    let blue = Origin::start("blue");
    let (folder, file) = served(&blue);
    let access = folder.path().join("access.log");
    let key = "00112233445566778899aabbccddeeff";
    let settings = [
        ("LOG_LEVEL", "trace"),
        ("BUCKETING_KEY", key),
        ("ACCESS_LOG", access.to_str().expect("UTF-8")),
        ("STATE_DIR", folder.path().to_str().expect("UTF-8")),
    ];
    let process = Process::start(&file, "127.0.0.1:0", &settings);
    let mut client = Client::new(process.listen);
    let secrets =
        "cookie: session=canary-cookie\r\nauthorization: Bearer canary-token\r\nx-forwarded-for: 203.0.113.77\r\n";
    let target = "/cart?token=canary-query";
    assert_eq!(
        client.send(&format!("GET {target} HTTP/1.1\r\nhost: shop.example\r\n{secrets}\r\n")).expect("answered").0,
        200
    );
    // Refused, and perhaps said so.
    let broken = format!("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n{secrets}\r\n");
    let _ = Client::new(process.listen).send(&broken);
    std::fs::write(&file, "app: [").expect("writable");
    let refused = || get(process.ops, "/metrics").body.contains("bascule_snapshots_refused_total{source=");
    crate::rig::eventually("the file is refused", refused, |refused| *refused);
    let metrics = get(process.ops, "/metrics").body;
    let health = get(process.ops, "/api/health").body;
    process.signal("-TERM");
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "{log}");
    let lines = std::fs::read_to_string(&access).expect("written");

    for (what, text) in [("log", &log), ("access log", &lines), ("metrics", &metrics), ("health", &health)] {
        for secret in ["canary", key, "203.0.113.77"] {
            assert!(!text.contains(secret), "{secret} is in the {what}:\n{text}");
        }
    }
    let known = ["timestamp", "level", "message", "service", "environment", "userId", "requestId", "metadata"];
    for line in log.lines().chain(lines.lines()) {
        let record: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let fields: Vec<_> = record.as_object().expect("an object").keys().collect();
        assert!(fields.iter().all(|field| known.contains(&field.as_str())), "{line}");
        assert!(known[..5].iter().all(|field| record[*field].is_string()), "{line}");
    }
    let record: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        (&record["environment"], &record["metadata"]["path"]),
        (&"production".into(), &"/cart".into()),
        "{record}"
    );
    assert_eq!(
        (&record["metadata"]["release"], &record["metadata"]["status"]),
        (&"web-1".into(), &200.into()),
        "{record}"
    );
    assert!(record["requestId"].is_string(), "{record}");
}

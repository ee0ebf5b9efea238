//! A restart beside the successor, under load by a program that counts every connection that is reset and every
//! request that is not answered.

use std::time::Duration;

use tests::Wrk;

use crate::live::{Origin, manifest};
use crate::rig::eventually;
use crate::running::Process;

const RESTARTS: usize = 3;

/// Restarts a gateway several times under load; how many requests were answered.
fn restart_under(connections: usize, fields: &[&str]) -> u64 {
    let origin = Origin::start("blue");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bascule.yaml");
    std::fs::write(&file, manifest(origin.address, origin.address, "0", "")).unwrap();
    let settings = [("WORKERS", "2")];
    let mut current = Process::start(&file, "127.0.0.1:0", &settings);
    let address = current.listen;
    let load = Wrk::start(address, "shop.example", connections, fields);
    let is_loaded = |process: &Process| {
        let opened = || process.metric("bascule_connections_total");
        eventually("the load is here", opened, |opened| *opened >= connections as u64 / 4);
        std::thread::sleep(Duration::from_millis(300));
    };
    is_loaded(&current);
    for _ in 0..RESTARTS {
        let next = Process::start(&file, &address.to_string(), &settings);
        current.signal("-TERM");
        let (code, log) = current.end();
        assert_eq!(code, Some(0), "{log}");
        current = next;
        is_loaded(&current);
    }
    load.end()
}

#[test]
fn restarts_under_load_on_connections_that_are_kept_lose_not_one_request() {
    let answered = restart_under(64, &[]);
    assert!(answered > 1_000, "{answered} requests are no load");
}

#[test]
fn restarts_under_load_with_a_connection_per_request_lose_not_one_request() {
    let answered = restart_under(16, &["connection: close"]);
    assert!(answered > 1_000, "{answered} requests are no load");
}

//! The ops listener: what probes and scrapers see, and what a hostile peer can do to it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::rig::{Rig, Setup, eventually, manifest, request};

fn started() -> Rig {
    Setup::new().file("bascule.yaml", Some(&manifest("1.0.0"))).start()
}

#[test]
fn an_edge_with_a_snapshot_is_live_ready_and_healthy() {
    let rig = started();
    assert_eq!((rig.get("/livez").status, rig.get("/readyz").status), (200, 200));
    let health = rig.get("/api/health");
    assert_eq!(health.status, 200);
    assert!(health.head.contains("content-type: application/json"), "{}", health.head);
    assert!(health.head.contains("cache-control: no-store"), "{}", health.head);
    let json = rig.health_json();
    let mut keys: Vec<_> = json.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["checks", "status", "timestamp"]);
    assert_eq!(json["checks"]["snapshot:web/production"]["number"], 1);
    assert_eq!(json["checks"]["snapshot:web/production"]["status"], "healthy");
}

#[test]
fn an_edge_that_never_had_a_snapshot_is_live_but_neither_ready_nor_healthy() {
    let rig = Setup::new().file("bascule.yaml", None).start();
    assert_eq!(rig.get("/livez").status, 200);
    assert_eq!((rig.get("/readyz").status, rig.get("/api/health").status), (503, 503));
    std::fs::write(rig.path("bascule.yaml"), manifest("1.0.0")).expect("writable");
    let statuses = || (rig.get("/readyz").status, rig.get("/api/health").status);
    eventually("it is ready and healthy", statuses, |statuses| *statuses == (200, 200));
    assert_eq!(rig.only(), Some((1, "1.0.0".to_owned())));
}

#[test]
fn a_draining_edge_is_live_and_healthy_but_not_ready() {
    let rig = started();
    rig.draining.cancel();
    let ready = rig.get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (503, "draining\n"));
    assert_eq!((rig.get("/livez").status, rig.get("/api/health").status), (200, 200));
}

#[test]
fn metrics_are_in_the_open_metrics_format() {
    let rig = started();
    let metrics = rig.get("/metrics");
    assert!(metrics.head.contains("application/openmetrics-text; version=1.0.0"), "{}", metrics.head);
    assert!(metrics.body.ends_with("# EOF\n"));
    assert!(metrics.body.contains("bascule_snapshot_number{app=\"web\",environment=\"production\"} 1.0\n"));
    assert!(metrics.body.contains("engine=\"native\"} 1.0\n"));
}

#[test]
fn other_paths_and_methods_are_refused() {
    let rig = started();
    let address = rig.control.ops_address();
    assert_eq!(rig.get("/").status, 404);
    assert_eq!(rig.get("/api/health/../metrics").status, 404);
    let post = request(address, "POST /livez HTTP/1.1\r\nhost: ops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: get, head"), "{}", post.head);
    let head = request(address, "HEAD /livez HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn a_slow_head_is_cut_and_many_silent_peers_do_not_keep_a_probe_out_for_ever() {
    let rig = started();
    let address = rig.control.ops_address();
    let silent: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(address).expect("connectable");
            // Beyond the cap the connection is closed already; that is fine here.
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nx-slow: ");
            stream
        })
        .collect();
    let started = Instant::now();
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(15))).expect("settable");
        // An answer (408) or an end; never silence for ever.
        let mut bytes = Vec::new();
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
    }
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(rig.get("/livez").status, 200);
}

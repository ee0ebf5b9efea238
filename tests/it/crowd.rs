//! Ten thousand connections that wait: what each costs, and that others notice nothing.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::live::{Client, Origin, manifest};
use crate::rig::eventually;
use crate::running::{Process, allow_descriptors};

const CONNECTIONS: usize = 10_000;
/// No address has more than the cap of one client, nor more than there are ports.
const PER_ADDRESS: usize = 1_000;
/// Bytes of the gateway's memory for a connection that has sent nothing yet, unoptimised.
const FRESH_BYTES: u64 = 16 << 10;
/// The same for a connection that waits for its next request: the parser keeps its buffer, 8 KiB.
const KEPT_BYTES: u64 = 24 << 10;

fn connect(n: usize, address: SocketAddr) -> TcpStream {
    let last = u8::try_from(2 + n / PER_ADDRESS).unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let tcp = TcpStream::from(socket);
    tcp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    tcp
}

/// One request, whose answer is short enough to come in one piece.
fn ask(tcp: &mut TcpStream) {
    tcp.write_all(b"GET / HTTP/1.1\r\nhost: shop.example\r\nx-user-id: one-of-many\r\n\r\n").unwrap();
    let (mut answer, mut space) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(b"\r\n\r\nblue") {
        let n = tcp.read(&mut space).unwrap();
        assert!(n > 0, "closed after {}", answer.escape_ascii());
        answer.extend_from_slice(&space[..n]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", answer.escape_ascii());
}

/// Others are served while the crowd waits.
fn others_are_served(process: &Process) {
    let from = Instant::now();
    for _ in 0..20 {
        assert_eq!(Client::new(process.listen).get("somebody").unwrap(), (200, "blue".to_owned()));
    }
    // Milliseconds; the rest is a busy machine.
    assert!(from.elapsed() < Duration::from_secs(10), "{:?}", from.elapsed());
}

#[test]
fn ten_thousand_waiting_connections_cost_little_memory_keep_nobody_out_and_end_with_the_gateway() {
    allow_descriptors(CONNECTIONS + 2_000);
    let origin = Origin::start("blue");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bascule.yaml");
    std::fs::write(&file, manifest(origin.address, origin.address, "0", "")).unwrap();
    let settings = [("WORKERS", "2"), ("TIMEOUTS_IDLE", "10m")];
    let process = Process::start(&file, "127.0.0.1:0", &settings);
    others_are_served(&process);
    let before = process.resident_bytes();
    let each = |now: u64| now.saturating_sub(before) / CONNECTIONS as u64;

    let mut crowd: Vec<TcpStream> = (0..CONNECTIONS).map(|n| connect(n, process.listen)).collect();
    let open = || process.metric("bascule_connections_open");
    eventually("all are accepted", open, |open| *open >= CONNECTIONS as u64);
    let fresh = each(process.resident_bytes());
    others_are_served(&process);

    crowd.iter_mut().for_each(ask);
    let kept = each(process.resident_bytes());
    others_are_served(&process);
    eprintln!("bytes for each of {CONNECTIONS} connections: {fresh} fresh, {kept} kept after a request");
    assert!(fresh < FRESH_BYTES, "{fresh} bytes for a fresh connection");
    assert!(kept < KEPT_BYTES, "{kept} bytes for a connection that is kept");

    process.signal("-TERM");
    for tcp in &mut crowd {
        assert_eq!(tcp.read(&mut [0; 1]).unwrap(), 0, "closed in order, without a reset");
    }
    let (code, log) = process.end();
    assert_eq!(code, Some(0), "{log}");
}

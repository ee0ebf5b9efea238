//! The one retry: on a fresh connection, where it can do no harm, and never a second time.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use server::gateway::metrics::Event;
use tests::world::HOST;
use tests::{Client, Origin, World};

/// What an upstream does with a connection that has served one request, when the next one begins to arrive.
#[derive(Clone, Copy)]
enum Then {
    /// Closes without having read it: what a keep-alive timeout does at the wrong moment.
    CloseUnread,
    /// Reads it whole and closes: it may have acted on it.
    CloseAfterReading,
}

/// An upstream that serves one request per connection and does not say so.
struct Fickle {
    address: SocketAddr,
    /// The first lines of all requests that were read, by connection.
    read: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Fickle {
    /// `serves`: how many requests a connection answers before it closes under the next.
    fn start(serves: usize, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let read: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let log = Arc::clone(&read);
        // Threads end with the process, or when the gateway closes its connections.
        std::thread::spawn(move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                let at = {
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    log.push(Vec::new());
                    log.len() - 1
                };
                let log = Arc::clone(&log);
                std::thread::spawn(move || {
                    let note = |line: String| log.lock().unwrap_or_else(PoisonError::into_inner)[at].push(line);
                    serve(&tcp, serves, then, note)
                });
            }
        });
        Self { address, read }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// By connection.
    fn read(&self) -> Vec<Vec<String>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn times_read(&self, line: &str) -> usize {
        self.read().iter().flatten().filter(|read| read.starts_with(line)).count()
    }
}

fn serve(tcp: &TcpStream, serves: usize, then: Then, note: impl Fn(String)) -> std::io::Result<()> {
    let mut reader = BufReader::new(tcp.try_clone()?);
    for _ in 0..serves {
        note(read_request(&mut reader)?);
        (&*tcp).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
    }
    // The first byte of the next request is here; nothing of it is read yet.
    tcp.peek(&mut [0; 1])?;
    if let Then::CloseAfterReading = then {
        note(read_request(&mut reader)?);
    }
    tcp.shutdown(std::net::Shutdown::Both)
}

/// Reads a request with its body; its first line.
fn read_request(reader: &mut impl std::io::BufRead) -> std::io::Result<String> {
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first)?;
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length])?;
    if first.is_empty() { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(first) }
}

fn world(url: &str) -> World {
    // One worker, so that one pool; and connections that the gateway itself does not give up.
    let builder = World::of(url, url).config(|config| {
        config.workers = 1;
        config.data.upstream.pool_idle = Duration::from_mins(10);
    });
    builder.start()
}

fn ask(client: &mut Client, request: &str, body: &str) -> u16 {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    client.send(format!("{request} HTTP/1.1\r\nhost: {HOST}\r\n{length}\r\n{body}")).response().status
}

#[test]
fn a_repeatable_request_on_a_connection_that_closes_under_it_is_answered_by_a_fresh_one() {
    for then in [Then::CloseUnread, Then::CloseAfterReading] {
        let upstream = Fickle::start(1, then);
        let world = world(&upstream.url());
        let mut client = world.client();
        assert_eq!(ask(&mut client, "GET /first", ""), 200);
        for (turn, method) in ["GET", "OPTIONS", "DELETE", "PUT", "GET"].into_iter().enumerate() {
            assert_eq!(ask(&mut client, &format!("{method} /{turn}"), ""), 200, "{method}");
            assert_eq!(world.count(Event::Retried), turn as u64 + 1, "{method} was tried again once");
            assert_eq!(upstream.read().len(), turn + 2, "{method} cost one fresh connection");
        }
    }
}

#[test]
fn what_must_not_be_repeated_is_answered_by_a_502_and_never_reaches_an_upstream_twice() {
    for then in [Then::CloseUnread, Then::CloseAfterReading] {
        let upstream = Fickle::start(1, then);
        let world = world(&upstream.url());
        let mut client = world.client();
        for (request, body) in [("POST /with-body", "hi"), ("POST /without", ""), ("PATCH /p", "hi"), ("PUT /b", "hi")]
        {
            // Leaves one connection in the pool, which closes under the request.
            assert_eq!(ask(&mut client, "GET /first", ""), 200);
            let connections = upstream.read().len();
            assert_eq!(ask(&mut client, request, body), 502, "{request}");
            assert_eq!(upstream.read().len(), connections, "{request} was tried on one connection");
            assert!(upstream.times_read(request) <= 1, "{request}: {:?}", upstream.read());
        }
        assert_eq!(world.count(Event::Retried), 0);
    }
}

#[test]
fn a_fresh_connection_that_closes_is_not_tried_again() {
    let upstream = Fickle::start(0, Then::CloseAfterReading);
    let world = world(&upstream.url());
    assert_eq!(ask(&mut world.client(), "GET /", ""), 502);
    assert_eq!((upstream.read().len(), world.count(Event::Retried)), (1, 0));
}

#[test]
fn a_retry_that_fails_is_the_last() {
    // Serves the very first request, and closes under every later one, also on fresh connections.
    let first = std::sync::atomic::AtomicBool::new(true);
    let origin = Origin::scripted(move |exchange| {
        if first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return exchange.ok("ok");
        }
        Err(std::io::ErrorKind::Other.into())
    });
    let world = world(&origin.url());
    let mut client = world.client();
    assert_eq!(ask(&mut client, "GET /first", ""), 200);
    assert_eq!(ask(&mut client, "GET /again", ""), 502);
    assert_eq!(origin.seen().iter().filter(|seen| seen.target() == "/again").count(), 2, "once, and once more");
    assert_eq!(world.count(Event::Retried), 1);
}

#[test]
fn connections_that_were_closed_while_they_were_idle_cost_no_request_of_any_kind() {
    let origin = Origin::named("blue");
    let world = world(&origin.url());
    let mut client = world.client();
    assert_eq!(ask(&mut client, "GET /first", ""), 200);
    for turn in 0..20 {
        // The gateway may or may not have noticed; either way the client must not.
        origin.hang_up();
        assert_eq!(ask(&mut client, "GET /", ""), 200, "{turn}");
    }
}

//! A whole gateway in this process, with origins and clients on real sockets: for the stories about
//! health, the breaker and swaps under load.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use server::config::Config;
use server::config::layers::Layers;
use server::gateway::start::Gateway;
use server::lifecycle::Lifecycle;

/// Answers every request on every connection with its name, or with 503 when it is sick.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) is_sick: Arc<AtomicBool>,
    /// While set, requests wait for their answer.
    pub(crate) is_held: Arc<AtomicBool>,
    /// How many requests wait.
    pub(crate) waiting: Arc<AtomicUsize>,
}

#[derive(Clone)]
struct Conduct {
    is_sick: Arc<AtomicBool>,
    is_held: Arc<AtomicBool>,
    waiting: Arc<AtomicUsize>,
}

impl Origin {
    pub(crate) fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let conduct = Conduct { is_sick: Arc::default(), is_held: Arc::default(), waiting: Arc::default() };
        let Conduct { is_sick, is_held, waiting } = conduct.clone();
        // Threads end with the process, or when the gateway closes its connections.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let conduct = conduct.clone();
                std::thread::spawn(move || serve(stream, name, &conduct));
            }
        });
        Self { address, is_sick, is_held, waiting }
    }
}

fn serve(stream: TcpStream, name: &str, conduct: &Conduct) {
    let _ = stream.set_nodelay(true);
    let Ok(mut out) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream).lines();
    loop {
        // Requests without a body end with an empty line.
        if lines.by_ref().map_while(Result::ok).find(String::is_empty).is_none() {
            return;
        }
        conduct.waiting.fetch_add(1, Ordering::SeqCst);
        while conduct.is_held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        conduct.waiting.fetch_sub(1, Ordering::SeqCst);
        let status = if conduct.is_sick.load(Ordering::SeqCst) { "503 Service Unavailable" } else { "200 OK" };
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        if out.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

/// Starts a gateway that serves a file, by settings as their variables name them.
pub(crate) fn gateway(settings: &[(&str, String)]) -> Gateway {
    let mut variables: BTreeMap<String, String> =
        settings.iter().map(|(name, value)| (format!("BASCULE_{name}"), value.clone())).collect();
    for name in ["LISTEN", "OPS"] {
        variables.entry(format!("BASCULE_{name}")).or_insert_with(|| "127.0.0.1:0".to_owned());
    }
    let layers = Layers { variables, ..Layers::default() };
    let config = Config::read(&layers).expect("the test's settings are right");
    Gateway::start(&config, &Lifecycle::new()).expect("it starts")
}

/// A client with one connection that it keeps.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    is_closing: bool,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        // It listens once its workers have a snapshot, which takes longer on a busy machine.
        let began = Instant::now();
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(_) if began.elapsed() < Duration::from_secs(20) => std::thread::sleep(Duration::from_millis(10)),
                Err(error) => panic!("the gateway listens: {error}"),
            }
        };
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("settable");
        stream.set_nodelay(true).expect("settable");
        Self { stream: BufReader::new(stream), is_closing: false }
    }

    /// Whether the last answer said that the connection ends with it.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Status and body.
    pub(crate) fn get(&mut self, user: &str) -> std::io::Result<(u16, String)> {
        self.send(&format!("GET / HTTP/1.1\r\nhost: shop.example\r\nx-user-id: {user}\r\n\r\n"))
    }

    /// Status and body.
    pub(crate) fn send(&mut self, request: &str) -> std::io::Result<(u16, String)> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no status line: {line:?}")))?;
        let mut length = 0;
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line == "\r\n" {
                break;
            }
            self.is_closing |= line.to_ascii_lowercase().starts_with("connection: close");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// A manifest with a candidate.
pub(crate) fn manifest(blue: SocketAddr, green: SocketAddr, weight: &str, more: &str) -> String {
    format!(
        "app: web
environments:
  production:
    hosts: [shop.example]
    unit: [header:x-user-id]
    traffic: {{active: blue, slots: {{blue: web-1, green: web-2}}, candidateWeight: {weight}}}
{more}releases:
  web-1: {{version: 1.0.0, upstreams: [{{url: \"http://{blue}\"}}]}}
  web-2: {{version: 2.0.0, upstreams: [{{url: \"http://{green}\"}}]}}
"
    )
}

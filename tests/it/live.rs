//! A whole gateway in this process, with origins and clients on real sockets: for the stories about
//! health, the breaker and swaps under load.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use server::config::Config;
use server::config::layers::Layers;
use server::gateway::start::Gateway;
use server::lifecycle::Lifecycle;

/// Answers every request on every connection with its name, or with 503 when it is sick.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) is_sick: Arc<AtomicBool>,
}

impl Origin {
    pub(crate) fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let is_sick = Arc::new(AtomicBool::new(false));
        let sick = Arc::clone(&is_sick);
        // Threads end with the process, or when the gateway closes its connections.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let sick = Arc::clone(&sick);
                std::thread::spawn(move || serve(stream, name, &sick));
            }
        });
        Self { address, is_sick }
    }
}

fn serve(stream: TcpStream, name: &str, is_sick: &AtomicBool) {
    let _ = stream.set_nodelay(true);
    let Ok(mut out) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream).lines();
    loop {
        // Requests without a body end with an empty line.
        if lines.by_ref().map_while(Result::ok).find(String::is_empty).is_none() {
            return;
        }
        let status = if is_sick.load(Ordering::SeqCst) { "503 Service Unavailable" } else { "200 OK" };
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
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("settable");
        stream.set_nodelay(true).expect("settable");
        Self { stream: BufReader::new(stream) }
    }

    /// Status and body.
    pub(crate) fn get(&mut self, user: &str) -> std::io::Result<(u16, String)> {
        let request = format!("GET / HTTP/1.1\r\nhost: shop.example\r\nx-user-id: {user}\r\n\r\n");
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

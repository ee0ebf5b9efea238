//! A scripted upstream on a port of its own: reads requests strictly, remembers them, and answers as
//! told, byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A request as the upstream read it.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The request line.
    pub line: String,
    /// Fields in order, names as they came.
    pub fields: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
    /// The trailer section of a chunked body.
    pub trailers: Vec<(String, String)>,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
}

impl Seen {
    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The path and query.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// What a script may do with the connection after a request head: read the body, write, return
/// whether the connection goes on.
pub struct Exchange<'a> {
    /// The request without its body.
    pub seen: Seen,
    reader: &'a mut BufReader<TcpStream>,
    log: &'a Mutex<Vec<Seen>>,
}

impl Exchange<'_> {
    /// Reads the body to its end.
    pub fn read_body(&mut self) -> std::io::Result<()> {
        if let Some(length) = self.seen.field("content-length").and_then(|length| length.parse().ok()) {
            let mut body = vec![0; length];
            self.reader.read_exact(&mut body)?;
            self.seen.body = body;
        } else if self.seen.field("transfer-encoding").is_some() {
            self.read_chunks()?;
        }
        Ok(())
    }

    fn read_chunks(&mut self) -> std::io::Result<()> {
        loop {
            let size = line(self.reader)?;
            let size = usize::from_str_radix(&size, 16).map_err(std::io::Error::other)?;
            if size == 0 {
                break;
            }
            let mut data = vec![0; size + 2];
            self.reader.read_exact(&mut data)?;
            data.truncate(size);
            self.seen.body.extend(data);
        }
        self.seen.trailers = fields(self.reader)?;
        Ok(())
    }

    /// Notes the request; scripts that do not return normally call it themselves.
    pub fn note(&self) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(self.seen.clone());
    }

    /// The raw connection.
    pub fn stream(&mut self) -> &mut BufReader<TcpStream> {
        self.reader
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// A 200 with this body.
    pub fn ok(&mut self, body: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.respond("200 OK", "", body)
    }

    /// A response with more fields (each with its CR LF) and a body with its length.
    pub fn respond(&mut self, status: &str, fields: &str, body: impl AsRef<[u8]>) -> std::io::Result<()> {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n", body.len());
        self.write([head.as_bytes(), body].concat())
    }
}

/// A running upstream. Dropping it closes its port and connections.
pub struct Origin {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

type Script = dyn Fn(&mut Exchange<'_>) -> std::io::Result<()> + Send + Sync;

impl Origin {
    /// Answers every request with its name, after reading the body.
    pub fn named(name: &'static str) -> Self {
        Self::scripted(move |exchange| exchange.ok(name))
    }

    /// Answers as the script says, after reading the body.
    pub fn scripted(script: impl Fn(&mut Exchange<'_>) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        Self::raw(move |exchange| {
            exchange.read_body()?;
            exchange.note();
            script(exchange)
        })
    }

    /// Answers as the script says, which also has to read the body and to note the request.
    pub fn raw(script: impl Fn(&mut Exchange<'_>) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let origin = Self {
            address,
            log: Arc::default(),
            connections: Arc::default(),
            stop: Arc::default(),
            open: Arc::default(),
        };
        let (log, connections, stop, open) =
            (origin.log.clone(), origin.connections.clone(), origin.stop.clone(), origin.open.clone());
        let script: Arc<Script> = Arc::new(script);
        thread::spawn(move || {
            for accepted in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(tcp) = accepted else { continue };
                let number = connections.fetch_add(1, Ordering::SeqCst);
                if let Ok(copy) = tcp.try_clone() {
                    open.lock().unwrap_or_else(PoisonError::into_inner).push(copy);
                }
                let (script, log) = (script.clone(), log.clone());
                thread::spawn(move || serve(tcp, number, &script, &log));
            }
        });
        origin
    }

    /// `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("the upstream saw a request")
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Closes every open connection but goes on listening.
    pub fn hang_up(&self) {
        for tcp in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = tcp.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then closes the port.
        let _ = TcpStream::connect(self.address);
        self.hang_up();
    }
}

fn serve(tcp: TcpStream, connection: usize, script: &Arc<Script>, log: &Mutex<Vec<Seen>>) {
    let _ = tcp.set_nodelay(true);
    let closing = tcp.try_clone();
    let mut reader = BufReader::new(tcp);
    while let Ok(request_line) = line(&mut reader) {
        let Ok(fields) = fields(&mut reader) else { break };
        let seen = Seen { line: request_line, fields, connection, ..Seen::default() };
        let mut exchange = Exchange { seen, reader: &mut reader, log };
        if script(&mut exchange).is_err() {
            break;
        }
    }
    if let Ok(tcp) = closing {
        let _ = tcp.shutdown(std::net::Shutdown::Both);
    }
}

fn line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line)?;
    let text = line.strip_suffix(b"\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn fields(reader: &mut impl BufRead) -> std::io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or(std::io::ErrorKind::InvalidData)?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

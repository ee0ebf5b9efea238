//! A client that sends exactly the bytes it is given and reads responses strictly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// Nothing that a test waits for takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Fields in order, lower-case names.
    pub fields: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
    /// The trailer section of a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Response {
    /// The first field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All fields of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of a problem; fails when the body is none.
    #[track_caller]
    pub fn code(&self) -> String {
        assert_eq!(self.field("content-type"), Some("application/problem+json"), "{self:?}");
        let json: serde_json::Value = serde_json::from_slice(&self.body).expect("a problem is JSON");
        assert_eq!(json["status"], self.status);
        assert!(json["requestId"].as_str().is_some_and(|id| Some(id) == self.field("x-request-id")), "{json}");
        json["code"].as_str().expect("a problem has a code").to_owned()
    }
}

/// One TCP connection to a gateway.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).expect("the gateway listens"))
    }

    /// Connects from an address of one's own; all of 127.0.0.0/8 is.
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("an address of this machine");
        socket.connect(&address.into()).expect("the gateway listens");
        Self::over(socket.into())
    }

    fn over(tcp: TcpStream) -> Self {
        tcp.set_nodelay(true).expect("a TCP option");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a TCP option");
        tcp.set_write_timeout(Some(PATIENCE)).expect("a TCP option");
        Self { reader: BufReader::new(tcp) }
    }

    /// The connection itself.
    pub fn tcp(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.reader.get_mut().write_all(bytes.as_ref()).expect("the gateway takes bytes");
        self
    }

    /// Sends bytes to a gateway that may have stopped to listen.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref())
    }

    /// `GET target` for a host, with more fields (each with its CR LF).
    pub fn get(&mut self, host: &str, target: &str, fields: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{fields}\r\n")).response()
    }

    /// Reads a response to a request that may have a response body.
    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.try_response(false).expect("a whole response")
    }

    /// Reads a response; `is_head` when it was asked for by HEAD.
    pub fn try_response(&mut self, is_head: bool) -> std::io::Result<Response> {
        let mut response = self.head()?;
        if is_head || response.status == 304 || response.status == 204 || response.status < 200 {
            return Ok(response);
        }
        if response.field("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).map_err(std::io::Error::other)?;
                if size == 0 {
                    break;
                }
                let mut data = vec![0; size + 2];
                self.reader.read_exact(&mut data)?;
                data.truncate(size);
                response.body.extend(data);
            }
            response.trailers = self.fields()?;
        } else if let Some(length) = response.field("content-length") {
            response.body = vec![0; length.parse().map_err(std::io::Error::other)?];
            self.reader.read_exact(&mut response.body)?;
        } else {
            self.reader.read_to_end(&mut response.body)?;
        }
        Ok(response)
    }

    /// Reads a response head only.
    pub fn head(&mut self) -> std::io::Result<Response> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no status line: {line}")))?;
        Ok(Response { status, fields: self.fields()?, ..Response::default() })
    }

    /// Reads `n` bytes.
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.reader.read_exact(&mut bytes).expect("as many bytes");
        bytes
    }

    /// Everything until the gateway closes; a reset counts as the end.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut space = [0; 4096];
        loop {
            match self.reader.read(&mut space) {
                Ok(0) => return rest,
                Ok(n) => rest.extend_from_slice(&space[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return rest,
                Err(error) => panic!("the gateway keeps the connection open: {error}"),
            }
        }
    }

    /// Fails unless the gateway has closed, with nothing more to read.
    #[track_caller]
    pub fn is_closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "unexpected bytes: {}", rest.escape_ascii());
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        let text = line.strip_suffix(b"\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    fn fields(&mut self) -> std::io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or(std::io::ErrorKind::InvalidData)?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

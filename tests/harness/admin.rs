//! A whole control plane on a port of its own, with a store in a folder of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use admin::edges::workers::Worker;
use admin::integrations::Integrations;
use admin::limits::{Limits, Timeouts};
use admin::serve::{Admin, Settings};
use admin::store::Location;
use admin::token::TokenText;
use serde_json::{Value, json};

/// Long enough for a machine that is busy with everything else.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running control plane and its folder.
#[derive(Debug)]
pub struct ControlPlane {
    /// Where everything of it is.
    pub folder: tempfile::TempDir,
    root: TokenText,
    runtime: Option<tokio::runtime::Runtime>,
    admin: Option<Admin>,
    address: SocketAddr,
}

impl ControlPlane {
    /// On SQLite in a new folder.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let database = Location::Sqlite(folder.path().join("bascule.db"));
        Self::start_in(folder, database, "127.0.0.1:0".parse().expect("an address"))
    }

    /// As [`ControlPlane::start`], for tests that ask more often than anybody may, or wait for clients less long.
    pub fn start_within(limits: Limits, timeouts: Timeouts) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let database = Location::Sqlite(folder.path().join("bascule.db"));
        let listen = "127.0.0.1:0".parse().expect("an address");
        Self::start_with(folder, database, listen, (limits, timeouts), (Vec::new(), Integrations::default()))
    }

    /// On any store.
    pub fn start_in(folder: tempfile::TempDir, database: Location, listen: SocketAddr) -> Self {
        let named = (Vec::new(), Integrations::default());
        Self::start_with(folder, database, listen, (Limits::default(), Timeouts::default()), named)
    }

    /// On any store, pushing to these Workers.
    pub fn start_pushing(folder: tempfile::TempDir, database: Location, workers: Vec<Worker>) -> Self {
        let listen = "127.0.0.1:0".parse().expect("an address");
        let named = (workers, Integrations::default());
        Self::start_with(folder, database, listen, (Limits::default(), Timeouts::default()), named)
    }

    /// On any store, calling what these name.
    pub fn start_calling(folder: tempfile::TempDir, database: Location, integrations: Integrations) -> Self {
        let listen = "127.0.0.1:0".parse().expect("an address");
        let within = (Limits::default(), Timeouts::default());
        Self::start_with(folder, database, listen, within, (Vec::new(), integrations))
    }

    fn start_with(
        folder: tempfile::TempDir,
        database: Location,
        listen: SocketAddr,
        (limits, timeouts): (Limits, Timeouts),
        (workers, integrations): (Vec<Worker>, Integrations),
    ) -> Self {
        let root = TokenText::mint();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("threads");
        let settings = Settings {
            listen,
            database,
            state_dir: folder.path().join("state"),
            signing_key: None,
            bootstrap_token: Some(root.clone()),
            tls: None,
            limits,
            timeouts,
            workers,
            integrations,
        };
        let admin = runtime.block_on(Admin::start(settings)).expect("the control plane starts");
        let address = admin.address();
        Self { folder, root, runtime: Some(runtime), admin: Some(admin), address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The token that may do everything that people may.
    pub fn root(&self) -> &str {
        self.root.expose()
    }

    /// The running thing itself.
    pub fn admin(&self) -> &Admin {
        self.admin.as_ref().expect("it has not ended")
    }

    /// Where its state is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Asks as root.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.request(method, path).token(self.root()).json(body).send()
    }

    /// Asks as root with `If-Match`.
    #[track_caller]
    pub fn change(&self, method: &str, path: &str, seen: &str, body: Option<Value>) -> Answer {
        self.request(method, path).token(self.root()).header("if-match", seen).json(body).send()
    }

    /// A request to be put together.
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.address, method, path)
    }

    /// A token with one scope.
    #[track_caller]
    pub fn token(&self, app: &str, environment: &str, role: &str) -> String {
        let scopes = json!([{"app": app, "environment": environment, "role": role}]);
        let answer = self.ask("POST", "/api/v1/tokens", Some(json!({"name": role, "scopes": scopes})));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["secret"].as_str().expect("the text").to_owned()
    }

    /// Applies a `bascule.yaml` as root.
    #[track_caller]
    pub fn apply(&self, yaml: &str) -> Answer {
        let answer = self.request("PUT", "/api/v1/apply").token(self.root()).body("application/yaml", yaml).send();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    /// Ends in the ordinary way, and gives the folder back.
    pub fn stop(mut self) -> tempfile::TempDir {
        self.end();
        std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"))
    }

    fn end(&mut self) {
        if let (Some(admin), Some(runtime)) = (self.admin.take(), self.runtime.take()) {
            runtime.block_on(admin.stop());
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.end();
    }
}

/// One request on a connection of its own.
#[derive(Debug)]
pub struct Request {
    address: SocketAddr,
    head: String,
    body: Vec<u8>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Head fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub text: String,
    /// The body as JSON, null if it is none.
    pub body: Value,
}

impl Answer {
    /// A head field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The `ETag`.
    #[track_caller]
    pub fn etag(&self) -> &str {
        self.header("etag").unwrap_or_else(|| panic!("no ETag: {self:?}"))
    }
}

impl Request {
    /// To any server.
    pub fn new(address: SocketAddr, method: &str, path: &str) -> Self {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        Self { address, head, body: Vec::new() }
    }

    /// Adds a head field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.extend([name, ": ", value, "\r\n"]);
        self
    }

    /// With a token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// With a JSON body, or none.
    #[must_use]
    pub fn json(self, body: Option<Value>) -> Self {
        match body {
            Some(body) => self.body("application/json", &body.to_string()),
            None => self,
        }
    }

    /// With a body.
    #[must_use]
    pub fn body(mut self, media_type: &str, body: &str) -> Self {
        self = self.header("content-type", media_type);
        self.body = body.as_bytes().to_vec();
        self
    }

    /// With a body of any bytes.
    #[must_use]
    pub fn bytes(mut self, media_type: &str, body: &[u8]) -> Self {
        self = self.header("content-type", media_type);
        self.body = body.to_vec();
        self
    }

    /// Sends it and reads the whole answer.
    #[track_caller]
    pub fn send(self) -> Answer {
        let mut reader = self.open();
        let (status, headers) = head(&mut reader);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("a body");
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let bytes = if chunked { unchunked(&bytes) } else { bytes };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, text, body }
    }

    /// Sends it and reads the head of the answer only: streams do not end.
    #[track_caller]
    pub fn status(self) -> u16 {
        head(&mut self.open()).0
    }

    /// Sends it and gives the stream after the head of a 200.
    #[track_caller]
    pub fn stream(self) -> Stream {
        let mut reader = self.open();
        let (status, headers) = head(&mut reader);
        assert_eq!(status, 200, "{headers:?}");
        Stream { reader, buffer: Vec::new() }
    }

    #[track_caller]
    fn open(self) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("settable");
        let length = match self.body.len() {
            0 if self.head.contains("content-type") || self.head.starts_with("POST") => {
                "content-length: 0\r\n".to_owned()
            }
            0 => String::new(),
            length => format!("content-length: {length}\r\n"),
        };
        stream.write_all(format!("{}{length}\r\n", self.head).as_bytes()).expect("writable");
        // A server may answer before it has read everything.
        let _ = stream.write_all(&self.body);
        BufReader::new(stream)
    }
}

#[track_caller]
fn head(reader: &mut BufReader<TcpStream>) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a status line");
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a head field");
        let Some((name, value)) = line.trim_end().split_once(':') else { return (status, headers) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let Some(size) = size.filter(|size| *size > 0) else { break };
        whole.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
    whole
}

/// A stream of server-sent events.
#[derive(Debug)]
pub struct Stream {
    reader: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// Its lines of data.
    pub data: Vec<String>,
}

impl Event {
    /// A line of data as JSON.
    pub fn json(&self, line: usize) -> Value {
        serde_json::from_str(&self.data[line]).expect("JSON")
    }
}

impl Stream {
    /// The next event that is not a sign of life; `None` at the end.
    pub fn event(&mut self) -> Option<Event> {
        loop {
            let text = self.block()?;
            let mut event = Event { id: None, name: String::new(), data: Vec::new() };
            for line in text.lines() {
                match line.split_once(": ") {
                    Some(("id", id)) => event.id = Some(id.to_owned()),
                    Some(("event", name)) => name.clone_into(&mut event.name),
                    Some(("data", data)) => event.data.push(data.to_owned()),
                    _ => {}
                }
            }
            if !event.data.is_empty() {
                return Some(event);
            }
        }
    }

    /// The next event of this name.
    #[track_caller]
    pub fn until(&mut self, name: &str) -> Event {
        loop {
            let event = self.event().unwrap_or_else(|| panic!("the stream ended before {name}"));
            if event.name == name {
                return event;
            }
        }
    }

    /// Everything up to an empty line, chunks put together.
    fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let rest = self.buffer.split_off(end + 2);
                let block = std::mem::replace(&mut self.buffer, rest);
                return String::from_utf8(block).ok();
            }
            let mut size = String::new();
            self.reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).ok()?;
            self.buffer.extend_from_slice(&chunk[..size]);
        }
    }
}

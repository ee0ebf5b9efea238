//! A control plane and a gateway as processes, and a client that keeps its connection.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use admin::token::TokenText;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{Client as Connection, postgres};

pub(crate) const PRODUCTION: &str = "/api/v1/apps/web/environments/production";
const PATIENCE: Duration = Duration::from_secs(30);

/// Ended when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Starts it, and answers a word of the record that says that it is up.
    fn start(mut command: Command, message: &str, word: &str) -> Result<(Self, String)> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut process = Self(child);
        let log = process.0.stderr.take().context("stderr is piped")?;
        let value = until(log, message, word)?;
        Ok((process, value))
    }
}

fn until(log: ChildStderr, message: &str, word: &str) -> Result<String> {
    let mut lines = BufReader::new(log).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        let line = line?;
        let record: Value = serde_json::from_str(&line).unwrap_or_default();
        if record["message"] == message {
            let value = record["metadata"][word].as_str().unwrap_or_default().to_owned();
            // It is read to its end, so that the process never waits for us.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(value);
        }
        said.push_str(&line);
    }
    anyhow::bail!("it ended before it was up: {said}")
}

/// A control plane with one app.
pub(crate) struct Plane {
    process: Process,
    address: SocketAddr,
    root: String,
    edge: String,
    _folder: tempfile::TempDir,
}

impl Plane {
    pub(crate) fn start(program: &str, store: &str, flags: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let database = match store {
            "PostgreSQL" => postgres::database(),
            _ => folder.path().join("bascule.db").display().to_string(),
        };
        let root = TokenText::mint();
        let mut command = Command::new(program);
        command.args(["admin", "--listen", "127.0.0.1:0", "--log-format", "json", "--database", &database]);
        command.arg("--state-dir").arg(folder.path()).env("BASCULE_BOOTSTRAP_ADMIN_TOKEN", root.expose());
        // A benchmark asks more often than anybody may.
        command.env("BASCULE_ADMIN_LIMITS_RATE", "1000000").env("BASCULE_ADMIN_LIMITS_BURST", "1000000");
        let (process, address) = Process::start(command, "the control plane is up", "listen")?;
        let address: SocketAddr = address.parse()?;
        let mut plane = Self { process, address, root: root.expose().to_owned(), edge: String::new(), _folder: folder };
        let mut client = plane.client();
        client.apply(&manifest(flags))?;
        let scopes = json!([{"app": "*", "environment": "*", "role": "edge"}]);
        let token = client.ask("POST", "/api/v1/tokens", Some(&json!({"name": "edges", "scopes": scopes})))?;
        token["secret"].as_str().context("a token has a secret")?.clone_into(&mut plane.edge);
        Ok(plane)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn edge_token(&self) -> &str {
        &self.edge
    }

    pub(crate) fn client(&self) -> Client {
        Client { connection: Connection::connect(self.address), root: self.root.clone() }
    }

    /// Waits until every edge, gateways included, runs what is newest.
    pub(crate) fn until_followed(&self, patience: Duration) -> Result<()> {
        let since = Instant::now();
        let mut client = self.client();
        loop {
            let edges = client.ask("GET", "/api/v1/edges", None)?;
            let edges = edges["items"].as_array().context("edges")?;
            if edges.iter().all(|edge| edge["environments"][0]["lag"] == 0) {
                return Ok(());
            }
            ensure!(since.elapsed() < patience, "some edges stay behind");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn resident_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.split_whitespace().next().context("a number")?.parse()?)
    }
}

/// An app with two releases and flags that have a rule and a split each.
fn manifest(flags: usize) -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "app: web\nenvironments:\n  production:\n    hosts: [shop.example]\n    unit: [header:x-user-id]\n\
         \x20   traffic: {active: blue, slots: {blue: web-1}}\nreleases:\n\
         \x20 web-1: {version: 1.0.0, upstreams: [{url: \"http://127.0.0.1:7001\"}]}\n\
         \x20 web-2: {version: 2.0.0, upstreams: [{url: \"http://127.0.0.1:7002\"}]}\nflags:\n",
    );
    for n in 0..flags {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "  flag-{n}: {{environments: {{production: {{rules: [{{id: r, when: {{attr: country, op: in, values: [US, DE, \
             FR]}}, serve: on}}], fallthrough: {{split: {{on: 10, off: 90}}}}}}}}}}"
        );
    }
    text
}

/// One kept-alive connection of root.
pub(crate) struct Client {
    connection: Connection,
    root: String,
}

impl Client {
    pub(crate) fn ask(&mut self, method: &str, target: &str, body: Option<&Value>) -> Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let seen = if method == "PUT" { "if-match: *\r\n" } else { "" };
        self.send(method, target, "application/json", seen, &body)
    }

    fn apply(&mut self, manifest: &str) -> Result<Value> {
        self.send("PUT", "/api/v1/apply", "application/yaml", "", manifest)
    }

    fn send(&mut self, method: &str, target: &str, media_type: &str, fields: &str, body: &str) -> Result<Value> {
        let root = &self.root;
        let length = body.len();
        self.connection.send(format!(
            "{method} {target} HTTP/1.1\r\nhost: admin\r\nauthorization: Bearer {root}\r\ncontent-type: {media_type}\r\n\
             content-length: {length}\r\n{fields}\r\n{body}"
        ));
        let response = self.connection.response();
        ensure!((200..300).contains(&response.status), "{method} {target}: {}", response.text());
        Ok(serde_json::from_slice(&response.body)?)
    }
}

/// A real gateway that follows, with the module as its engine.
pub(crate) struct Gateway(#[expect(dead_code, reason = "it ends with this")] Process);

impl Gateway {
    pub(crate) fn start(program: &str, plane: &Plane) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["gateway", "--listen", "127.0.0.1:0", "--ops", "127.0.0.1:0", "--log-format", "json"]);
        command
            .arg("--admin")
            .arg(format!("http://{}", plane.address()))
            .env("BASCULE_ADMIN_TOKEN", plane.edge_token());
        let (process, _) = Process::start(command, "the gateway is up", "listen")?;
        let since = Instant::now();
        let mut client = plane.client();
        while client.ask("GET", "/api/v1/edges", None)?["items"][0]["environments"][0]["number"].is_null() {
            ensure!(since.elapsed() < PATIENCE, "the gateway does not follow");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self(process))
    }
}

/// The system's limit of open files, raised to what is allowed.
pub(crate) fn allow_descriptors() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    // What is refused shows when there are not enough.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit);
}

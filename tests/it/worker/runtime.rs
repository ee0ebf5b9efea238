//! A started Worker, and snapshots signed for it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use admin_api::edge::{BucketingSecret, OfrepToken, PushHead, Scope, SnapshotHead, signed_bytes};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{Client, Origin, Response};

pub(super) const TOKEN: &str = "bsc_edge_of_the_tests";
pub(super) const KEY: [u8; 16] = [7; 16];
pub(super) const HOST: &str = "shop.example";
/// Of the second isolate.
pub(super) const TWIN: &str = "twin.example";

/// A Worker in the runtime. Dropping it ends both.
pub(super) struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // The end of its input makes the script end the runtime too; killed, it would leave it behind.
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// A folder that `cargo xtask` leaves in the target folder.
fn built(name: &str) -> PathBuf {
    // target/PROFILE/deps/it-HASH
    let exe = std::env::current_exe().unwrap();
    let folder = exe.ancestors().nth(3).expect("cargo's layout").join(name);
    assert!(folder.is_dir(), "{} is missing: run `cargo xtask worker build`", folder.display());
    folder
}

/// What is started: `run.mjs` takes it as JSON.
#[derive(Debug, Clone)]
pub(super) struct Setup(Value);

impl Setup {
    /// A Worker that serves `origin` until it has a snapshot.
    pub(super) fn new(origin: &Origin) -> Self {
        Self(json!({
            "bindings": {
                "APP": "web",
                "ENVIRONMENT": "production",
                "PUBLIC_KEYS": hex(pair(1).public_key().as_ref()),
                "EDGE_TOKEN": TOKEN,
                "ORIGIN": origin.url(),
            },
            "object": "bound",
            "services": {},
        }))
    }

    /// Where it listens, instead of a free port.
    pub(super) fn port(self, port: u16) -> Self {
        self.with("port", json!(port))
    }

    /// `bound`, `hangs`, `fails` or `none`.
    pub(super) fn object(self, how: &str) -> Self {
        self.with("object", json!(how))
    }

    /// Adds a variable or secret.
    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.0["bindings"][name] = json!(value);
        self
    }

    /// Binds an origin as a service.
    pub(super) fn service(mut self, name: &str, origin: &Origin) -> Self {
        self.0["services"][name] = json!(origin.address().to_string());
        self
    }

    /// With a second isolate for the host [`TWIN`].
    pub(super) fn twin(self) -> Self {
        self.with("hasTwin", json!(true))
    }

    /// A request with `x-trap` ends the program.
    pub(super) fn trap(self) -> Self {
        self.with("trap", json!(true))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.0[name] = value;
        self
    }
}

impl Worker {
    pub(super) fn start(origin: &Origin) -> Self {
        Self::of(&Setup::new(origin))
    }

    pub(super) fn of(setup: &Setup) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker/run.mjs");
        let mut node = Command::new("node");
        node.arg(script).arg(built("worker")).arg(setup.0.to_string()).env("WORKER_RUNTIME", built("worker-runtime"));
        let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node is installed");
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let mut worker = Self { child, stdin, stdout, address: ([0, 0, 0, 0], 0).into() };
        worker.address = address(&worker.answer());
        worker
    }

    /// Starts the Worker anew with an empty memory; what Durable Object and KV keep stays.
    pub(super) fn restart(&mut self, setup: &Setup) {
        let answer = self.command(&json!({"command": "restart", "setup": setup.0}));
        self.address = address(&answer);
    }

    /// The copy in KV.
    pub(super) fn copy(&mut self) -> Option<String> {
        self.command(&json!({"command": "copy"}))["copy"].as_str().map(str::to_owned)
    }

    fn command(&mut self, command: &Value) -> Value {
        writeln!(self.stdin.as_ref().unwrap(), "{command}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("the runtime answers")
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Asks one of the Worker's own paths with a token.
    pub(super) fn own(&self, method: &str, path: &str, token: &str, body: &[u8]) -> Response {
        let head = format!(
            "{method} /.bascule/v1/{path} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.client().send([head.as_bytes(), body].concat()).response()
    }

    pub(super) fn push(&self, sealed: &[u8]) -> Response {
        self.own("PUT", "snapshot", TOKEN, sealed)
    }

    /// Pushes a snapshot that has to be taken.
    #[track_caller]
    pub(super) fn publish(&self, document: &Value) {
        let answer = self.push(&sealed(1, document, &KEY));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(json_of(&answer), json!({"number": document["number"], "engine": "native", "boundMs": 1000}));
    }
}

fn address(answer: &Value) -> SocketAddr {
    let url = answer["url"].as_str().expect("it says where it listens");
    url.strip_prefix("http://").unwrap().trim_end_matches('/').parse().unwrap()
}

/// The body of an answer.
pub(super) fn json_of(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Asserts that a push was refused with a code.
#[track_caller]
pub(super) fn refused(answer: &Response, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(json_of(answer)["code"], code, "{}", answer.text());
}

/// Two releases, a candidate with a weight in percent, and a flag for every second one.
pub(super) fn document(number: u64, blue: &Origin, green: &Origin, percent: u32) -> Value {
    json!({
        "format": "v1", "app": "web", "environment": "production", "number": number,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1",
        "unit": ["header:x-user-id", "cookie:bsc_unit"],
        "traffic": {"active": "blue", "slots": {"blue": "web-1", "green": "web-2"},
            "candidateWeight": percent * 10_000, "salt": "web-2"},
        "releases": {
            "web-1": {"version": "1", "upstreams": [{"url": blue.url()}]},
            "web-2": {"version": "2", "upstreams": [{"url": green.url()}]},
        },
        "flags": {"checkout": {"id": "f1", "type": "boolean", "enabled": true, "forward": true, "offVariant": "off",
            "variants": [{"key": "on", "value": true}, {"key": "off", "value": false}], "fallthrough": {"serve": "on"}}},
        "edge": {"debug": true},
    })
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any 32 bytes are a seed")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes signed by the key of a seed, as hexadecimal digits.
pub(super) fn signature(seed: u8, bytes: &[u8]) -> String {
    hex(pair(seed).sign(bytes).as_ref())
}

/// Head and document as the control plane sends them, signed by the key of a seed; the Worker trusts that of 1.
pub(super) fn sealed(seed: u8, document: &Value, key: &[u8; 16]) -> Vec<u8> {
    sealed_for(seed, document, key, Vec::new())
}

/// The same with tokens for OFREP.
pub(super) fn sealed_for(seed: u8, document: &Value, key: &[u8; 16], ofrep: Vec<OfrepToken>) -> Vec<u8> {
    let text = |name: &str| document[name].as_str().unwrap().to_owned();
    let bytes = document.to_string().into_bytes();
    let pair = pair(seed);
    let head = SnapshotHead {
        scope: Scope { app: text("app"), environment: text("environment") },
        number: document["number"].as_u64().unwrap(),
        previous: String::new(),
        key_id: hex(&Sha256::digest(pair.public_key().as_ref()))[..16].to_owned(),
        signature: signature(seed, &signed_bytes("", &bytes)),
        bucketing_key: BucketingSecret { id: text("bucketingKeyId"), key: hex(key) },
    };
    [serde_json::to_vec(&PushHead::new(head, ofrep)).unwrap(), b"\n".to_vec(), bytes].concat()
}

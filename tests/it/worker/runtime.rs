//! A started Worker, and snapshots signed for it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use admin_api::edge::{BucketingSecret, Scope, SnapshotHead, signed_bytes};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tests::{Client, Origin, Response};

pub(super) const TOKEN: &str = "bsc_edge_of_the_tests";
pub(super) const KEY: [u8; 16] = [7; 16];
pub(super) const HOST: &str = "shop.example";

/// A Worker in the runtime. Dropping it ends both.
pub(super) struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
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

/// Variables and secrets of a Worker that serves `origin` until it has a snapshot.
fn bindings(origin: &Origin) -> Value {
    json!({
        "APP": "web",
        "ENVIRONMENT": "production",
        "PUBLIC_KEYS": hex(pair(1).public_key().as_ref()),
        "EDGE_TOKEN": TOKEN,
        "ORIGIN": origin.url(),
    })
}

impl Worker {
    pub(super) fn start(origin: &Origin) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("worker/run.mjs");
        let options = json!({"bindings": bindings(origin), "objectIsBound": true});
        let mut node = Command::new("node");
        node.arg(script).arg(built("worker")).arg(options.to_string()).env("WORKER_RUNTIME", built("worker-runtime"));
        let mut child = node.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node is installed");
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut worker = Self { child, stdin, stdout, address: ([0, 0, 0, 0], 0).into() };
        worker.address = worker.answer();
        worker
    }

    /// Starts the Worker anew with an empty memory; the Durable Object may be gone, KV stays.
    pub(super) fn restart(&mut self, origin: &Origin, object_is_bound: bool) {
        let command = json!({"command": "restart", "bindings": bindings(origin), "objectIsBound": object_is_bound});
        writeln!(self.stdin, "{command}").unwrap();
        self.address = self.answer();
    }

    fn answer(&mut self) -> SocketAddr {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).expect("the runtime started");
        let url = answer["url"].as_str().expect("it says where it listens").to_owned();
        url.strip_prefix("http://").unwrap().trim_end_matches('/').parse().unwrap()
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

/// Head and document as the control plane sends them, signed by the key of a seed; the Worker trusts that of 1.
pub(super) fn sealed(seed: u8, document: &Value, key: &[u8; 16]) -> Vec<u8> {
    let text = |name: &str| document[name].as_str().unwrap().to_owned();
    let bytes = document.to_string().into_bytes();
    let pair = pair(seed);
    let head = SnapshotHead {
        scope: Scope { app: text("app"), environment: text("environment") },
        number: document["number"].as_u64().unwrap(),
        previous: String::new(),
        key_id: hex(&Sha256::digest(pair.public_key().as_ref()))[..16].to_owned(),
        signature: hex(pair.sign(&signed_bytes("", &bytes)).as_ref()),
        bucketing_key: BucketingSecret { id: text("bucketingKeyId"), key: hex(key) },
    };
    [serde_json::to_vec(&head).unwrap(), b"\n".to_vec(), bytes].concat()
}

//! The control side of a gateway with workers that write down what they are given: everything but
//! the data path. For the stories about files, health, state and the ops listener.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use admin_api::edge::Access;
use edge_engine::ReleaseIndex;
use serde_json::Value;
use server::config::secret::KeySource;
use server::gateway::control::{Control, Parts};
use server::gateway::health::{HealthRegistry, ReleaseHealth};
use server::gateway::mailbox::Swapped;
use server::gateway::metrics::Metrics;
use server::gateway::publish::{Worker, release_health};
use server::host::{Engine, LoadedSnapshot};
use server::state_dir::StateDir;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Long enough for a machine that is busy with everything else.
const PATIENCE: Duration = Duration::from_secs(20);

/// For what takes its time by itself, as a rollout does.
const LONG_PATIENCE: Duration = Duration::from_mins(2);

/// Waits until something is so; fails with what it was instead.
#[track_caller]
pub(crate) fn eventually<T: std::fmt::Debug>(what: &str, look: impl Fn() -> T, is_so: impl Fn(&T) -> bool) -> T {
    within(PATIENCE, what, look, is_so)
}

/// The same for what takes longer.
#[track_caller]
pub(crate) fn patiently<T: std::fmt::Debug>(what: &str, look: impl Fn() -> T, is_so: impl Fn(&T) -> bool) -> T {
    within(LONG_PATIENCE, what, look, is_so)
}

#[track_caller]
fn within<T: std::fmt::Debug>(patience: Duration, what: &str, look: impl Fn() -> T, is_so: impl Fn(&T) -> bool) -> T {
    let started = Instant::now();
    loop {
        let seen = look();
        if is_so(&seen) {
            return seen;
        }
        assert!(started.elapsed() < patience, "{what}; it is {seen:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a worker runs of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) scope: String,
    pub(crate) number: u64,
    /// The version of the active release: the part of a snapshot that the stories change.
    pub(crate) version: String,
    pub(crate) engine: String,
}

#[derive(Default)]
pub(crate) struct Recorder {
    installed: Mutex<Vec<Vec<Seen>>>,
    /// Held as a worker's state holds it.
    held: Mutex<Vec<Arc<ReleaseHealth>>>,
}

pub(crate) struct RecordingWorker {
    recorder: Arc<Recorder>,
    health: Arc<HealthRegistry>,
}

impl Worker for RecordingWorker {
    type State = (Vec<Seen>, Vec<Arc<ReleaseHealth>>);

    fn prepare(&self, set: &[LoadedSnapshot], _: &Access) -> Result<Self::State, Box<dyn Error + Send + Sync>> {
        let mut held = Vec::new();
        let mut seen = Vec::new();
        for loaded in set {
            let snapshot = loaded.snapshot();
            let active = snapshot.traffic().release(snapshot.traffic().active()).expect("checked");
            for index in 0..snapshot.releases().len() {
                let index = ReleaseIndex(u16::try_from(index).expect("few"));
                held.push(release_health(&self.health, snapshot, index));
            }
            seen.push(Seen {
                scope: format!("{}/{}", snapshot.app(), snapshot.environment()),
                number: snapshot.number(),
                version: snapshot.release(active).version.clone(),
                engine: loaded.engine().name().to_owned(),
            });
        }
        Ok((seen, held))
    }

    fn install(&self, (seen, held): Self::State) -> oneshot::Receiver<Swapped> {
        let (done, ack) = oneshot::channel();
        self.recorder.installed.lock().expect("no holder panics").push(seen);
        *self.recorder.held.lock().expect("no holder panics") = held;
        done.send(Swapped { at: Instant::now(), stall: Duration::ZERO }).expect("the publisher waits");
        ack
    }
}

/// A running control side and its folder.
pub(crate) struct Rig {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) health: Arc<HealthRegistry>,
    pub(crate) draining: CancellationToken,
    pub(crate) control: Control<RecordingWorker>,
}

/// What a rig is started with.
pub(crate) struct Setup {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) module: Option<PathBuf>,
    pub(crate) engine: Engine,
    pub(crate) state_dir: Option<Arc<StateDir>>,
    pub(crate) roots: rustls::RootCertStore,
}

impl Setup {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let roots = rustls::RootCertStore::empty();
        Self { folder, files: Vec::new(), module: None, engine: Engine::native(), state_dir: None, roots }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Watches a file, which gets this text when there is one.
    pub(crate) fn file(mut self, name: &str, text: Option<&str>) -> Self {
        let path = self.path(name);
        if let Some(text) = text {
            std::fs::write(&path, text).expect("writable");
        }
        self.files.push(path);
        self
    }

    pub(crate) fn module(mut self, engine: Engine, path: PathBuf) -> Self {
        self.module = Some(path);
        Self { engine, ..self }
    }

    pub(crate) fn state_dir(mut self) -> Self {
        self.state_dir = Some(Arc::new(StateDir::open(self.path("state")).expect("creatable")));
        self
    }

    pub(crate) fn start(self) -> Rig {
        let recorder = Arc::new(Recorder::default());
        let health = Arc::new(HealthRegistry::default());
        let draining = CancellationToken::new();
        let ops = TcpListener::bind("127.0.0.1:0").expect("a port");
        ops.set_nonblocking(true).expect("settable");
        let parts = Parts {
            ops,
            files: self.files,
            follow: None,
            module: self.module,
            engine: self.engine,
            shadow: false,
            keys: KeySource::Derived,
            state_dir: self.state_dir,
            metrics: Arc::new(Metrics::default()),
            health: Arc::clone(&health),
            tls: tls(self.roots),
            draining: draining.clone(),
            access_log_dropped: Box::new(|| 0),
        };
        let worker = RecordingWorker { recorder: Arc::clone(&recorder), health: Arc::clone(&health) };
        let control = Control::start(parts, vec![worker]).expect("threads and a port");
        Rig { folder: self.folder, recorder, health, draining, control }
    }
}

fn tls(roots: rustls::RootCertStore) -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("ring has them");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

impl Rig {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the worker runs now.
    pub(crate) fn runs(&self) -> Vec<Seen> {
        self.recorder.installed.lock().expect("no holder panics").last().cloned().unwrap_or_default()
    }

    /// Number and version of the only environment.
    pub(crate) fn only(&self) -> Option<(u64, String)> {
        match self.runs().as_slice() {
            [only] => Some((only.number, only.version.clone())),
            _ => None,
        }
    }

    /// How many states the worker was given.
    pub(crate) fn installs(&self) -> usize {
        self.recorder.installed.lock().expect("no holder panics").len()
    }

    #[track_caller]
    pub(crate) fn until_version(&self, version: &str) -> u64 {
        let is_it = |seen: &Option<(u64, String)>| seen.as_ref().is_some_and(|(_, seen)| seen == version);
        let (number, _) = eventually(&format!("version {version} should run"), || self.only(), is_it).expect("seen");
        number
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        get(self.control.ops_address(), path)
    }

    pub(crate) fn health_json(&self) -> Value {
        serde_json::from_str(&self.get("/api/health").body).expect("JSON")
    }

    /// Waits until a file's last content was refused, and tells why and how many were.
    #[track_caller]
    pub(crate) fn until_refused(&self, path: &Path, times: u64) -> String {
        let look = || self.control.board().report().sources.get(path).cloned();
        let status = eventually(&format!("{times} refusals"), look, |status| {
            status.as_ref().is_some_and(|status| status.refused == times)
        });
        status.and_then(|status| status.refusal).map(|refusal| refusal.reason).expect("refused last")
    }
}

/// An answer of the ops listener.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// One request on a connection of its own.
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, &format!("GET {path} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n"))
}

pub(crate) fn request(address: SocketAddr, text: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the ops listener is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("settable");
    stream.write_all(text.as_bytes()).expect("writable");
    let mut all = String::new();
    stream.read_to_string(&mut all).expect("an answer");
    let (head, body) = all.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// A manifest with one environment; `version` is what the stories change.
pub(crate) fn manifest(version: &str) -> String {
    format!(
        "app: web
environments:
  production:
    hosts: [shop.example]
    traffic: {{active: blue, slots: {{blue: web-1}}}}
releases:
  web-1: {{version: {version}, upstreams: [{{url: \"http://127.0.0.1:7001\"}}]}}
"
    )
}

/// A snapshot document.
pub(crate) fn document(number: u64, version: &str) -> String {
    serde_json::json!({
        "format": "v1", "app": "web", "environment": "production", "number": number,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1",
        "traffic": {"active": "blue", "slots": {"blue": "web-1"}, "salt": "s"},
        "releases": {"web-1": {"version": version, "upstreams": [{"url": "http://127.0.0.1:7001"}]}},
        "edge": {"hosts": ["shop.example"]},
    })
    .to_string()
}

/// The edge module that the binary embeds.
pub(crate) fn module_bytes() -> Vec<u8> {
    let path = std::env::var_os("BASCULE_MODULE").map_or_else(
        || {
            // target/PROFILE/deps/it-HASH
            let exe = std::env::current_exe().expect("this test has a path");
            exe.ancestors().nth(3).expect("cargo's layout").join("module/edge_module.wasm")
        },
        PathBuf::from,
    );
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask test`", path.display()))
}

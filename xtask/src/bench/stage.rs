//! The programs that stand side by side: two origins, and each proxy before them.
//!
//! Invariant: every proxy gets the same task, a tenth of the `uid` cookies to the second origin by a hash, on one
//! worker thread, over kept connections, on ports that the system chose; a program ends with the value that holds it.

mod configuration;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

pub(super) use self::configuration::ECHO;
use super::client::wait_for;
use super::documents;
use crate::process::run_as_talk;
use crate::workspace::Workspace;

/// Until a program must answer after its start; under callgrind, on a busy machine, that takes half a minute.
const START: Duration = Duration::from_mins(1);
/// Until a program must have ended after it was asked to.
const STOP: Duration = Duration::from_mins(1);
/// What the origins answer: their name and enough to be a small body.
const BODY_BYTES: usize = 128;
/// The same in every round, so that the same users are in the second arm.
const BUCKETING_KEY: &str = "62617363756c652d62656e63682d3136";
/// Flags of the environment that the gateway serves; it tells the origin of each.
const FLAGS: usize = 20;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Origin,
    Nginx,
    HaProxy,
    Pingora,
    Native,
    Wasm,
    /// With flags that it forwards, which no other proxy has.
    WasmFlags,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Origin => "straight to the origin",
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
            Self::Pingora => "Pingora load balancer",
            Self::Native => "bascule, native engine",
            Self::Wasm => "bascule, wasm engine",
            Self::WasmFlags => "bascule, wasm engine, 20 forwarded flags",
        }
    }
}

/// Where a program listens.
#[derive(Debug, Clone, Copy)]
struct Ports {
    clients: SocketAddr,
    ops: SocketAddr,
}

impl Ports {
    fn free() -> Result<Self> {
        Ok(Self { clients: free_port()?, ops: free_port()? })
    }
}

/// A program that runs.
pub(crate) struct Running {
    pub(crate) peer: Peer,
    pub(crate) address: SocketAddr,
    /// Where a gateway serves health and metrics; for the others nobody listens.
    pub(crate) ops: SocketAddr,
    child: Child,
}

impl Running {
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Asks it by a signal to stop and waits until it has, with everything on disk that it was saving.
    pub(crate) fn stop(mut self, signal: &str) -> Result<()> {
        run_as_talk(Command::new("kill").args([signal, &self.process().to_string()]))?;
        let end = Instant::now() + STOP;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "{} did not stop within {} s", self.peer.name(), STOP.as_secs());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Files and origins that all proxies share.
pub(crate) struct Stage {
    pub(crate) folder: PathBuf,
    pub(crate) bascule: PathBuf,
    pingora: PathBuf,
    pub(crate) origins: [String; 2],
    origin: Running,
}

impl Stage {
    pub(crate) fn set(workspace: &Workspace, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let [blue, green] = [free_port()?, free_port()?];
        let servers = [("blue", blue), ("green", green)].map(|(name, at)| configuration::origin(at, &body(name)));
        let mut command = nginx(folder, "origin", &servers.concat())?;
        let origin = start(Peer::Origin, &mut command, folder, Ports { clients: blue, ops: blue })?;
        let release = workspace.target.join("release");
        Ok(Self {
            folder: folder.to_path_buf(),
            bascule: release.join("bascule"),
            pingora: workspace.target.join("peers/release/balancer"),
            origins: [format!("http://{blue}"), format!("http://{green}")],
            origin,
        })
    }

    /// The first origin, for the row without a proxy.
    pub(crate) fn origin(&self) -> &Running {
        &self.origin
    }

    /// Starts a proxy and waits until it answers.
    pub(crate) fn start(&self, peer: Peer) -> Result<Running> {
        let at = Ports::free()?;
        self.run(peer, &mut self.command(peer, at)?, at)
    }

    /// The same under callgrind, which writes to this file when the proxy ends.
    pub(crate) fn start_counted(&self, peer: Peer, out: &Path) -> Result<Running> {
        let at = Ports::free()?;
        let command = self.command(peer, at)?;
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--quiet", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", out.display()));
        valgrind.arg(command.get_program()).args(command.get_args());
        valgrind.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.run(peer, &mut valgrind, at)
    }

    /// A gateway with one worker and these arguments beside.
    pub(crate) fn gateway(&self, peer: Peer, arguments: &[&str]) -> Result<Running> {
        let at = Ports::free()?;
        self.run(peer, &mut self.gateway_command(peer, at, arguments), at)
    }

    /// The same, without waiting until it answers.
    pub(crate) fn spawn_gateway(&self, peer: Peer, arguments: &[&str]) -> Result<Running> {
        let at = Ports::free()?;
        spawn(peer, &mut self.gateway_command(peer, at, arguments), &self.folder, at)
    }

    fn run(&self, peer: Peer, command: &mut Command, at: Ports) -> Result<Running> {
        start(peer, command, &self.folder, at)
    }

    fn command(&self, peer: Peer, at: Ports) -> Result<Command> {
        let [blue, green] = [0, 1].map(|n| self.origins[n].trim_start_matches("http://"));
        Ok(match peer {
            Peer::Nginx => nginx(&self.folder, "nginx", &configuration::split_clients(at.clients, blue, green))?,
            Peer::HaProxy => {
                let file = self.folder.join("haproxy.cfg");
                fs::write(&file, configuration::haproxy(at.clients, blue, green))?;
                let mut command = Command::new("/usr/sbin/haproxy");
                command.arg("-db").arg("-f").arg(file);
                command
            }
            Peer::Pingora => {
                let mut command = Command::new(&self.pingora);
                command.arg(at.clients.to_string()).args([blue, green]);
                command
            }
            Peer::Wasm | Peer::Native | Peer::WasmFlags => {
                let (name, flags) = if peer == Peer::WasmFlags { ("flags.json", FLAGS) } else { ("gateway.json", 0) };
                let file = self.write_snapshot(name, flags, 1)?;
                self.gateway_command(peer, at, &["--file", &file.display().to_string()])
            }
            Peer::Origin => bail!("the origins run as long as the stage stands"),
        })
    }

    fn gateway_command(&self, peer: Peer, at: Ports, arguments: &[&str]) -> Command {
        let engine = if peer == Peer::Native { "native" } else { "wasm" };
        let mut command = Command::new(&self.bascule);
        command.args(["gateway", "--workers", "1", "--engine", engine, "--log-level", "warn"]);
        command.args(["--listen", &at.clients.to_string(), "--ops", &at.ops.to_string()]).args(arguments);
        // All clients of a comparison come from one address.
        command.env("BASCULE_LIMITS_CONNECTIONS_PER_IP", "100000");
        command.env("BASCULE_BUCKETING_KEY", BUCKETING_KEY);
        command
    }

    /// Writes what a gateway serves; atomically, since a gateway may be watching.
    pub(crate) fn write_snapshot(&self, name: &str, flags: usize, number: u64) -> Result<PathBuf> {
        let (file, new) = (self.folder.join(name), self.folder.join(format!("{name}.new")));
        fs::write(&new, serde_json::to_vec(&documents::gateway(&self.origins, flags, number))?)?;
        fs::rename(&new, &file)?;
        Ok(file)
    }
}

/// What the two origins answer.
pub(crate) fn bodies() -> [Vec<u8>; 2] {
    ["blue", "green"].map(|name| body(name).into_bytes())
}

fn body(name: &str) -> String {
    format!("{name} {}", ".".repeat(BODY_BYTES - name.len() - 1))
}

fn nginx(folder: &Path, name: &str, servers: &str) -> Result<Command> {
    let prefix = folder.join(name);
    fs::create_dir_all(&prefix)?;
    let file = prefix.join("nginx.conf");
    fs::write(&file, configuration::nginx(&prefix, servers))?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(&prefix).arg("-c").arg(file);
    Ok(command)
}

fn start(peer: Peer, command: &mut Command, folder: &Path, at: Ports) -> Result<Running> {
    let running = spawn(peer, command, folder, at)?;
    wait_for(at.clients, START).with_context(|| {
        let log = fs::read_to_string(folder.join(log_name(peer))).unwrap_or_default();
        format!("{} does not answer; its log:\n{log}", peer.name())
    })?;
    Ok(running)
}

fn spawn(peer: Peer, command: &mut Command, folder: &Path, at: Ports) -> Result<Running> {
    let log = File::create(folder.join(log_name(peer)))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = command.spawn().with_context(|| format!("cannot start {}", peer.name()))?;
    Ok(Running { peer, address: at.clients, ops: at.ops, child })
}

fn log_name(peer: Peer) -> String {
    format!("{peer:?}.log").to_lowercase()
}

/// A port that was free a moment ago: nginx and HAProxy cannot say which one they were given for 0.
fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

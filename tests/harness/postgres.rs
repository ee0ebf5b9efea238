//! A PostgreSQL server of the tests' own: one for the process, a fresh database for whoever asks.
//!
//! It listens on a socket in its own folder only. A shell holds it, and ends it and removes the folder when this process is
//! gone, however that happens.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The server is somebody's who is not root.
const USER: &str = "postgres";

struct Server {
    folder: PathBuf,
    /// The shell; its standard input is what keeps the server running.
    holder: Mutex<Child>,
}

/// The URL of a database that nobody else has.
pub fn database() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let server = server();
    server.check();
    let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
    run(client("createdb").arg(&name));
    format!("postgres:///{name}?user=bascule&host={}", server.folder.display())
}

/// The definitions of everything in a database, as a text.
pub fn schema(url: &str) -> String {
    let name = url.split(['/', '?']).nth(3).expect("a URL of `database`");
    let text = run(client("pg_dump").args(["--schema-only", "--no-owner", name]));
    // A dump is closed by a word that is another one each time.
    text.lines().filter(|line| !line.starts_with('\\') && !line.starts_with("--")).collect::<Vec<_>>().join("\n")
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start)
}

fn client(name: &str) -> Command {
    let mut command = Command::new(program(name));
    command.args(["-U", "bascule", "-h"]).arg(&server().folder);
    command
}

fn start() -> Server {
    let folder = tempfile::Builder::new().prefix("bascule-pg-").tempdir().expect("a folder for the server").keep();
    if std::fs::metadata(&folder).expect("it is there").uid() == 0 {
        let id = |flag: &str| run(Command::new("id").args([flag, USER])).trim().parse().expect("a number");
        chown(&folder, Some(id("-u")), Some(id("-g"))).expect("root gives away");
    }
    let data = folder.join("data");
    let made = ["--auth=trust", "--username=bascule", "--encoding=UTF8", "--no-locale", "--no-instructions", "-D"];
    run(as_user(&folder, program("initdb")).args(made).arg(&data));
    let script = r#""$1" -D "$2/data" -k "$2" -c listen_addresses= -c max_connections=200 >"$2/log" 2>&1 &
        server=$!
        read -r _
        kill -QUIT $server
        wait $server
        rm -rf "$2""#;
    let mut holder = as_user(&folder, "sh".into());
    holder.args(["-c", script, "sh"]).arg(program("postgres")).arg(&folder);
    holder.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server { holder: Mutex::new(holder.spawn().expect("sh starts")), folder };
    let until = Instant::now() + Duration::from_mins(1);
    let mut ready = Command::new(program("pg_isready"));
    ready.arg("-q").arg("-h").arg(&server.folder);
    while !ready.status().expect("pg_isready starts").success() {
        assert!(Instant::now() < until, "PostgreSQL does not answer: {}", server.log());
        server.check();
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

impl Server {
    fn check(&self) {
        let ended = self.holder.lock().expect("no panic").try_wait();
        assert!(matches!(ended, Ok(None)), "PostgreSQL ended: {}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// A command as somebody whom PostgreSQL serves.
fn as_user(folder: &Path, program: PathBuf) -> Command {
    let owner = std::fs::metadata(folder).expect("it is there");
    let is_root = rustix::process::geteuid().is_root();
    let mut command = if is_root { Command::new("setpriv") } else { Command::new(&program) };
    if is_root {
        command.args([format!("--reuid={}", owner.uid()), format!("--regid={}", owner.gid())]);
        command.arg("--clear-groups").arg(program);
    }
    command.current_dir(folder);
    command
}

/// Debian keeps the programs of each version in a folder that is on nobody's PATH.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.is_file()).max();
    found.unwrap_or_else(|| name.into())
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error} (apt-get install postgresql)"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

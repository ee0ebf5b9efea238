//! A control plane as a process: for what happens to a process, and for its log.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use admin::token::TokenText;

/// A running control plane; killed when it is dropped.
pub(crate) struct PlaneProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) address: SocketAddr,
    pub(crate) root: String,
}

impl Drop for PlaneProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl PlaneProcess {
    /// One with everything in this folder, also its log, `control-plane.log`.
    pub(crate) fn start(folder: &Path, level: &str) -> Self {
        Self::start_at(folder, level, "127.0.0.1:0", TokenText::mint().expose())
    }

    /// The next one in the folder, where the one before listened.
    pub(crate) fn start_at(folder: &Path, level: &str, listen: &str, root: &str) -> Self {
        let program = tests::binary::bascule().with_file_name("control-plane");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("control-plane.log"));
        let mut command = Command::new(program);
        command.arg(folder).arg(listen).env("BASCULE_BOOTSTRAP_ADMIN_TOKEN", root).env("BASCULE_LOG_LEVEL", level);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log.expect("creatable"));
        let mut child = command.spawn().expect("it starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("readable");
        let address = line.trim().parse().unwrap_or_else(|_| panic!("no address: {line:?}"));
        let stdin = child.stdin.take();
        Self { child, stdin, address, root: root.to_owned() }
    }

    /// Ends it in the ordinary way.
    pub(crate) fn end(mut self) {
        drop(self.stdin.take());
        assert!(self.child.wait().expect("it ends").success());
    }

    /// Ends it as the loss of power does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

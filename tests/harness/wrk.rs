//! Load by wrk, which counts what goes wrong.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// A running wrk; killed when it is dropped.
pub struct Wrk {
    child: Option<Child>,
}

impl Wrk {
    /// Loads an address until [`Self::end`], with so many connections and more header fields, each without its
    /// line end.
    pub fn start(address: SocketAddr, host: &str, connections: usize, fields: &[&str]) -> Self {
        let mut command = Command::new("wrk");
        // Its own `Host` is left out only when one is given in this spelling.
        // A machine that is busy with other tests is no error: only what takes longer than this is.
        command.args(["--threads", "2", "--duration", "300s", "--timeout", "20s", "--connections"]);
        command.arg(connections.to_string());
        for field in [&format!("Host: {host}")[..]].iter().chain(fields) {
            command.args(["--header", field]);
        }
        command.arg(format!("http://{address}/")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: Some(command.spawn().expect("wrk is installed: `cargo xtask setup` sees to it")) }
    }

    /// Ends the load; how many requests were answered. Fails when one was not, or not by 2xx or 3xx.
    #[track_caller]
    pub fn end(mut self) -> u64 {
        let child = self.child.take().expect("it ends once");
        // It prints its report when it is interrupted.
        let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(interrupted.expect("kill is there").success());
        let output = child.wait_with_output().expect("wrk ends");
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
        assert!(!report.contains("Socket errors"), "{report}");
        assert!(!report.contains("Non-2xx"), "{report}");
        let requests = report.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
        requests.unwrap_or_else(|| panic!("no report: {report}"))
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

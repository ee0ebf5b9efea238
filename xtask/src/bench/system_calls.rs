//! System calls per request, counted by strace over a fixed number of requests on kept connections.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::load::Kept;
use super::stage::{Running, Stage};
use crate::process::run_as_talk;

/// Requests on each connection.
pub(super) const EACH: usize = 60;

/// Calls per request, the most frequent first.
#[derive(Debug, PartialEq)]
pub(super) struct Calls {
    pub(super) all: f64,
    each: Vec<(String, f64)>,
}

impl Calls {
    /// The calls that happen at least once in twenty requests: `recvfrom 2.00, sendto 2.00`.
    pub(super) fn text(&self) -> String {
        let often = self.each.iter().filter(|(_, count)| *count >= 0.05);
        often.map(|(name, count)| format!("{name} {count:.2}")).collect::<Vec<_>>().join(", ")
    }
}

/// Those of all threads of a process.
pub(super) fn count(stage: &Stage, running: &Running) -> Result<Calls> {
    let mut kept = Kept::connect(running.address)?;
    let summary = stage.folder.join("strace.txt");
    let mut strace = Command::new("strace");
    strace.args(["-c", "-f", "-U", "calls,name", "-p", &running.process().to_string(), "-o"]).arg(&summary);
    let mut strace = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot start strace")?;
    // It says on stderr that it is attached; before that, calls would not be counted.
    let mut talk = BufReader::new(strace.stderr.take().context("stderr is piped")?).lines();
    let attached = talk.any(|line| line.is_ok_and(|line| line.contains("attached")));
    let asked = if attached { kept.ask(EACH) } else { Ok(0) };
    // The summary is written on an interrupt; strace may have ended by itself.
    let _ = run_as_talk(Command::new("kill").args(["-INT", &strace.id().to_string()]));
    strace.wait()?;
    match asked? {
        0 => bail!("strace cannot attach to a process here"),
        requests => {
            let text = std::fs::read_to_string(&summary)?;
            parse(&text, f64::from(u32::try_from(requests)?)).with_context(|| format!("strace wrote:\n{text}"))
        }
    }
}

/// The columns `calls` and `syscall`, the total last.
fn parse(summary: &str, requests: f64) -> Option<Calls> {
    let mut each: Vec<(String, f64)> = summary.lines().filter_map(|line| row(line, requests)).collect();
    let total = each.iter().position(|(name, _)| name == "total")?;
    let (_, all) = each.remove(total);
    each.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    Some(Calls { all, each })
}

fn row(line: &str, requests: f64) -> Option<(String, f64)> {
    let mut columns = line.split_whitespace();
    let calls: f64 = columns.next()?.parse().ok()?;
    Some((columns.next()?.to_owned(), calls / requests))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn straces_summary_is_read() {
        let text = "    calls syscall\n--------- ----------------\n      120 epoll_wait\n     1200 recvfrom\n--------- ----------------\n     1320 total\n";
        let calls = parse(text, 600.0).unwrap();
        assert!((calls.all - 2.2).abs() < 1e-9);
        assert_eq!(calls.text(), "recvfrom 2.00, epoll_wait 0.20");
        assert_eq!(parse("strace: failed", 1.0), None);
    }
}

//! Saturation by wrk, and the open loop.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::client::Client;
use super::documents::{HEADERS, HOST};
use super::figures::Figures;

/// Kept connections under saturation.
pub(crate) const CONNECTIONS: usize = 64;
/// Clients with a cookie of their own, each in turn.
pub(crate) const USERS: usize = 1000;
/// Connections that share the open loop: enough that a slow answer holds up nobody else's request.
const SENDERS: usize = 16;

/// What wrk saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) errors: f64,
}

impl Load {
    pub(crate) fn rate(&self) -> f64 {
        self.requests / self.seconds
    }
}

/// wrk and its script.
pub(crate) struct Wrk(PathBuf);

impl Wrk {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let file = folder.join("wrk.lua");
        // The requests are made beforehand: at 60 000 a second, putting strings together would be wrk's main work.
        let fields: Vec<String> = HEADERS.iter().map(|(name, value)| format!("['{name}'] = '{value}', ")).collect();
        let script = format!(
            "local requests, n = {{}}, 0
function init()
  for user = 0, {last} do
    requests[user] = wrk.format('GET', '/', {{['Host'] = '{HOST}', {fields}['Cookie'] = 'uid=u' .. user}})
  end
end
function request() n = (n + 1) % {USERS}; return requests[n] end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('RESULT %d %d %f %f %d\\n', summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
",
            last = USERS - 1,
            fields = fields.concat()
        );
        fs::write(&file, script)?;
        Ok(Self(file))
    }

    pub(crate) fn start(&self, address: SocketAddr, seconds: u64) -> Result<Child> {
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", &CONNECTIONS.to_string(), "--duration", &format!("{seconds}s")]);
        wrk.arg("--latency").arg("--script").arg(&self.0).arg(format!("http://{address}/"));
        wrk.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().context("cannot start wrk")
    }

    pub(crate) fn run(&self, address: SocketAddr, seconds: u64) -> Result<Load> {
        finish(self.start(address, seconds)?)
    }
}

/// Waits for wrk, which ends by itself.
pub(crate) fn finish(wrk: Child) -> Result<Load> {
    let output = wrk.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).with_context(|| format!("wrk said:\n{text}"))
}

fn parse(text: &str) -> Option<Load> {
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT "))?;
    let numbers: Vec<f64> = line.split(' ').filter_map(|number| number.parse().ok()).collect();
    let [requests, microseconds, p50, p99, errors] = numbers[..] else { return None };
    Some(Load { requests, seconds: microseconds / 1e6, p50_ms: p50 / 1e3, p99_ms: p99 / 1e3, errors })
}

/// Connections that were served once, so that a fixed number of requests on them is nothing but requests.
pub(crate) struct Kept(Vec<Client>);

impl Kept {
    /// [`CONNECTIONS`] of them.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let connect = |user| {
            let mut client = Client::connect(address)?;
            expect_ok(client.ask(user)?.status)?;
            Ok(client)
        };
        (0..CONNECTIONS).map(connect).collect::<Result<_>>().map(Self)
    }

    /// So many requests on each connection, on all at once; all must be answered 200. Answers their sum.
    pub(crate) fn ask(&mut self, each: usize) -> Result<usize> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..)
                .zip(&mut self.0)
                .map(|(number, client)| {
                    scope.spawn(move || -> Result<usize> {
                        for turn in 0..each {
                            expect_ok(client.ask((number * each + turn) % USERS)?.status)?;
                        }
                        Ok(each)
                    })
                })
                .collect();
            threads.into_iter().map(join).sum()
        })
    }
}

/// Median latency in µs of requests sent at a fixed rate, whether or not earlier ones were answered.
///
/// A request that could not be sent in time counts from when it was due. One that was sent counts from when its
/// thread woke up: how late the kernel wakes a sleeper (50 µs) is no property of a proxy.
pub(crate) fn open_loop(address: SocketAddr, rate: f64, seconds: f64) -> Result<f64> {
    let begin = Instant::now() + Duration::from_millis(50);
    let latencies = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..SENDERS).map(|number| scope.spawn(move || sender(address, number, begin, rate, seconds))).collect();
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    let mut all = Figures::default();
    latencies.into_iter().flatten().for_each(|latency| all.push(latency));
    Ok(all.median())
}

fn sender(address: SocketAddr, number: usize, begin: Instant, rate: f64, seconds: f64) -> Result<Vec<f64>> {
    let mut client = Client::connect(address)?;
    expect_ok(client.ask(number)?.status)?;
    let mut latencies = Vec::new();
    for turn in 0.. {
        let due = Duration::from_secs_f64(f64::from(turn * u32::try_from(SENDERS)? + u32::try_from(number)?) / rate);
        if due.as_secs_f64() > seconds {
            break;
        }
        let due = begin + due;
        let in_time = Instant::now() < due;
        if let Some(pause) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(pause);
        }
        let start = if in_time { Instant::now() } else { due };
        expect_ok(client.ask(number + usize::try_from(turn)? * SENDERS)?.status)?;
        latencies.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(latencies)
}

fn expect_ok(status: u16) -> Result<()> {
    if status == 200 { Ok(()) } else { bail!("a request was answered {status}") }
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a thread of the load panicked"))
}

#[cfg(test)]
mod tests {
    use super::{Load, parse};

    #[test]
    fn what_wrk_prints_is_read() {
        let text = "Running 1s test\nRESULT 50000 1000000 1200.500000 2400.000000 3\n";
        let load = Load { requests: 50_000.0, seconds: 1.0, p50_ms: 1.2005, p99_ms: 2.4, errors: 3.0 };
        assert_eq!(parse(text), Some(load));
        assert_eq!(parse("unable to connect"), None);
    }
}

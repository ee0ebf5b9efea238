//! A small HTTP/1.1 client: one keep-alive connection, blocking, for preflight, fixed numbers of requests and the
//! open loop. Saturation is `wrk`'s work.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::documents::{HEADERS, HOST};

/// A peer that says nothing for so long is broken.
const LIMIT: Duration = Duration::from_secs(10);

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case, with the status line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// The request of the comparison, by this user.
    pub(crate) fn ask(&mut self, user: usize) -> Result<Answer> {
        self.ask_at("/", user)
    }

    /// The same request with another path.
    pub(crate) fn ask_at(&mut self, path: &str, user: usize) -> Result<Answer> {
        self.get(path, &headers(user))
    }

    pub(crate) fn get(&mut self, path: &str, headers: &str) -> Result<Answer> {
        // One write: two would be two segments, and the peer would wait for the second.
        self.stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n{headers}\r\n").as_bytes())?;
        self.buffer.clear();
        let head = loop {
            self.fill()?;
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer has no status")?;
        if let Some(length) = header(&text, "content-length").map(str::parse::<usize>) {
            let end = head + length?;
            while self.buffer.len() < end {
                self.fill()?;
            }
            return Ok(Answer { status, head: text, body: self.buffer[head..end].to_vec() });
        }
        if header(&text, "transfer-encoding") != Some("chunked") {
            bail!("the answer has neither a length nor chunks");
        }
        // The ops listener's pages; nothing here needs their bytes cut exactly.
        while !self.buffer.ends_with(b"0\r\n\r\n") {
            self.fill()?;
        }
        Ok(Answer { status, head: text, body: self.buffer[head..].to_vec() })
    }

    fn fill(&mut self) -> Result<()> {
        let mut part = [0; 16 << 10];
        match self.stream.read(&mut part)? {
            0 => bail!("the connection was closed in the middle of an answer"),
            count => self.buffer.extend_from_slice(&part[..count]),
        }
        Ok(())
    }
}

/// What a user sends beside `host`.
fn headers(user: usize) -> String {
    let sent: Vec<String> = HEADERS.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{}cookie: uid=u{user}\r\n", sent.concat())
}

/// A field of a head in lower case.
pub(crate) fn header<'t>(head: &'t str, name: &str) -> Option<&'t str> {
    head.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

/// Waits until something at the address answers 200, and says after how long.
pub(crate) fn wait_for(address: SocketAddr, limit: Duration) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let answer = Client::connect(address).and_then(|mut client| client.ask(0));
        match answer {
            Ok(Answer { status: 200, .. }) => return Ok(start.elapsed()),
            answer if start.elapsed() > limit => {
                let last = answer.map_or_else(|error| format!("{error:#}"), |answer| answer.status.to_string());
                bail!("nothing at {address} answered 200 within {} s; last: {last}", limit.as_secs())
            }
            // Short, since cold starts are timed by this; a refused connection costs the starting process nothing.
            _ => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::header;

    #[test]
    fn headers_are_found_by_their_whole_name() {
        let head = "http/1.1 200 ok\r\nx-content-length: 9\r\ncontent-length: 12\r\n\r\n";
        assert_eq!(header(head, "content-length"), Some("12"));
        assert_eq!(header(head, "length"), None);
    }
}

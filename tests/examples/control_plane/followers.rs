//! Edges that cost next to nothing: they follow over real connections, and acknowledge a snapshot when it has arrived.
//!
//! A gateway's own work with a snapshot happens on a machine of its own, which a thousand of them on one machine do not
//! have; the real gateway among them shows it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::plane::allow_descriptors;

/// No address has many more ports than this to offer.
const PER_ADDRESS: usize = 10_000;

/// Edges that are connected for as long as this lives.
pub(crate) struct Followers {
    numbers: Arc<Vec<AtomicU64>>,
    _runtime: tokio::runtime::Runtime,
}

impl Followers {
    /// Connects them, and waits until all have the newest snapshot.
    pub(crate) fn start(plane: SocketAddr, token: &str, count: usize) -> Result<Self> {
        allow_descriptors();
        let numbers: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        for edge in 0..count {
            let (numbers, token) = (Arc::clone(&numbers), token.to_owned());
            runtime.spawn(async move {
                let follower = Follower { plane, token, edge, number: &numbers[edge] };
                if let Err(error) = follower.follow().await {
                    eprintln!("edge {edge} was lost: {error:#}");
                }
            });
        }
        let followers = Self { numbers, _runtime: runtime };
        followers.until(1, Duration::from_mins(1))?;
        Ok(followers)
    }

    /// Waits until everybody has acknowledged this number or a later one.
    pub(crate) fn until(&self, number: u64, patience: Duration) -> Result<()> {
        let since = Instant::now();
        while self.numbers.iter().any(|own| own.load(SeqCst) < number) {
            if since.elapsed() > patience {
                bail!("some edges do not have snapshot {number}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

struct Follower<'f> {
    plane: SocketAddr,
    token: String,
    edge: usize,
    number: &'f AtomicU64,
}

impl Follower<'_> {
    async fn follow(&self) -> Result<()> {
        let (mut stream, mut acks) = (self.connect().await?, self.connect().await?);
        let target = format!(
            "/edge/v1/snapshots?edge=follower-{0}&boot={0}&kind=gateway&version=0.1.0&engine=native",
            self.edge
        );
        let request = self.request("GET", &target).body(Full::default())?;
        let mut body = stream.send_request(request).await?.into_body();
        let (mut text, mut connection) = (Vec::new(), String::new());
        while let Some(frame) = body.frame().await {
            text.extend_from_slice(&frame?.into_data().unwrap_or_default());
            while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = text.drain(..end + 2).collect();
                let event = std::str::from_utf8(&event)?;
                let head = || -> Result<Value> {
                    let line = event.lines().find_map(|line| line.strip_prefix("data: ")).context("data")?;
                    Ok(serde_json::from_str(line)?)
                };
                if event.contains("event: welcome\n") {
                    head()?["connection"].as_str().context("a name")?.clone_into(&mut connection);
                } else if event.contains("event: snapshot\n") {
                    let number = head()?["number"].as_u64().context("a number")?;
                    self.acknowledge(&mut acks, &connection, number).await?;
                    self.number.store(number, SeqCst);
                }
            }
        }
        bail!("the stream ended")
    }

    async fn acknowledge(&self, acks: &mut SendRequest<Full<Bytes>>, connection: &str, number: u64) -> Result<()> {
        let ack =
            json!({"app": "web", "environment": "production", "number": number, "engine": "native", "appliedUs": 1});
        let body =
            json!({"edge": format!("follower-{}", self.edge), "connection": connection, "acks": [ack]}).to_string();
        let request = self.request("POST", "/edge/v1/acks").header("content-type", "application/json");
        let answer = acks.send_request(request.body(Full::from(body))?).await?;
        ensure!(answer.status() == 204, "an acknowledgement was answered by {}", answer.status());
        answer.into_body().collect().await?;
        Ok(())
    }

    fn request(&self, method: &str, target: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(target).header("host", "admin");
        request.header("authorization", format!("Bearer {}", self.token))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let socket = TcpSocket::new_v4()?;
        let last = u8::try_from(2 + self.edge / PER_ADDRESS)?;
        socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)))?;
        let tcp = socket.connect(self.plane).await?;
        tcp.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(tcp)).await?;
        tokio::spawn(async { drop(connection.await) });
        Ok(sender)
    }
}

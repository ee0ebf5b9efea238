//! Synthetic visitors: each with an id that never changes, over real connections that stay open.
//!
//! A visitor belongs to one connection, so its requests follow each other and what it sees has an
//! order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use edge_engine::Slot;
use http::{Request, StatusCode, header::HOST};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::board::Board;

pub(super) const UNIT_HEADER: &str = "x-user-id";
const PREFIX: &str = "visitor-";
const CONNECTIONS: usize = 16;
/// Far beyond any answer of a gateway on the same machine; a visitor who waits so long counts an error.
const PATIENCE: Duration = Duration::from_secs(5);
/// Before a visitor whose connection broke connects again.
const BEFORE_RECONNECT: Duration = Duration::from_millis(50);

/// The number in a visitor's id.
pub(super) fn index(id: &str) -> Option<usize> {
    id.strip_prefix(PREFIX)?.parse().ok()
}

/// Starts them on a thread of their own; they visit for as long as the process lives.
pub(super) fn start(board: &Arc<Board>, gateways: &[SocketAddr], requests_per_second: u32) -> anyhow::Result<()> {
    let gateways = gateways.to_vec();
    let board = Arc::clone(board);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connections = CONNECTIONS.min(board.visitors()).max(1);
    let pace = Duration::from_secs(u64::try_from(connections)?) / requests_per_second.max(1);
    let work = move || {
        let local = tokio::task::LocalSet::new();
        for (first, gateway) in (0..connections).zip(gateways.into_iter().cycle()) {
            let group = Group { board: Arc::clone(&board), gateway, first, step: connections };
            local.spawn_local(group.visit(pace));
        }
        runtime.block_on(local);
    };
    std::thread::Builder::new().name("visitors".into()).spawn(work).context("cannot start the visitors")?;
    Ok(())
}

/// The visitors of one connection: every `step`-th, from `first`.
struct Group {
    board: Arc<Board>,
    gateway: SocketAddr,
    first: usize,
    step: usize,
}

impl Group {
    async fn visit(self, pace: Duration) {
        let mut ticks = interval(pace);
        // Whoever is late stays late: a burst to catch up would measure the burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connection = None;
        for visitor in (self.first..self.board.visitors()).step_by(self.step).cycle() {
            ticks.tick().await;
            if connection.is_none() {
                connection = self.connect().await;
            }
            let answered = match &mut connection {
                Some(open) => timeout(PATIENCE, self.ask(open, visitor)).await.ok().flatten(),
                None => None,
            };
            if answered.is_none() {
                self.board.failed();
                connection = None;
                sleep(BEFORE_RECONNECT).await;
            }
        }
    }

    async fn connect(&self) -> Option<SendRequest<Empty<Bytes>>> {
        let stream = TcpStream::connect(self.gateway).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await.ok()?;
        tokio::task::spawn_local(connection);
        Some(requests)
    }

    /// One request; `None` when it was not answered as it should be.
    async fn ask(&self, connection: &mut SendRequest<Empty<Bytes>>, visitor: usize) -> Option<()> {
        connection.ready().await.ok()?;
        let request = Request::get("/")
            .header(HOST, self.gateway.to_string())
            .header(UNIT_HEADER, format!("{PREFIX}{visitor}"))
            .body(Empty::new())
            .ok()?;
        let asked_at = self.board.now();
        let response = connection.send_request(request).await.ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        if status == StatusCode::BAD_GATEWAY && self.board.is_faulty() {
            // Their request was under way to a candidate that ended.
            self.board.hurt(visitor);
            return Some(());
        }
        let slot = match body.split(|byte| *byte == b' ').next() {
            Some(b"blue") => Slot::Blue,
            Some(b"green") => Slot::Green,
            _ => return None,
        };
        match status {
            StatusCode::OK => {}
            // The fault that the demo is about; anything else is one of its own.
            StatusCode::INTERNAL_SERVER_ERROR if slot == Slot::Green => self.board.hurt(visitor),
            _ => return None,
        }
        self.board.answered(visitor, slot, asked_at);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitors_id_has_its_number() {
        assert_eq!(index("visitor-17"), Some(17));
        assert_eq!(index("you"), None);
        assert_eq!(index("visitor-x"), None);
    }
}

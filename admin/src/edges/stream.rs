//! The stream of one edge: what there is, then what changes, and a sign of life in between.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use admin_api::edge::{Current, Goodbye, Hello, Welcome, event};
use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Hub, frame};
use crate::principal::Principal;

/// Between two signs of life. An edge takes a stream that was silent for three times that for dead.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// Between two reports of an edge.
pub const REPORT: Duration = Duration::from_secs(2);
/// An edge has its place among those that get everything there is for no longer than this.
const HANDOUT: Duration = Duration::from_secs(5);
/// Edges come back spread over so long after an orderly end.
const COME_BACK: Duration = Duration::from_secs(2);
/// Events on their way to one connection. A slow reader gets the newest of each environment when it is ready again, so
/// nothing is lost by a short queue, and a large document is not queued often.
const QUEUE: usize = 4;

/// A body that is made of events.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Bytes>);

impl Events {
    /// What a task sends.
    pub fn channel() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (sender, Self(receiver))
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// What a stream holds.
#[derive(Debug)]
pub struct Places<H> {
    /// Ends it.
    pub stop: CancellationToken,
    /// Its place among those that get everything there is; given back when it has it.
    pub handout: OwnedSemaphorePermit,
    /// What is dropped at its end.
    pub held: H,
}

/// Why a stream ended.
struct Ended;

impl Hub {
    /// Starts the stream of an edge that has seen everything up to `after`. It ends when the edge goes, when it connects
    /// anew, or at `stop`.
    pub fn stream<H: Send + 'static>(
        self: &Arc<Self>,
        hello: Hello,
        principal: Arc<Principal>,
        after: Option<u64>,
        places: Places<H>,
    ) -> Events {
        let (sender, events) = Events::channel();
        let hub = Arc::clone(self);
        let key = super::key(&hello.edge, &hello.boot, &principal);
        let (connection, answer) = self.connect(hello, &principal);
        tokio::spawn(async move {
            let stream = Stream { hub: &hub, principal: &principal, sender, connection: &connection };
            let Places { stop, handout, held } = places;
            // However it ended, the edge is no longer connected by it.
            let _ = stream.run(&key, (answer, after), (&stop, handout)).await;
            hub.disconnect(&key, &connection);
            drop(held);
        });
        events
    }
}

struct Stream<'h> {
    hub: &'h Hub,
    principal: &'h Principal,
    sender: mpsc::Sender<Bytes>,
    connection: &'h str,
}

impl Stream<'_> {
    async fn run(
        &self,
        key: &super::Key,
        (answer, after): (u64, Option<u64>),
        (stop, handout): (&CancellationToken, OwnedSemaphorePermit),
    ) -> Result<(), Ended> {
        let (mut published, mut access) = (self.hub.sequence.subscribe(), self.hub.access.subscribe());
        let mut fenced = self.hub.fenced.subscribe();
        self.greet(answer, stop).await?;
        let mut seen = self.hand_out(after, &mut published, handout).await?;
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.reset();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let goodbye = Goodbye { retry_ms: millis(COME_BACK) };
                    return self.send(frame(None, event::GOODBYE, &goodbye, None)).await;
                }
                _ = published.changed() => seen = self.send_after(seen, &mut published).await?,
                _ = access.changed() => {
                    self.send(frame(None, event::ACCESS, &self.hub.access_for(self.principal), None)).await?;
                }
                _ = beat.tick() => {
                    if !self.hub.is_current(key, self.connection) {
                        return Err(Ended);
                    }
                    self.send(Bytes::from_static(b": \n\n")).await?;
                }
                // Without a goodbye: the edge counts as lost, and goes where it is known.
                _ = fenced.changed() => {
                    if self.hub.is_fenced() {
                        return Err(Ended);
                    }
                }
                () = self.sender.closed() => return Err(Ended),
            }
        }
    }

    /// Says who speaks, and waits until it is known that this edge is here: none gets a snapshot of which another process
    /// that proves something does not know.
    async fn greet(&self, answer: u64, stop: &CancellationToken) -> Result<(), Ended> {
        let welcome = Welcome {
            connection: self.connection.to_owned(),
            heartbeat_ms: millis(HEARTBEAT),
            report_ms: millis(REPORT),
            public_keys: vec![self.hub.public_key().clone()],
        };
        self.send(frame(None, event::WELCOME, &welcome, None)).await?;
        let mut recorded = self.hub.recorded.subscribe();
        tokio::select! {
            is_told = recorded.wait_for(|upto| *upto >= answer) => is_told.map(drop).map_err(|_| Ended),
            () = stop.cancelled() => Err(Ended),
            () = self.sender.closed() => Err(Ended),
        }
    }

    /// Opens the stream, and holds the place for that no longer than it may.
    async fn hand_out(
        &self,
        after: Option<u64>,
        published: &mut tokio::sync::watch::Receiver<u64>,
        handout: OwnedSemaphorePermit,
    ) -> Result<u64, Ended> {
        let mut opening = std::pin::pin!(self.open(after, published));
        if let Ok(seen) = tokio::time::timeout(HANDOUT, &mut opening).await {
            return seen;
        }
        // One that takes it slowly keeps nobody out for longer.
        drop(handout);
        opening.await
    }

    /// Hands over everything there is; the last publication that was sent.
    async fn open(&self, after: Option<u64>, published: &mut tokio::sync::watch::Receiver<u64>) -> Result<u64, Ended> {
        self.send(frame(None, event::ACCESS, &self.hub.access_for(self.principal), None)).await?;
        // A number from another store's future means nothing here.
        let mut seen = after.filter(|after| *after <= self.hub.sequence()).unwrap_or(0);
        seen = self.send_after(seen, published).await?;
        let environments = self.hub.reached_by(self.principal);
        self.send(frame(None, event::CURRENT, &Current { sequence: seen, environments }, None)).await?;
        Ok(seen)
    }

    async fn send_after(&self, seen: u64, published: &mut tokio::sync::watch::Receiver<u64>) -> Result<u64, Ended> {
        let upto = *published.borrow_and_update();
        let mut last = seen.max(upto);
        for (sequence, bytes) in self.hub.frames_after(seen, self.principal) {
            self.send(bytes).await?;
            last = last.max(sequence);
        }
        Ok(last)
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Ended> {
        self.sender.send(bytes).await.map_err(|_| Ended)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use admin_api::edge::{EdgeKind, PublicKey, Scope as EdgeScope};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::principal::{Role, Scope};
    use crate::store::Publication;

    fn withdrawal(sequence: i64) -> Publication {
        Publication {
            sequence,
            app: "web".into(),
            environment: format!("e{sequence}"),
            number: 1,
            created_at: 0,
            document: None,
            sha256: String::new(),
            previous: String::new(),
            key_id: String::new(),
            signature: String::new(),
            audit: 1,
        }
    }

    #[test]
    fn who_takes_its_snapshots_slowly_keeps_nobody_out_and_stays() {
        let hub = Arc::new(Hub::new(PublicKey { id: "k".into(), key: "00".into() }));
        // More events than are queued for a connection that takes none.
        (1..=2 * i64::try_from(QUEUE).expect("few")).for_each(|n| hub.publish(&withdrawal(n), None));
        let scope = Scope { app: "*".into(), environment: "*".into(), role: Role::Edge };
        let principal = Arc::new(Principal { id: "t".into(), name: "t".into(), scopes: vec![scope] });
        let hello = |edge: &str| Hello {
            edge: edge.into(),
            boot: "b".into(),
            kind: EdgeKind::Gateway,
            region: None,
            version: "1".into(),
            engine: "native".into(),
        };
        let places = Arc::new(Semaphore::new(1));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let open = async |edge: &str| {
                let handout = Arc::clone(&places).acquire_owned().await.expect("not closed");
                let places = Places { stop: CancellationToken::new(), handout, held: () };
                hub.stream(hello(edge), Arc::clone(&principal), None, places)
            };
            let since = Instant::now();
            let mut quick = open("quick").await;
            let taking = async { while quick.0.recv().await.is_some() {} };
            let waiting = async {
                let slow = open("slow").await;
                assert!(since.elapsed() < HANDOUT, "the quick one had given its place back");
                let _third = open("third").await;
                assert!(since.elapsed() >= HANDOUT, "the slow one had it for as long as one may");
                slow
            };
            let slow = tokio::select! { () = taking => panic!("its stream goes on"), slow = waiting => slow };
            assert!(hub.edges().iter().all(super::super::Edge::is_connected));
            assert!(hub.latest(&EdgeScope { app: "web".into(), environment: "e1".into() }).is_some());
            drop(slow);
        });
    }
}

//! Pingora with the task of the comparison: `balancer LISTEN BLUE GREEN` sends a tenth of the `uid` cookies to the
//! second of two origins, on one worker thread, over kept connections, with the same fields added as everybody adds.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::{HttpPeer, ProxyHttp, Result, Server, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;

/// Of a hundred buckets, those that go to the second origin.
const CANARY: u64 = 10;
/// The increment of the splitmix64 generator.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

struct Balancer {
    blue: String,
    green: String,
    ids: AtomicU64,
}

/// A request's id, as hex.
struct Identity(String);

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = Identity;

    fn new_ctx(&self) -> Identity {
        Identity(format!("{:016x}{:016x}", self.random(), self.random()))
    }

    async fn upstream_peer(&self, session: &mut Session, _: &mut Identity) -> Result<Box<HttpPeer>> {
        let cookies = session.req_header().headers.get("cookie").map_or(&b""[..], |value| value.as_bytes());
        let address = if bucket(uid(cookies)) < CANARY { &self.green } else { &self.blue };
        Ok(Box::new(HttpPeer::new(address.as_str(), false, String::new())))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        Identity(id): &mut Identity,
    ) -> Result<()> {
        if let Some(address) = session.client_addr().and_then(|address| address.as_inet()) {
            request.insert_header("x-forwarded-for", address.ip().to_string())?;
        }
        if let Some(host) = request.headers.get("host").cloned() {
            request.insert_header("x-forwarded-host", host)?;
        }
        request.insert_header("x-forwarded-proto", "http")?;
        request.insert_header("x-request-id", &*id)?;
        request.insert_header("traceparent", format!("00-{id}-{:016x}-01", self.random()))
    }

    async fn response_filter(&self, _: &mut Session, answer: &mut ResponseHeader, id: &mut Identity) -> Result<()> {
        answer.insert_header("x-request-id", &id.0)
    }
}

impl Balancer {
    /// splitmix64: enough for ids that nobody checks.
    fn random(&self) -> u64 {
        let mut word = self.ids.fetch_add(GOLDEN, Ordering::Relaxed);
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }
}

fn uid(cookies: &[u8]) -> &[u8] {
    let mut pairs = cookies.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pairs.find_map(|pair| pair.strip_prefix(b"uid=")).unwrap_or_default()
}

fn bucket(unit: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    unit.hash(&mut hasher);
    hasher.finish() % 100
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, blue, green] = arguments.as_slice() else {
        eprintln!("usage: balancer LISTEN BLUE GREEN");
        std::process::exit(2);
    };
    let configuration = ServerConf { threads: 1, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, configuration);
    server.bootstrap();
    let balancer =
        Balancer { blue: blue.clone(), green: green.clone(), ids: AtomicU64::new(std::process::id().into()) };
    let mut service = http_proxy_service(&server.configuration, balancer);
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}

//! Pingora with the task of the comparison: `balancer LISTEN BLUE GREEN` sends a tenth of the `uid` cookies to the
//! second of two origins, on one worker thread, over kept connections.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use async_trait::async_trait;
use pingora::prelude::{HttpPeer, ProxyHttp, Result, Server, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;

/// Of a hundred buckets, those that go to the second origin.
const CANARY: u64 = 10;

struct Balancer {
    blue: String,
    green: String,
}

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        let cookies = session.req_header().headers.get("cookie").map_or(&b""[..], |value| value.as_bytes());
        let address = if bucket(uid(cookies)) < CANARY { &self.green } else { &self.blue };
        Ok(Box::new(HttpPeer::new(address.as_str(), false, String::new())))
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
    let balancer = Balancer { blue: blue.clone(), green: green.clone() };
    let mut service = http_proxy_service(&server.configuration, balancer);
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}

//! Calls out of the control plane to what its operator named in a file: webhooks, Prometheus, smoke checks.
//!
//! Invariants: the connection goes to the very address that was looked at, never to a link-local one or a metadata service;
//! redirects are not followed; time and size are bounded; and of a URL nothing but scheme and host is ever shown, since its
//! path may be a secret.

pub mod sign;
mod url;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub use url::OutUrl;

/// Where clouds that use no link-local address tell a machine its secrets.
const METADATA: [IpAddr; 2] =
    [IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)), IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200))];
/// Who calls.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("bascule/", env!("CARGO_PKG_VERSION")));

/// A text that nobody is shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

/// One call.
#[derive(Debug, Clone)]
pub struct OutCall {
    /// The method.
    pub method: Method,
    /// Where.
    pub url: OutUrl,
    /// Header fields, besides those that every request has. A `host` stands for the URL's.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// For all of it, the connection included.
    pub timeout: Duration,
    /// An answer's body is cut there.
    pub most_bytes: usize,
}

/// What was answered, whatever the status.
#[derive(Debug, Clone)]
pub struct OutAnswer {
    /// The status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body, or the beginning of it.
    pub body: Bytes,
    /// From the connection on until the last byte that was read.
    pub took: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Nobody can be trusted.
    #[error("TLS cannot be used")]
    Tls(#[source] rustls::Error),
    /// The name leads nowhere, or nobody is there.
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    /// The name leads where no call goes.
    #[error("{0} is a link-local address or a metadata service, which nothing is called at")]
    OffLimits(IpAddr),
    /// The connection broke, or what came was no HTTP.
    #[error("the connection broke: {0}")]
    Broken(#[source] hyper::Error),
    /// It took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// What is to be sent is no request.
    #[error("that is no request")]
    Request(#[source] http::Error),
}

/// Calls out.
#[derive(Clone)]
pub struct Outbound {
    tls: Arc<ClientConfig>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

impl SecretText {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to send it to whom it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Bytes both ways.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Outbound {
    /// Trusts the system's authorities.
    pub fn new() -> Result<Self, OutboundError> {
        let mut roots = RootCertStore::empty();
        // What of the system's cannot be read is left out; the handshake says what is missing.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(OutboundError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(config) })
    }

    /// Calls once, on a connection of its own.
    pub async fn call(&self, call: OutCall) -> Result<OutAnswer, OutboundError> {
        let timeout = call.timeout;
        let answer = tokio::time::timeout(timeout, self.exchange(call)).await;
        answer.unwrap_or(Err(OutboundError::Late(timeout)))
    }

    async fn exchange(&self, call: OutCall) -> Result<OutAnswer, OutboundError> {
        let most = call.most_bytes;
        let stream = self.connect(&call.url).await?;
        let connected = Instant::now();
        let request = request(call)?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(OutboundError::Broken)?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let (head, body) = answer.into_parts();
            Ok((head, beginning(body, most).await?))
        };
        // The connection is driven here, so that it ends with the call.
        let done = tokio::select! {
            biased;
            done = exchange => done,
            never = drive(connection) => never,
        };
        let (head, body) = done.map_err(OutboundError::Broken)?;
        Ok(OutAnswer { status: head.status, headers: head.headers, body, took: connected.elapsed() })
    }

    async fn connect(&self, url: &OutUrl) -> Result<Box<dyn Io>, OutboundError> {
        let tcp = reach(url).await?;
        tcp.set_nodelay(true).map_err(OutboundError::Connect)?;
        if !url.is_tls() {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(url.host().to_owned());
        let name = name.map_err(|error| OutboundError::Connect(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await;
        Ok(Box::new(stream.map_err(OutboundError::Connect)?))
    }
}

/// A connection to an address that calls may go to. A name with one that they may not is refused as a whole.
async fn reach(url: &OutUrl) -> Result<TcpStream, OutboundError> {
    let found = tokio::net::lookup_host((url.host(), url.port())).await.map_err(OutboundError::Connect)?;
    let addresses: Vec<SocketAddr> = found.collect();
    if let Some(bad) = addresses.iter().find(|address| is_off_limits(address.ip())) {
        return Err(OutboundError::OffLimits(bad.ip()));
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(OutboundError::Connect(last))
}

fn is_off_limits(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address == Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(address) => address.is_unicast_link_local() || address == Ipv6Addr::UNSPECIFIED,
    };
    is_link_local || METADATA.contains(&address)
}

fn request(call: OutCall) -> Result<Request<Full<Bytes>>, OutboundError> {
    let OutCall { method, url, fields, body, .. } = call;
    let mut request = Request::builder().method(&method).uri(url.target());
    if let Some(headers) = request.headers_mut() {
        headers.insert(HOST, url.authority().map_err(OutboundError::Request)?);
        headers.insert(USER_AGENT, AGENT);
        if !body.is_empty() || method == Method::POST {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        for (name, value) in fields {
            headers.insert(name, value);
        }
    }
    request.body(Full::new(body)).map_err(OutboundError::Request)
}

/// Drives a connection. What broke it, its exchange says.
async fn drive<T>(connection: impl Future<Output = Result<(), hyper::Error>>) -> T {
    let _ = connection.await;
    std::future::pending().await
}

/// So many bytes of a body, and no more.
async fn beginning(mut body: Incoming, most: usize) -> Result<Bytes, hyper::Error> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = most - all.len();
            all.extend_from_slice(data.get(..room).unwrap_or(&data));
        }
        if all.len() >= most {
            break;
        }
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod tests;

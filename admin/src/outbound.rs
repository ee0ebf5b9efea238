//! Calls out of the control plane, to what its operator named: webhooks, Prometheus, probes.
//!
//! Invariants: an address is resolved once, looked at, and then connected to; link-local addresses, where clouds keep their
//! metadata, are never called. No redirect is followed. A call is bounded in time, and its answer in size. What a URL says
//! after its host may be a secret and is in no error and no debug output.

pub mod secret;
pub mod sign;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use admin_api::ClientError;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Who calls.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("bascule/", env!("CARGO_PKG_VERSION")));

/// Where something is called: `http` or `https`.
#[derive(Clone, PartialEq, Eq)]
pub struct OutUrl {
    is_tls: bool,
    host: Box<str>,
    port: u16,
    authority: Box<str>,
    path: Box<str>,
}

/// A URL that cannot be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a URL begins with http:// or https:// and a host, and has no user and no fragment")]
pub struct UrlError;

impl FromStr for OutUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.contains('#') {
            return Err(UrlError);
        }
        let uri: http::Uri = text.trim().parse().map_err(|_| UrlError)?;
        let authority = uri.authority().ok_or(UrlError)?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(UrlError),
        };
        let is_odd = authority.port_u16().is_none() && authority.as_str() != authority.host();
        if authority.as_str().contains('@') || authority.host().is_empty() || is_odd {
            return Err(UrlError);
        }
        Ok(Self {
            is_tls,
            host: authority.host().trim_start_matches('[').trim_end_matches(']').into(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.as_str().into(),
            path: uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).into(),
        })
    }
}

impl OutUrl {
    /// Whether what is sent is hidden on its way.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The same with query parameters.
    #[must_use]
    pub fn query(&self, parameters: &[(&str, &str)]) -> Self {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let joint = if self.path.contains('?') { '&' } else { '?' };
        Self { path: format!("{}{joint}{query}", self.path).into(), ..self.clone() }
    }

    /// A place below this one, without its query.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        let base = self.path.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { path: format!("{base}/{path}").into(), ..self.clone() }
    }
}

/// Only scheme and host.
impl fmt::Display for OutUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority)
    }
}

impl fmt::Debug for OutUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutUrl({self})")
    }
}

/// A call.
#[derive(Clone)]
pub struct OutCall {
    /// The method.
    pub method: Method,
    /// Where.
    pub url: OutUrl,
    /// Head fields beside `user-agent` and the framing. A `host` stands for the URL's.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
    /// For all of it, connection and answer included.
    pub timeout: Duration,
    /// Bytes of the answer's body that are read; the rest is left.
    pub most_bytes: usize,
}

/// Fields may hold a token.
impl fmt::Debug for OutCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutCall").field("method", &self.method).field("url", &self.url).finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct OutAnswer {
    /// The status.
    pub status: StatusCode,
    /// The head.
    pub headers: HeaderMap,
    /// The body, or its beginning.
    pub body: Bytes,
    /// From the call to the head of the answer.
    pub took: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The certificates of the system.
    #[error("calls cannot be made")]
    Tls(#[source] ClientError),
    /// All its addresses are link-local or none at all.
    #[error("{0} is at an address that is never called")]
    Address(OutUrl),
    /// No connection.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// Where.
        url: OutUrl,
        /// What the system said.
        source: io::Error,
    },
    /// No answer in time.
    #[error("{url} did not answer within {} ms", .timeout.as_millis())]
    Late {
        /// Where.
        url: OutUrl,
        /// How long.
        timeout: Duration,
    },
    /// What came was no answer.
    #[error("{url} broke off")]
    Broken {
        /// Where.
        url: OutUrl,
        /// What came.
        source: hyper::Error,
    },
}

/// Calls out. The system's authorities are read with the first call that needs them.
#[derive(Clone, Default)]
pub struct Outbound {
    tls: Arc<OnceLock<TlsConnector>>,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound")
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

impl Outbound {
    fn tls(&self) -> Result<&TlsConnector, OutboundError> {
        if let Some(known) = self.tls.get() {
            return Ok(known);
        }
        let made = admin_api::client::trust(b"").map_err(OutboundError::Tls)?;
        // Another call may have been faster; then its own counts.
        Ok(self.tls.get_or_init(|| made))
    }

    /// Calls, once.
    pub async fn call(&self, call: OutCall) -> Result<OutAnswer, OutboundError> {
        let (url, timeout) = (call.url.clone(), call.timeout);
        match tokio::time::timeout(timeout, self.exchange(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(OutboundError::Late { url, timeout }),
        }
    }

    async fn exchange(&self, call: OutCall) -> Result<OutAnswer, OutboundError> {
        let OutCall { method, url, fields, body, most_bytes, .. } = call;
        let began = Instant::now();
        let stream = self.connect(&url).await?;
        let broken = |source| OutboundError::Broken { url: url.clone(), source };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the sender: the answer is read below, or given up.
        let driving = tokio::spawn(connection);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.path.parse().unwrap_or_default();
        let head = request.headers_mut();
        head.extend(fields);
        head.insert(header::USER_AGENT, AGENT);
        if !head.contains_key(header::HOST)
            && let Ok(host) = HeaderValue::try_from(&*url.authority)
        {
            head.insert(header::HOST, host);
        }
        let (parts, mut body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let took = began.elapsed();
        let mut read = BytesMut::new();
        while read.len() < most_bytes
            && let Some(frame) = body.frame().await
        {
            if let Ok(data) = frame.map_err(broken)?.into_data() {
                let room = most_bytes - read.len();
                read.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        driving.abort();
        Ok(OutAnswer { status: parts.status, headers: parts.headers, body: read.freeze(), took })
    }

    async fn connect(&self, url: &OutUrl) -> Result<Box<dyn Io>, OutboundError> {
        let unreachable = |source| OutboundError::Unreachable { url: url.clone(), source };
        let found = tokio::net::lookup_host((&*url.host, url.port)).await.map_err(unreachable)?;
        let addresses: Vec<SocketAddr> = found.filter(|address| !is_forbidden(address.ip())).collect();
        if addresses.is_empty() {
            return Err(OutboundError::Address(url.clone()));
        }
        let stream = TcpStream::connect(&*addresses).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        if !url.is_tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(url.host.to_string()).map_err(|error| unreachable(io::Error::other(error)))?;
        Ok(Box::new(self.tls()?.connect(name, stream).await.map_err(unreachable)?))
    }
}

/// Addresses that no operator means: link-local ones, at which clouds answer with credentials, and those of nobody.
fn is_forbidden(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => {
            // fd00:ec2::254 is where one cloud answers over IPv6.
            let is_metadata = v6.segments() == [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254];
            // NAT64 leads to IPv4 addresses.
            let embedded = match v6.segments() {
                [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => {
                    Some(IpAddr::from((u32::from(high) << 16 | u32::from(low)).to_be_bytes()))
                }
                _ => None,
            };
            is_metadata
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || embedded.is_some_and(is_forbidden)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_its_host_and_nothing_after_it() {
        let url: OutUrl = "https://hooks.example:8443/services/canary?key=canary".parse().expect("a URL");
        assert_eq!((url.to_string().as_str(), url.port, url.is_tls()), ("https://hooks.example:8443", 8443, true));
        assert!(!format!("{url:?}").contains("canary"));
        let asked: OutUrl = "http://[::1]/api/v1/query".parse().expect("a URL");
        assert_eq!(&*asked.query(&[("query", "up == 1")]).path, "/api/v1/query?query=up+%3D%3D+1");
        for bad in ["", "h", "ftp://h/", "https://u:p@h/", "https://h/#a", "https:///x", "http://h:/"] {
            assert_eq!(bad.parse::<OutUrl>(), Err(UrlError), "{bad}");
        }
    }

    #[test]
    fn addresses_at_which_clouds_answer_are_never_called() {
        let forbidden = [
            "169.254.169.254",
            "169.254.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "fd00:ec2::254",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ];
        for address in forbidden {
            assert!(is_forbidden(address.parse().expect("an address")), "{address}");
        }
        for address in ["127.0.0.1", "10.0.0.1", "192.0.2.1", "::1", "2001:db8::1", "64:ff9b::a00:1"] {
            assert!(!is_forbidden(address.parse().expect("an address")), "{address}");
        }
    }

    #[tokio::test]
    async fn the_metadata_of_a_cloud_is_not_called_however_it_is_spelt() {
        let outbound = Outbound::default();
        for host in ["169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]", "0.0.0.0"] {
            let call = OutCall {
                method: Method::GET,
                url: format!("http://{host}/latest").parse().expect("a URL"),
                fields: Vec::new(),
                body: Bytes::new(),
                timeout: Duration::from_secs(5),
                most_bytes: 10,
            };
            let error = outbound.call(call).await.expect_err(host);
            assert!(matches!(error, OutboundError::Address(_)), "{host}: {error}");
        }
    }
}

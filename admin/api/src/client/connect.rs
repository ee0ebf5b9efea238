//! Where the control plane is, and a connection to it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::ClientError;

/// Bytes both ways.
pub(super) trait Io: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Io for T {}

/// A parsed URL and, for `https`, whom to trust.
pub(super) struct Target {
    url: String,
    host: HeaderValue,
    name: String,
    port: u16,
    prefix: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Target").field(&self.url).finish()
    }
}

impl Target {
    pub(super) fn parse(url: &str, authorities: &[u8]) -> Result<Self, ClientError> {
        let unfit = || ClientError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| unfit())?;
        let authority = uri.authority().ok_or_else(unfit)?;
        // A password in a URL would be in the shell's history; a query has no place before a path.
        if authority.as_str().contains('@') || uri.query().is_some() || authority.host().is_empty() {
            return Err(unfit());
        }
        // A port that is no number would otherwise be the scheme's.
        if authority.port_u16().is_none() && authority.as_str() != authority.host() {
            return Err(unfit());
        }
        let (is_tls, default_port) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(unfit()),
        };
        let name = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = if is_tls {
            let server = ServerName::try_from(name.clone()).map_err(|_| unfit())?;
            Some((connector(authorities)?, server))
        } else {
            None
        };
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            host: HeaderValue::try_from(authority.as_str()).map_err(|_| unfit())?,
            port: authority.port_u16().unwrap_or(default_port),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            name,
            tls,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// What goes before every path.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) async fn connect(&self) -> io::Result<Pin<Box<dyn Io>>> {
        let stream = TcpStream::connect((self.name.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            Some((connector, server)) => Box::pin(connector.connect(server.clone(), stream).await?),
            None => Box::pin(stream),
        })
    }
}

/// TLS that trusts the system's authorities and these, as PEM.
pub fn connector(authorities: &[u8]) -> Result<TlsConnector, ClientError> {
    let unfit = |error: &dyn std::fmt::Display| ClientError::Authorities(error.to_string());
    let mut roots = RootCertStore::empty();
    // What of the system's cannot be read is left out; the handshake says what is missing.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let mut own = 0;
    for certificate in CertificateDer::pem_slice_iter(authorities) {
        let certificate = certificate.map_err(|error| unfit(&error))?;
        roots.add(certificate).map_err(|error| unfit(&error))?;
        own += 1;
    }
    if own == 0 && !authorities.is_empty() {
        return Err(unfit(&"there is none in the file"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_servers_are_taken() {
        for url in
            ["", "admin.example", "ftp://h", "http://", "http://u:p@h", "http://h/?a=b", "http://h:99999", "http://h:"]
        {
            assert!(Target::parse(url, b"").is_err(), "{url}");
        }
        let target = Target::parse("https://[::1]:7400/bascule/", b"").expect("a URL");
        assert_eq!((target.name.as_str(), target.port, target.prefix()), ("::1", 7400, "/bascule"));
        assert_eq!(Target::parse("http://h", b"").expect("a URL").port, 80);
    }

    #[test]
    fn a_file_without_certificates_is_no_file_of_authorities() {
        assert!(matches!(Target::parse("https://h", b"nothing"), Err(ClientError::Authorities(_))));
    }
}

//! A URL that calls go to. Invariant: what shows it shows scheme and host only.

use std::fmt;

use http::{HeaderValue, Uri};

/// Where a call goes.
#[derive(Clone, PartialEq, Eq)]
pub struct OutUrl {
    is_tls: bool,
    authority: String,
    host: String,
    port: u16,
    target: String,
}

impl OutUrl {
    /// An `http` or `https` URL without a password.
    pub fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?;
        let (is_tls, port) = match uri.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return None,
        };
        // A port that is no number would otherwise be the scheme's.
        let is_plain = authority.port_u16().is_some() || authority.as_str() == authority.host();
        if authority.as_str().contains('@') || authority.host().is_empty() || !is_plain || text.contains('#') {
            return None;
        }
        Some(Self {
            is_tls,
            authority: authority.as_str().to_owned(),
            host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: authority.port_u16().unwrap_or(port),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        })
    }

    /// A place below this one.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        let base = self.target.split('?').next().unwrap_or_default().trim_end_matches('/');
        Self { target: format!("{base}/{path}"), ..self.clone() }
    }

    /// With one more field in its query.
    #[must_use]
    pub fn with_query(&self, name: &str, value: &str) -> Self {
        let field = form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
        let separator = if self.target.contains('?') { '&' } else { '?' };
        Self { target: format!("{}{separator}{field}", self.target), ..self.clone() }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Path and query.
    pub(super) fn target(&self) -> &str {
        &self.target
    }

    pub(super) fn authority(&self) -> Result<HeaderValue, http::Error> {
        Ok(HeaderValue::try_from(self.authority.as_str())?)
    }
}

impl fmt::Display for OutUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.authority)
    }
}

impl fmt::Debug for OutUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutUrl({self}/…)")
    }
}

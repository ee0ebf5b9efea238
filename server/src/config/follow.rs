//! Which control plane a gateway follows, and by what it knows it.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, Scheme};

use super::secret::Secret;

/// A control plane to follow.
#[derive(Debug, Clone)]
pub struct Follow {
    /// Where it is.
    pub url: AdminUrl,
    /// The token with the role `edge`.
    pub token: Secret,
    /// The Ed25519 keys that snapshots may be signed with; none = those of the first contact are trusted from then on.
    pub public_keys: Vec<[u8; 32]>,
    /// The edge's id; `None` = one that the state directory keeps.
    pub edge_id: Option<String>,
    /// PEM file with the authorities that an https control plane is checked against; `None` = those of the system.
    pub ca: Option<PathBuf>,
}

/// `http://HOST[:PORT][/PATH]`, or the same with `https`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminUrl {
    is_https: bool,
    authority: Authority,
    /// Without a slash at the end.
    path: String,
}

/// The text is no URL of a control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a control plane is named by http://HOST[:PORT] or https://HOST[:PORT], without user, query or fragment")]
pub struct InvalidUrl;

impl From<std::net::SocketAddr> for AdminUrl {
    fn from(address: std::net::SocketAddr) -> Self {
        let authority = address.to_string().parse().expect("an address with a port is an authority");
        Self { is_https: false, authority, path: String::new() }
    }
}

impl FromStr for AdminUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidUrl)?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(InvalidUrl),
        };
        let authority = uri.authority().cloned().ok_or(InvalidUrl)?;
        if authority.as_str().contains('@')
            || uri.query().is_some()
            || text.contains('#')
            || authority.host().is_empty()
        {
            return Err(InvalidUrl);
        }
        Ok(Self { is_https, authority, path: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())?;
        f.write_str(&self.path)
    }
}

impl AdminUrl {
    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        format!("{}://{}", if self.is_https { "https" } else { "http" }, self.authority)
    }

    /// Host and port as they were written.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// What comes before the paths of the protocol; empty, or with a slash at its beginning.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the token and the bucketing keys would cross a network in clear text.
    pub fn is_exposed(&self) -> bool {
        let host = self.authority.host().trim_start_matches('[').trim_end_matches(']');
        let is_local = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        !self.is_https && !is_local
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_http_or_https_with_a_host_and_perhaps_a_path() {
        let shown = |text: &str| text.parse::<AdminUrl>().map(|url| (url.origin(), url.path().to_owned()));
        let both = |origin: &str, path: &str| Ok((origin.to_owned(), path.to_owned()));
        assert_eq!(shown("https://admin.example"), both("https://admin.example", ""));
        assert_eq!(shown("http://127.0.0.1:8090/"), both("http://127.0.0.1:8090", ""));
        assert_eq!(shown("http://[::1]:8090/bascule/"), both("http://[::1]:8090", "/bascule"));
        for text in ["", "admin.example", "ftp://a", "http://", "http://u:p@a", "http://a?x", "http://a#x", "/a"] {
            assert_eq!(shown(text), Err(InvalidUrl), "{text}");
        }
    }

    #[test]
    fn clear_text_beyond_this_machine_is_seen() {
        let exposed = |text: &str| text.parse::<AdminUrl>().expect("a URL").is_exposed();
        assert_eq!(["http://admin.example", "http://10.0.0.1:1"].map(exposed), [true; 2]);
        let safe = ["https://admin.example", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"];
        assert_eq!(safe.map(exposed), [false; 4]);
    }
}

//! The parts of a URL as the runtime writes it: parsed and normalised already, so that cutting is enough. The crate `url`
//! would be a third of the Worker.

/// What a request's URL says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host, and port unless it is the scheme's.
    pub authority: &'a str,
    /// Path and query, as they are sent on.
    pub target: &'a str,
    /// The path.
    pub path: &'a str,
    /// What follows the `?`, or nothing.
    pub query: &'a str,
}

/// Cuts a URL.
pub fn parts(url: &str) -> Parts<'_> {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let start = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(start);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Parts { scheme, authority, target, path, query }
}

/// The name of the service that an upstream's URL stands for: `https://web-v2.binding` is what is bound as `WEB_V2`.
pub fn binding(url: &str) -> Option<String> {
    let name = parts(url).authority.strip_suffix(".binding")?;
    (!name.is_empty()).then(|| name.replace('-', "_").to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_cut_where_its_parts_meet() {
        let whole = parts("https://shop.example:8443/a/b?c=d?e#f");
        assert_eq!((whole.scheme, whole.authority), ("https", "shop.example:8443"));
        assert_eq!((whole.target, whole.path, whole.query), ("/a/b?c=d?e", "/a/b", "c=d?e"));
        assert_eq!(binding("https://web-v2.binding"), Some("WEB_V2".to_owned()));
        assert_eq!(binding("https://web-v2.binding/"), Some("WEB_V2".to_owned()));
        for url in ["https://shop.example", "https://.binding", "https://binding", "https://a.binding:8443"] {
            assert_eq!(binding(url), None, "{url}");
        }
        let bare = parts("http://[::1]:1/");
        assert_eq!((bare.authority, bare.target, bare.query), ("[::1]:1", "/", ""));
    }
}

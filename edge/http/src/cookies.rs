//! The edge's cookies, and reading the client's.

use http::header::{self, HeaderMap, HeaderValue};

/// Name of the cookie with the minted unit.
pub const UNIT: &str = "bsc_unit";
const PIN: &str = "bsc_pin";
/// A year; browsers keep cookies little longer than that.
const UNIT_SECONDS: i64 = 365 * 24 * 60 * 60;

/// All cookies of a request, in order; quotes and escapes are left as they are.
pub fn all(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    read(headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes))
}

/// The same of the values of `cookie` fields.
pub fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    lines.flat_map(|line| line.split(|byte| *byte == b';')).filter_map(|pair| {
        let pair = pair.trim_ascii();
        let equals = memchr::memchr(b'=', pair)?;
        Some((&pair[..equals], &pair[equals + 1..]))
    })
}

/// Whether a value can be one that an edge minted. Anything else counts as absent.
pub fn is_unit(value: &[u8]) -> bool {
    value.len() == 32 && value.iter().all(u8::is_ascii_hexdigit)
}

/// `set-cookie` for a minted unit.
pub fn unit(value: &[u8], is_tls: bool) -> Option<String> {
    Some(set(UNIT, std::str::from_utf8(value).ok()?, UNIT_SECONDS, is_tls))
}

/// `set-cookie` for a release pin.
pub fn pin(value: &str, max_age: i64, is_tls: bool) -> String {
    set(PIN, value, max_age, is_tls)
}

fn set(name: &str, value: &str, max_age: i64, is_tls: bool) -> String {
    let secure = if is_tls { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}")
}

/// Whether a value of `cache-control` lets caches give the answer to everybody: such an answer carries no cookie of ours.
pub fn is_public(cache_control: &[u8]) -> bool {
    crate::fields::offers(cache_control, b"public") || memchr::memmem::find(cache_control, b"s-maxage").is_some()
}

/// A response that sets our cookies is for one client only.
pub fn make_private(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_str(line).unwrap());
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        all(&headers).map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn cookies_are_read_over_several_lines() {
        let cookies = read(&["a=1; b=\"2\";c==3; novalue; =x", " d=4 "]);
        let expected = [("a", "1"), ("b", "\"2\""), ("c", "=3"), ("", "x"), ("d", "4")];
        assert_eq!(cookies, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn only_a_minted_form_counts_as_a_unit() {
        assert!(is_unit(b"0123456789abcdef0123456789abcdef"));
        assert!(!is_unit(b"0123456789abcdef0123456789abcde"));
        assert!(!is_unit(b"0123456789abcdef0123456789abcdeg"));
    }

    #[test]
    fn a_cookie_is_secure_under_tls() {
        let cookie = unit(b"ab", true).unwrap();
        assert_eq!(cookie, "bsc_unit=ab; Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(pin("x", 60, false), "bsc_pin=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax");
    }
}

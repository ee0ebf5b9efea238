//! Which pages of other origins may use an environment's flags.
//!
//! Tokens travel in headers that a page sets itself, never as cookies, so `*` gives nothing away that a token does not.

/// Methods that a page may use.
pub const ALLOW_METHODS: &str = "GET, POST, OPTIONS";
/// Headers that a page may send.
pub const ALLOW_HEADERS: &str = "Content-Type, Authorization, X-API-Key, If-None-Match";
/// Headers that a page may read.
pub const EXPOSE_HEADERS: &str = "ETag, Retry-After";
/// Seconds for which a browser need not ask again.
pub const MAX_AGE_SECONDS: u32 = 7200;

/// The value of `Access-Control-Allow-Origin` for a page of this origin: the origin itself, or `*` where all may.
pub fn allowed<'o>(origins: &[String], origin: &'o str) -> Option<&'o str> {
    if origins.iter().any(|known| known == "*") {
        return Some("*");
    }
    // Browsers send origins in lower case, without a default port: byte for byte what the list has.
    origins.iter().any(|known| known == origin).then_some(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_allowed_exactly_or_by_the_star() {
        let list = ["https://app.example".to_owned(), "http://localhost:5173".to_owned()];
        assert_eq!(allowed(&list, "https://app.example"), Some("https://app.example"));
        for other in ["https://app.example.evil.example", "http://app.example", "https://app.example:444", "null", ""] {
            assert_eq!(allowed(&list, other), None, "{other}");
        }
        assert_eq!(allowed(&["*".to_owned()], "null"), Some("*"));
        assert_eq!(allowed(&[], "https://app.example"), None);
    }
}

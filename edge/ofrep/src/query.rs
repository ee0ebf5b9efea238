//! Query strings and percent-encoding, as far as OFREP needs them.

use std::borrow::Cow;

/// The value of a parameter of a query string (without `?`), decoded; the first one counts.
pub fn parameter<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode(value, true))
    })
}

/// Decodes `%xx`, and `+` in queries. What is not encoded properly stays as it is; what is not UTF-8 becomes U+FFFD.
pub(crate) fn percent_decode(text: &str, is_query: bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || (is_query && byte == b'+')) {
        return Cow::Borrowed(text);
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        match (byte, ahead.next().and_then(digit), ahead.next().and_then(digit)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high << 4 | low);
                bytes = ahead;
            }
            (b'+', _, _) if is_query => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    Cow::Owned(
        String::from_utf8(decoded).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

fn digit(byte: u8) -> Option<u8> {
    u8::try_from(char::from(byte).to_digit(16)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_a_name_counts_decoded() {
        let query = "a=1&flagConfigEtag=%22x%2by%22&b&flagConfigEtag=z&c=d+e";
        assert_eq!(parameter(query, "flagConfigEtag").as_deref(), Some("\"x+y\""));
        assert_eq!(parameter(query, "b").as_deref(), Some(""));
        assert_eq!(parameter(query, "c").as_deref(), Some("d e"));
        assert_eq!(parameter(query, "d"), None);
    }
}

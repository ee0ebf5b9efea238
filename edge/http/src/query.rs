//! Query parameters, decoded as forms are.

use std::borrow::Cow;

/// The first parameter with this name, decoded.
pub fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    query.split(|byte| *byte == b'&').find_map(|pair| {
        let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        (*decode(&pair[..equals]) == *name).then(|| decode(pair.get(equals + 1..).unwrap_or_default()))
    })
}

/// Form decoding; a `%` that starts no escape stands for itself.
fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let escape = || {
            let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
            u8::try_from(digit(0)? << 4 | digit(1)?).ok()
        };
        match byte {
            b'+' => out.push(b' '),
            b'%' => match escape() {
                Some(decoded) => {
                    out.push(decoded);
                    rest = &after[2..];
                }
                None => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_decoded_and_the_first_counts() {
        let get = |query: &str, name: &str| {
            parameter(query.as_bytes(), name.as_bytes()).map(|v| String::from_utf8_lossy(&v).into_owned())
        };
        assert_eq!(get("a=1&b=2&a=3", "a").as_deref(), Some("1"));
        assert_eq!(get("a=x%20y+z%2", "a").as_deref(), Some("x y z%2"));
        assert_eq!(get("%61=1", "a").as_deref(), Some("1"));
        assert_eq!(get("a&b", "a").as_deref(), Some(""));
        assert_eq!(get("", "a"), None);
        assert_eq!(get("a=%zz%4", "a").as_deref(), Some("%zz%4"));
    }
}

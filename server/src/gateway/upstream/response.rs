//! The head of an upstream's response, read as strictly as a request's: what two parsers could
//! frame differently is not passed on.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::super::gate::head::content_length;
use super::super::headers::{self, list_contains};

/// Most fields of a response; the parser's table.
const MAX_FIELDS: usize = 100;

/// How the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum BodyFraming {
    None,
    Length(u64),
    Chunked,
    /// With the connection.
    Close,
}

/// A response head without its hop-by-hop fields.
#[derive(Debug)]
pub(in crate::gateway) struct ResponseHead {
    pub(in crate::gateway) status: StatusCode,
    pub(in crate::gateway) headers: HeaderMap,
    pub(in crate::gateway) framing: BodyFraming,
    pub(in crate::gateway) keeps_alive: bool,
    /// The protocol that a 101 names.
    pub(in crate::gateway) upgrade: Option<HeaderValue>,
}

/// The response is not one that may be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct Malformed;

/// Takes a complete head from the buffer; `None` while it is incomplete.
pub(in crate::gateway) fn parse(buffer: &mut BytesMut, method: &Method) -> Result<Option<ResponseHead>, Malformed> {
    let mut fields = [const { (0..0, 0..0) }; MAX_FIELDS];
    let Some(raw) = raw(buffer, &mut fields)? else { return Ok(None) };
    let status = StatusCode::from_u16(raw.status).map_err(|_| Malformed)?;
    let head = buffer.split_to(raw.len).freeze();
    let mut reading = Reading { headers: HeaderMap::with_capacity(raw.fields + 4), ..Reading::default() };
    for (name, value) in fields.iter().take(raw.fields) {
        reading.field(&head, name.clone(), value.clone())?;
    }
    reading.finish(status, raw.is_http_11, method).map(Some)
}

struct Raw {
    len: usize,
    status: u16,
    is_http_11: bool,
    fields: usize,
}

type FieldRange = (Range<usize>, Range<usize>);

fn raw(buffer: &[u8], ranges: &mut [FieldRange; MAX_FIELDS]) -> Result<Option<Raw>, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, buffer, &mut fields)
        .map_err(|_| Malformed)?;
    let httparse::Status::Complete(len) = parsed else { return Ok(None) };
    let base = buffer.as_ptr().addr();
    let range = |part: &[u8]| {
        let start = part.as_ptr().addr() - base;
        start..start + part.len()
    };
    for (field, slot) in response.headers.iter().zip(ranges.iter_mut()) {
        *slot = (range(field.name.as_bytes()), range(field.value));
    }
    Ok(Some(Raw {
        len,
        status: response.code.ok_or(Malformed)?,
        is_http_11: response.version == Some(1),
        fields: response.headers.len(),
    }))
}

#[derive(Default)]
struct Reading {
    headers: HeaderMap,
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    keeps: bool,
    upgrade: Option<HeaderValue>,
    /// Fields that `connection` names.
    named: Vec<HeaderName>,
}

impl Reading {
    fn field(&mut self, head: &Bytes, name: Range<usize>, value: Range<usize>) -> Result<(), Malformed> {
        let name = HeaderName::from_bytes(&head[name]).map_err(|_| Malformed)?;
        let value = HeaderValue::from_maybe_shared(head.slice(value)).map_err(|_| Malformed)?;
        match name.as_str() {
            "connection" => self.connection(&value),
            "transfer-encoding" => {
                if self.is_chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed);
                }
                self.is_chunked = true;
            }
            "content-length" => {
                let length = content_length(value.as_bytes()).ok_or(Malformed)?;
                if self.length.replace(length).is_some() {
                    return Err(Malformed);
                }
                self.headers.append(name, value);
            }
            "upgrade" => self.upgrade = Some(value),
            other if headers::is_dropped_from_response(other) => {}
            _ => {
                self.headers.append(name, value);
            }
        }
        Ok(())
    }

    fn connection(&mut self, value: &HeaderValue) {
        self.closes |= list_contains(value, "close");
        self.keeps |= list_contains(value, "keep-alive");
        let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        self.named.extend(names.filter_map(|name| HeaderName::from_bytes(name).ok()));
    }

    fn finish(mut self, status: StatusCode, is_http_11: bool, method: &Method) -> Result<ResponseHead, Malformed> {
        if self.is_chunked && (self.length.is_some() || !is_http_11) {
            return Err(Malformed);
        }
        for name in self.named.drain(..) {
            if name != header::CONTENT_LENGTH {
                self.headers.remove(name);
            }
        }
        let has_no_body = *method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            self.headers.remove(header::CONTENT_LENGTH);
        }
        let framing = match self.length {
            _ if has_no_body => BodyFraming::None,
            _ if self.is_chunked => BodyFraming::Chunked,
            Some(0) => BodyFraming::None,
            Some(length) => BodyFraming::Length(length),
            None => BodyFraming::Close,
        };
        let keeps_alive = !self.closes && (is_http_11 || self.keeps) && framing != BodyFraming::Close;
        Ok(ResponseHead { status, headers: self.headers, framing, keeps_alive, upgrade: self.upgrade })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(head: &str) -> Result<Option<ResponseHead>, Malformed> {
        parse(&mut BytesMut::from(head), &Method::GET)
    }

    #[track_caller]
    fn framing(head: &str, expected: BodyFraming) {
        assert_eq!(get(head).expect("well formed").expect("complete").framing, expected);
    }

    #[test]
    fn the_body_ends_as_the_head_says() {
        framing("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", BodyFraming::Length(5));
        framing("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", BodyFraming::None);
        framing("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", BodyFraming::Chunked);
        framing("HTTP/1.1 200 OK\r\n\r\n", BodyFraming::Close);
        framing("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", BodyFraming::None);
        framing("HTTP/1.1 204 No Content\r\n\r\n", BodyFraming::None);
        let head = parse(&mut BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), &Method::HEAD);
        let head = head.expect("well formed").expect("complete");
        assert_eq!((head.framing, head.headers.len()), (BodyFraming::None, 1));
    }

    #[test]
    fn ambiguous_framing_is_refused() {
        for fields in [
            "content-length: 5\r\ntransfer-encoding: chunked",
            "content-length: 5\r\ncontent-length: 5",
            "content-length: +5",
            "content-length: 5, 5",
            "transfer-encoding: gzip",
            "transfer-encoding: gzip, chunked",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
            "x: a\r\n folded",
            "a b: c",
        ] {
            assert_eq!(get(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n")).err(), Some(Malformed), "{fields}");
        }
        assert_eq!(get("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").err(), Some(Malformed));
        assert_eq!(get("HTTP/1.1 99 OK\r\n\r\n").err(), Some(Malformed));
    }

    #[test]
    fn hop_by_hop_fields_stay_behind() {
        let head =
            get("HTTP/1.1 200 OK\r\nconnection: keep-alive, X-Private\r\nkeep-alive: timeout=5\r\nx-private: 1\r\n\
             proxy-connection: close\r\nx-bascule-release: forged\r\nx-kept: 1\r\ncontent-length: 0\r\n\r\n");
        let head = head.expect("well formed").expect("complete");
        let mut names: Vec<_> = head.headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "x-kept"]);
        assert!(head.keeps_alive);
    }

    #[test]
    fn a_connection_is_kept_only_when_both_sides_mean_it() {
        for (head, keeps) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
        ] {
            assert_eq!(get(head).expect("well formed").expect("complete").keeps_alive, keeps, "{head}");
        }
    }

    #[test]
    fn an_incomplete_head_waits_for_more() {
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n";
        for end in 1..head.len() {
            assert!(get(&head[..end]).expect("not malformed").is_none(), "{end}");
        }
    }
}

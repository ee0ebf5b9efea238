//! The head of a request, read strictly and line by line.
//!
//! It accepts what RFC 9112 calls well formed and refuses everything that two parsers could read
//! differently, also where the RFC would let a server repair it. It keeps what the gate needs to
//! find the end of the message and forgets the rest: names and values are read by the HTTP parser.

use std::ops::Range;

use memchr::{memchr, memchr2};

/// Why a request is refused before anything else looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Reject {
    /// A line does not end in CRLF, or a CR or LF stands alone.
    LineEnd,
    /// NUL or another control character.
    Control,
    /// Not `METHOD SP target SP HTTP/1.x`.
    RequestLine,
    /// The target is no origin, absolute or asterisk form, or has forbidden characters.
    Target,
    /// The target is longer than the limit.
    TargetTooLong,
    /// A method that a gateway does not forward.
    Method,
    /// Not HTTP/1.0 or HTTP/1.1.
    Version,
    /// A line that is no `name: value`.
    FieldLine,
    /// A field continued on the next line.
    Folding,
    /// `content-length` that is not one number.
    ContentLength,
    /// `transfer-encoding` that is not exactly `chunked`, or in HTTP/1.0.
    TransferEncoding,
    /// Both of them.
    BothLengths,
    /// No `host` where one must be.
    HostMissing,
    /// More than one `host`.
    HostRepeated,
    /// A `host` that is no host and port.
    HostInvalid,
    /// A target with another authority than `host`.
    HostMismatch,
    /// The head is larger than the limit, or has more fields.
    HeadTooLarge,
    /// The head did not come in time.
    HeadTimeout,
    /// A chunk size that is not plain hexadecimal.
    ChunkSize,
    /// Chunk extensions that are too long or not text.
    ChunkExtension,
    /// A chunk that does not end where it should.
    ChunkFraming,
    /// A trailer that is malformed, forbidden or too much.
    Trailer,
}

/// Limits that a head must keep.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) struct HeadLimits {
    pub(in crate::gateway) bytes: usize,
    pub(in crate::gateway) fields: usize,
    pub(in crate::gateway) target: usize,
}

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum BodyFraming {
    Length(u64),
    Chunked,
}

/// A well-formed head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct Head {
    /// Its length with the empty line.
    pub(in crate::gateway) len: usize,
    pub(in crate::gateway) body: BodyFraming,
    /// It asks for another protocol: what follows may not be HTTP.
    pub(in crate::gateway) asks_upgrade: bool,
}

/// Reads a head that arrives in pieces; the work is linear in its length, however it is cut.
#[derive(Debug, Default)]
pub(in crate::gateway) struct HeadReader {
    /// Start of the line that is not complete yet.
    line: usize,
    /// How far that line was searched for its end.
    searched: usize,
    fields: usize,
    request: Option<RequestLine>,
    host: Option<Range<usize>>,
    length: Option<u64>,
    is_chunked: bool,
    asks_upgrade: bool,
}

#[derive(Debug)]
struct RequestLine {
    is_http_10: bool,
    authority: Option<Range<usize>>,
}

impl HeadReader {
    /// Reads on. The buffer starts with the head and only ever grows between calls.
    /// `None` while the head is incomplete.
    pub(in crate::gateway) fn read(&mut self, buffer: &[u8], limits: HeadLimits) -> Result<Option<Head>, Reject> {
        loop {
            let rest = buffer.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr2(b'\r', b'\n', rest).map(|at| self.searched + at) else {
                self.searched = buffer.len();
                self.check_size(buffer.len(), limits)?;
                return Ok(None);
            };
            self.searched = found;
            if buffer[found] == b'\n' {
                return Err(Reject::LineEnd);
            }
            match buffer.get(found + 1) {
                None => {
                    self.check_size(buffer.len(), limits)?;
                    return Ok(None);
                }
                Some(b'\n') => {}
                Some(_) => return Err(Reject::LineEnd),
            }
            let line = self.line..found;
            self.line = found + 2;
            self.searched = self.line;
            self.check_size(self.line, limits)?;
            if self.request.is_none() {
                self.request = Some(request_line(buffer, line, limits)?);
            } else if line.is_empty() {
                return self.finish(buffer).map(Some);
            } else {
                self.field(buffer, line, limits)?;
            }
        }
    }

    fn check_size(&self, seen: usize, limits: HeadLimits) -> Result<(), Reject> {
        // The longest method and version add less than 64 bytes to the target.
        if self.request.is_none() && seen > limits.target + 64 {
            return Err(Reject::TargetTooLong);
        }
        if seen > limits.bytes { Err(Reject::HeadTooLarge) } else { Ok(()) }
    }

    fn field(&mut self, buffer: &[u8], line: Range<usize>, limits: HeadLimits) -> Result<(), Reject> {
        self.fields += 1;
        if self.fields > limits.fields {
            return Err(Reject::HeadTooLarge);
        }
        let field = Field::parse(&buffer[line.clone()])?;
        // Most names differ from ours in their length already.
        match field.name.len() {
            4 if field.is("host") => {
                let start = line.start + field.value_at;
                if self.host.replace(start..start + field.value.len()).is_some() {
                    return Err(Reject::HostRepeated);
                }
            }
            7 if field.is("upgrade") => self.asks_upgrade = true,
            14 if field.is("content-length") => {
                let length = content_length(field.value).ok_or(Reject::ContentLength)?;
                if self.length.replace(length).is_some() {
                    return Err(Reject::ContentLength);
                }
            }
            // Some back ends read an underscore as a hyphen.
            14 if field.is("content_length") => return Err(Reject::ContentLength),
            17 if field.is("transfer-encoding") => {
                if self.is_chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Reject::TransferEncoding);
                }
                self.is_chunked = true;
            }
            17 if field.is("transfer_encoding") => return Err(Reject::TransferEncoding),
            _ => {}
        }
        Ok(())
    }

    fn finish(&self, buffer: &[u8]) -> Result<Head, Reject> {
        let request = self.request.as_ref().ok_or(Reject::RequestLine)?;
        if self.is_chunked && self.length.is_some() {
            return Err(Reject::BothLengths);
        }
        if self.is_chunked && request.is_http_10 {
            return Err(Reject::TransferEncoding);
        }
        match &self.host {
            None if request.is_http_10 && request.authority.is_none() => {}
            None => return Err(Reject::HostMissing),
            Some(host) => {
                let host = &buffer[host.clone()];
                if !is_authority(host) {
                    return Err(Reject::HostInvalid);
                }
                if let Some(authority) = &request.authority
                    && !buffer[authority.clone()].eq_ignore_ascii_case(host)
                {
                    return Err(Reject::HostMismatch);
                }
            }
        }
        let body = if self.is_chunked { BodyFraming::Chunked } else { BodyFraming::Length(self.length.unwrap_or(0)) };
        let asks_upgrade = self.asks_upgrade && !request.is_http_10 && body == BodyFraming::Length(0);
        Ok(Head { len: self.line, body, asks_upgrade })
    }
}

/// `METHOD SP target SP HTTP/1.x`, single spaces.
fn request_line(buffer: &[u8], line: Range<usize>, limits: HeadLimits) -> Result<RequestLine, Reject> {
    let text = &buffer[line.clone()];
    if text.iter().any(|byte| !is_text(*byte)) {
        return Err(Reject::Control);
    }
    let method = memchr(b' ', text).ok_or(Reject::RequestLine)?;
    let target = memchr(b' ', &text[method + 1..]).ok_or(Reject::RequestLine)? + method + 1;
    let version = &text[target + 1..];
    if method == 0 || !text[..method].iter().all(|byte| is_token(*byte)) {
        return Err(Reject::RequestLine);
    }
    let is_http_10 = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(Reject::Version),
        _ => return Err(Reject::RequestLine),
    };
    if matches!(&text[..method], b"CONNECT" | b"TRACE") {
        return Err(Reject::Method);
    }
    if target - method - 1 > limits.target {
        return Err(Reject::TargetTooLong);
    }
    let authority = target_authority(&text[..method], &text[method + 1..target])?;
    let offset = line.start + method + 1;
    Ok(RequestLine { is_http_10, authority: authority.map(|at| at.start + offset..at.end + offset) })
}

/// Checks a target; the range of its authority when it is in absolute form.
fn target_authority(method: &[u8], target: &[u8]) -> Result<Option<Range<usize>>, Reject> {
    if target.iter().any(|byte| !TARGET[usize::from(*byte)]) {
        return Err(Reject::Target);
    }
    if target.first() == Some(&b'/') {
        return Ok(None);
    }
    if target == b"*" {
        return if method == b"OPTIONS" { Ok(None) } else { Err(Reject::Target) };
    }
    let start = [b"http://".as_slice(), b"https://"]
        .iter()
        .find_map(|scheme| target.get(..scheme.len())?.eq_ignore_ascii_case(scheme).then_some(scheme.len()))
        .ok_or(Reject::Target)?;
    let end = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?')).map_or(target.len(), |at| start + at);
    if start == end || !is_authority(&target[start..end]) {
        return Err(Reject::Target);
    }
    Ok(Some(start..end))
}

/// One `name: value` line without its end.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) struct Field<'a> {
    pub(in crate::gateway) name: &'a [u8],
    /// Without the white space around it.
    pub(in crate::gateway) value: &'a [u8],
    value_at: usize,
}

impl<'a> Field<'a> {
    pub(in crate::gateway) fn parse(line: &'a [u8]) -> Result<Self, Reject> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Reject::Folding);
        }
        // Without branches in the loop the compiler looks at 16 bytes at a time.
        if line.iter().fold(false, |bad, byte| bad | !is_text(*byte)) {
            return Err(Reject::Control);
        }
        let colon = memchr(b':', line).ok_or(Reject::FieldLine)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(Reject::FieldLine);
        }
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let lead = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
        let end = value.iter().rposition(|byte| !is_space(byte)).map_or(lead, |last| last + 1);
        Ok(Self { name, value: &value[lead..end], value_at: colon + 1 + lead })
    }

    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// One number in decimal digits that fits 18 of them.
pub(in crate::gateway) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Whether a byte may stand in a field value or request line: no control character but the tab.
pub(in crate::gateway) fn is_text(byte: u8) -> bool {
    (byte >= b' ' || byte == b'\t') && byte != 0x7f
}

/// Whether text is `host[:port]`: a name, an IPv4 address or an IPv6 address in brackets.
pub(in crate::gateway) fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', ..] => match memchr(b']', text) {
            Some(close) => (&text[..=close], &text[close + 1..]),
            None => return false,
        },
        _ => text.split_at(memchr(b':', text).unwrap_or(text.len())),
    };
    let is_host = match host {
        [b'[', address @ .., b']'] => {
            !address.is_empty() && address.iter().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'))
        }
        name => !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_host && is_port
}

fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

const fn table(accepted: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < accepted.len() {
        table[accepted[at] as usize] = true;
        at += 1;
    }
    table
}

/// RFC 9110, 5.6.2.
static TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
/// RFC 3986 without `#`, and the few characters that browsers send unescaped.
static TARGET: [bool; 256] = table(b"-._~:/?[]@!$&'()*+,;=%|{}^\\");

#[cfg(test)]
mod tests;

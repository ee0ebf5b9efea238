//! The chunked transfer coding, read strictly: sizes are bare hexadecimal digits, every line ends
//! in CRLF, extensions and trailers are bounded, trailers carry no framing or routing fields.
//!
//! One scanner for both directions: the gate only wants to know where a body ends, the upstream
//! side also wants the data. It never looks at data bytes.

use super::head::{Field, Reject, is_text};

/// Hexadecimal digits of a size: 15 of them cannot overflow.
const MAX_SIZE_DIGITS: u8 = 15;
/// Bytes of all chunk extensions of a body. Nobody uses them; a stream of them is an attack.
const MAX_EXTENSION_BYTES: usize = 4 * 1024;
/// Bytes of all trailers.
const MAX_TRAILER_BYTES: usize = 16 * 1024;
/// Number of trailers.
const MAX_TRAILERS: usize = 64;

/// What the next bytes of the buffer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Part {
    /// Framing; skip it.
    Framing(usize),
    /// Data of a chunk.
    Data(usize),
    /// Framing, and with it the body ends.
    End(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: u8 },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// A strict scanner of one chunked body.
#[derive(Debug)]
pub(in crate::gateway) struct Chunked {
    state: State,
    left: u64,
    extension: usize,
    trailer_count: usize,
    line: usize,
    trailers: Vec<u8>,
}

impl Default for Chunked {
    fn default() -> Self {
        Self {
            state: State::Size { digits: 0 },
            left: 0,
            extension: 0,
            trailer_count: 0,
            line: 0,
            trailers: Vec::new(),
        }
    }
}

impl Chunked {
    /// Classifies the start of a non-empty buffer. After `End` it must not be called again.
    pub(in crate::gateway) fn next(&mut self, buffer: &[u8]) -> Result<Part, Reject> {
        if self.state == State::Data {
            let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
            self.left -= here as u64;
            if self.left == 0 {
                self.state = State::DataCr;
            }
            return Ok(Part::Data(here));
        }
        for (at, byte) in buffer.iter().enumerate() {
            self.step(*byte)?;
            match self.state {
                State::Data => return Ok(Part::Framing(at + 1)),
                State::Done => return Ok(Part::End(at + 1)),
                _ => {}
            }
        }
        Ok(Part::Framing(buffer.len()))
    }

    /// The trailer section, fields with their line ends; empty when there were none.
    pub(in crate::gateway) fn into_trailers(self) -> Vec<u8> {
        self.trailers
    }

    fn step(&mut self, byte: u8) -> Result<(), Reject> {
        self.state = match (self.state, byte) {
            (State::Size { digits: 1.. } | State::Extension, b'\r') => State::SizeLf,
            (State::Size { digits: 1.. }, b';') => State::Extension,
            (State::Size { digits }, byte) => {
                let digit = char::from(byte).to_digit(16).ok_or(Reject::ChunkSize)?;
                if digits == MAX_SIZE_DIGITS {
                    return Err(Reject::ChunkSize);
                }
                self.left = self.left << 4 | u64::from(digit);
                State::Size { digits: digits + 1 }
            }
            (State::Extension, byte) => {
                self.extension += 1;
                if !is_text(byte) || self.extension > MAX_EXTENSION_BYTES {
                    return Err(Reject::ChunkExtension);
                }
                State::Extension
            }
            (State::SizeLf, b'\n') if self.left == 0 => State::TrailerStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0 },
            (State::TrailerStart, b'\r') => State::EndLf,
            (State::TrailerStart | State::Trailer, byte) => self.trailer(byte)?,
            (State::TrailerLf, b'\n') => self.trailer_end()?,
            (State::EndLf, b'\n') => State::Done,
            _ => return Err(Reject::ChunkFraming),
        };
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Reject> {
        if self.state == State::TrailerStart {
            self.line = self.trailers.len();
        }
        if byte == b'\r' {
            return Ok(State::TrailerLf);
        }
        if !is_text(byte) || self.trailers.len() >= MAX_TRAILER_BYTES {
            return Err(Reject::Trailer);
        }
        self.trailers.push(byte);
        Ok(State::Trailer)
    }

    fn trailer_end(&mut self) -> Result<State, Reject> {
        self.trailer_count += 1;
        let line = self.trailers.get(self.line..).unwrap_or_default();
        let field = Field::parse(line).map_err(|_| Reject::Trailer)?;
        if self.trailer_count > MAX_TRAILERS || is_forbidden_trailer(field.name) {
            return Err(Reject::Trailer);
        }
        self.trailers.extend_from_slice(b"\r\n");
        Ok(State::TrailerStart)
    }
}

/// Fields that frame, route or authenticate a message cannot come after it (RFC 9110, 6.5.1).
fn is_forbidden_trailer(name: &[u8]) -> bool {
    const NAMES: [&str; 16] = [
        "content-length",
        "transfer-encoding",
        "host",
        "trailer",
        "te",
        "connection",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "expect",
        "content-type",
        "content-encoding",
        "content-range",
        "authorization",
        "cookie",
        "set-cookie",
    ];
    NAMES.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds the body in two pieces at every split point; all must agree.
    fn scan(body: &[u8]) -> Result<(Vec<u8>, usize, Vec<u8>), Reject> {
        let whole = scan_split(body, body.len());
        for split in 0..body.len() {
            assert_eq!(scan_split(body, split), whole, "split at {split}");
        }
        whole
    }

    fn scan_split(body: &[u8], split: usize) -> Result<(Vec<u8>, usize, Vec<u8>), Reject> {
        let mut chunked = Chunked::default();
        let mut data = Vec::new();
        let mut at = 0;
        for end in [split, body.len()] {
            while at < end {
                match chunked.next(&body[at..end])? {
                    Part::Framing(n) => at += n,
                    Part::Data(n) => {
                        data.extend_from_slice(&body[at..at + n]);
                        at += n;
                    }
                    Part::End(n) => return Ok((data, at + n, chunked.into_trailers())),
                }
            }
        }
        Ok((data, usize::MAX, chunked.into_trailers()))
    }

    #[track_caller]
    fn accepts(body: &[u8], data: &[u8], trailers: &[u8], rest: usize) {
        assert_eq!(scan(body), Ok((data.to_vec(), body.len() - rest, trailers.to_vec())));
    }

    #[track_caller]
    fn refuses(body: &[u8], expected: Reject) {
        assert_eq!(scan(body), Err(expected), "{}", body.escape_ascii());
    }

    #[test]
    fn chunks_extensions_and_trailers_are_understood() {
        accepts(b"0\r\n\r\n", b"", b"", 0);
        accepts(b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nGET", b"abc0123456789", b"", 3);
        accepts(b"1;a=\"b c\"\r\nx\r\n000\r\nx-sum: 1\r\ny:\r\n\r\n", b"x", b"x-sum: 1\r\ny:\r\n", 0);
    }

    #[test]
    fn a_size_is_hexadecimal_digits_and_nothing_else() {
        for body in
            ["\r\n", "x\r\n", "+1\r\n", "-1\r\n", "0x1\r\n", " 1\r\n", "1 \r\n", "1\t\r\n", "1\n", ";\r\n", "1_0\r\n"]
        {
            refuses(body.as_bytes(), Reject::ChunkSize);
        }
        refuses(b"1000000000000000\r\n", Reject::ChunkSize);
        refuses(b"fffffffffffffffff\r\n", Reject::ChunkSize);
    }

    #[test]
    fn every_line_ends_in_cr_lf() {
        refuses(b"1\rx", Reject::ChunkFraming);
        refuses(b"1\r\nxx", Reject::ChunkFraming);
        refuses(b"1\r\nx\n", Reject::ChunkFraming);
        refuses(b"1\r\nx\r\r", Reject::ChunkFraming);
        refuses(b"0\r\n\n", Reject::Trailer);
        refuses(b"0\r\n\rx", Reject::ChunkFraming);
        refuses(b"1;a\nx", Reject::ChunkExtension);
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let mut body = b"1;".to_vec();
        body.resize(MAX_EXTENSION_BYTES + 3, b'a');
        assert_eq!(scan_split(&body, 10), Err(Reject::ChunkExtension));
        let mut body = b"0\r\na:".to_vec();
        body.resize(MAX_TRAILER_BYTES + 10, b'a');
        assert_eq!(scan_split(&body, 10), Err(Reject::Trailer));
        let body = [b"0\r\n".as_slice(), &b"a:b\r\n".repeat(MAX_TRAILERS + 1)].concat();
        assert_eq!(scan_split(&body, 10), Err(Reject::Trailer));
    }

    #[test]
    fn trailers_cannot_frame_route_or_authenticate() {
        for line in [
            "Content-Length: 1",
            "transfer-encoding: chunked",
            "HOST: a",
            "cookie: a=b",
            "a b: c",
            " fold: c",
            "nocolon",
        ] {
            refuses(format!("0\r\n{line}\r\n\r\n").as_bytes(), Reject::Trailer);
        }
    }
}

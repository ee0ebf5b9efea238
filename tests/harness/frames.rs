//! An HTTP/2 connection as raw frames: for what no correct client sends.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Nothing that a test waits for takes longer, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Types of frames.
#[expect(missing_docs, reason = "the names of RFC 9113")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// The last frame of a stream.
pub const END_STREAM: u8 = 1;
/// The last frame of a header block.
pub const END_HEADERS: u8 = 4;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Of [`kind`].
    pub kind: u8,
    /// Depend on the kind.
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of `RST_STREAM` and `GOAWAY`.
    pub fn error_code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        let code = self.payload.get(at..at + 4).expect("such a frame has a code");
        u32::from_be_bytes(code.try_into().expect("four bytes"))
    }
}

/// A connection after its preface.
pub struct Frames {
    tcp: TcpStream,
}

impl Frames {
    /// Connects and sends the preface with settings that change nothing.
    pub fn connect(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).expect("the gateway listens");
        for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
            set(&tcp, Some(PATIENCE)).expect("a TCP option");
        }
        let mut frames = Self { tcp };
        frames.tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the gateway takes bytes");
        frames.send(kind::SETTINGS, 0, 0, &[]).expect("the gateway takes bytes");
        frames
    }

    /// Sends a frame to a gateway that may have stopped to listen.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
        let stream = stream.to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream].concat();
        self.tcp.write_all(&[&head, payload].concat())
    }

    /// The next frame; `None` when the gateway has closed, be it by a reset.
    pub fn receive(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.fill(&mut payload)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of a stream, or what ends the connection.
    pub fn receive_of(&mut self, stream: u32) -> Option<Frame> {
        std::iter::from_fn(|| self.receive()).find(|frame| frame.stream == stream || frame.kind == kind::GOAWAY)
    }

    fn fill(&mut self, space: &mut [u8]) -> Option<()> {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match self.tcp.read_exact(space) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe) => None,
            Err(error) => panic!("the gateway keeps the connection open and says nothing: {error}"),
        }
    }
}

/// A field of a header block, literal and not indexed (RFC 7541, 6.2.2).
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0];
    for text in [name, value] {
        put_length(&mut block, text.len());
        block.extend_from_slice(text.as_bytes());
    }
    block
}

/// A length with a prefix of seven bits (RFC 7541, 5.1), not Huffman-coded.
fn put_length(block: &mut Vec<u8>, length: usize) {
    let low = |n: usize| u8::try_from(n & 0x7f).expect("seven bits");
    if length < 127 {
        block.push(low(length));
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(low(rest) | 0x80);
        rest >>= 7;
    }
    block.push(low(rest));
}

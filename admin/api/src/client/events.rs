//! The stream of changes, read line by line.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;

use super::{Call, Client, ClientError, Unreachable, broken};

/// The control plane gives a sign of life each 15 s.
const SILENCE: Duration = Duration::from_mins(1);
/// An event is a few hundred bytes.
const MAX_EVENT: usize = 1 << 20;

/// That something was changed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeEvent {
    /// Its place in the audit.
    pub sequence: i64,
    /// The operation.
    pub operation: String,
    /// What was changed.
    pub subject: String,
}

/// A stream of changes.
#[derive(Debug)]
pub struct Events {
    url: String,
    body: Incoming,
    buffer: Vec<u8>,
}

impl Client {
    /// `streamEvents`: changes from now on.
    pub async fn events(&self) -> Result<Events, ClientError> {
        let body = self.stream(Call::v1(http::Method::GET, &["events"])).await?;
        Ok(Events { url: self.url().to_owned(), body, buffer: Vec::new() })
    }
}

impl Events {
    /// The next change; `None` when the control plane ended the stream.
    pub async fn next(&mut self) -> Result<Option<ChangeEvent>, ClientError> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let rest = self.buffer.split_off(end + 2);
                let block = std::mem::replace(&mut self.buffer, rest);
                if let Some(event) = read(&block) {
                    return Ok(Some(event));
                }
            }
            let frame = tokio::time::timeout(SILENCE, self.body.frame()).await;
            let frame = match frame {
                Err(_) => return Err(self.unreachable(Unreachable::Late(SILENCE))),
                Ok(None) => return Ok(None),
                Ok(Some(frame)) => frame.map_err(|error| self.unreachable(broken(error)))?,
            };
            self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
            if self.buffer.len() > MAX_EVENT {
                return Err(self.unreachable(Unreachable::Broken("an event without an end".into())));
            }
        }
    }

    fn unreachable(&self, source: Unreachable) -> ClientError {
        ClientError::Unreachable { url: self.url.clone(), source }
    }
}

fn read(block: &[u8]) -> Option<ChangeEvent> {
    let text = std::str::from_utf8(block).ok()?;
    let data = text.lines().find_map(|line| line.strip_prefix("data:"))?;
    serde_json::from_str(data.trim_start()).ok()
}

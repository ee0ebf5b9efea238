//! Server-sent events out of a stream of bytes, with a bound on what one event may hold.
//!
//! It knows lines, comments, and the fields `event`, `data` and `id`; other fields and what the events mean are not its
//! affair. Invariant: it never keeps more than [`MAX_EVENT`] bytes, whatever comes.

use memchr::memchr;

/// The largest event: a snapshot of the largest size, its head, and room to spare.
pub(super) const MAX_EVENT: usize = 40 << 20;
/// The longest name or id that means anything here.
const MAX_NAME: usize = 256;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Event {
    /// Empty when none was given.
    pub(super) name: String,
    /// The lines of data, with a line end between them.
    pub(super) data: Vec<u8>,
    /// The id that came with it.
    pub(super) id: Option<String>,
}

/// An event is larger than any that is meant for an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {} MiB", MAX_EVENT >> 20)]
pub(super) struct TooLarge;

/// Puts lines together to events.
#[derive(Debug)]
pub(super) struct Reader {
    max: usize,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self::with_max(MAX_EVENT)
    }
}

impl Reader {
    fn with_max(max: usize) -> Self {
        Self { max, line: Vec::new(), event: Event::default(), has_data: false }
    }

    /// Takes the next bytes; whole events are appended to `events`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), TooLarge> {
        while let Some(end) = memchr(b'\n', bytes) {
            let (rest_of_line, rest) = (&bytes[..end], &bytes[end + 1..]);
            self.room(rest_of_line.len())?;
            if self.line.is_empty() {
                self.take(rest_of_line, events);
            } else {
                self.line.extend_from_slice(rest_of_line);
                let line = std::mem::take(&mut self.line);
                self.take(&line, events);
            }
            bytes = rest;
        }
        self.room(bytes.len())?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn room(&self, more: usize) -> Result<(), TooLarge> {
        if self.line.len() + self.event.data.len() + more > self.max { Err(TooLarge) } else { Ok(()) }
    }

    fn take(&mut self, line: &[u8], events: &mut Vec<Event>) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            // An event without data is none; its name and id go with it.
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                events.push(event);
            }
            return;
        }
        let (field, value) = match memchr(b':', line) {
            Some(0) => return,
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.name = short(value).unwrap_or_default(),
            b"id" => self.event.id = short(value),
            _ => {}
        }
    }
}

fn short(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    (text.len() <= MAX_NAME && !text.contains('\0')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str, id: Option<&str>) -> Event {
        Event { name: name.to_owned(), data: data.as_bytes().to_vec(), id: id.map(str::to_owned) }
    }

    /// Whole, and cut at every place.
    #[track_caller]
    fn gives(text: &str, expected: &[Event]) {
        for cut in 0..=text.len() {
            let (mut reader, mut events) = (Reader::default(), Vec::new());
            for part in [&text.as_bytes()[..cut], &text.as_bytes()[cut..]] {
                reader.feed(part, &mut events).expect("small");
            }
            assert_eq!(events, expected, "cut at {cut}");
        }
    }

    #[test]
    fn events_have_a_name_lines_of_data_and_an_id() {
        gives(
            "event: a\ndata: 1\nid: 7\n\ndata:2\ndata: 3\n\n",
            &[event("a", "1", Some("7")), event("", "2\n3", None)],
        );
        gives("event: a\r\ndata: 1\r\n\r\n", &[event("a", "1", None)]);
        gives("data\n\n", &[event("", "", None)]);
        gives("data: {\"a\": \"b:c\"}\n\n", &[event("", "{\"a\": \"b:c\"}", None)]);
    }

    #[test]
    fn comments_other_fields_and_events_without_data_are_passed_over() {
        gives(": hello\n\nretry: 5\n\nevent: a\nid: 3\n\ndata: x\n\n", &[event("", "x", None)]);
        gives("data: not ended", &[]);
        gives("data: not ended\n", &[]);
    }

    #[test]
    fn more_than_an_event_may_hold_is_an_error_in_one_line_and_in_many() {
        for text in ["data: 0123456789abcdef".to_owned(), "data: 01\n".repeat(12), "x".repeat(33)] {
            let mut reader = Reader::with_max(16);
            assert_eq!(reader.feed(text.as_bytes(), &mut Vec::new()), Err(TooLarge), "{text}");
        }
        let mut reader = Reader::with_max(16);
        for _ in 0..100 {
            assert_eq!(reader.feed(b"data: 0123\n\n:\n", &mut Vec::new()), Ok(()), "each event for itself");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_no_name_and_stay_as_data() {
        let mut events = Vec::new();
        Reader::default().feed(b"event: \xff\nid: a\0b\ndata: \xff\n\n", &mut events).expect("small");
        assert_eq!(events, [Event { name: String::new(), data: vec![0xff], id: None }]);
    }
}

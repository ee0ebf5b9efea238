//! Logs: one subscriber, JSON lines for machines and short lines for a terminal.
//!
//! It owns the shape of a record: exactly `timestamp, level, message, service, environment, userId?,
//! requestId?, metadata?`. An event's fields `environment`, `user_id` and `request_id` are the
//! top-level ones; all others go to `metadata`. Invariant: the values of fields that name a secret or
//! a person's address never get out, whoever logs them. Metrics are elsewhere.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// The `service` of this binary's records.
pub const SERVICE: &str = "bascule";
/// Stands for a value that must not be seen.
const REDACTED: &str = "[redacted]";
/// Fields whose value never gets out, by the last part of their name in lower case.
const SECRET_FIELDS: [&str; 16] = [
    "authorization",
    "proxy_authorization",
    "cookie",
    "set_cookie",
    "token",
    "password",
    "secret",
    "bucketing_key",
    "private_key",
    "body",
    "ip",
    "client_ip",
    "peer",
    "remote_addr",
    "forwarded",
    "x_forwarded_for",
];

/// How records look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `Pretty` on a terminal, else `Json`.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// One short line for people.
    Pretty,
}

/// What the subscriber is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A level, or directives such as `info,server::gateway=debug`.
    pub filter: String,
    /// How records look.
    pub format: Format,
    /// The `environment` of records that are about none in particular: where this process runs.
    pub environment: String,
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("the log level `{filter}` is not a level (error, warn, info, debug, trace) nor a list of directives")]
    Filter {
        /// What was given.
        filter: String,
        /// Why it is not one.
        source: ParseError,
    },
    /// Somebody else was first.
    #[error("logs are already set up")]
    Taken(#[from] TryInitError),
}

/// Sends the records of the whole process to standard error; standard output is for data.
pub fn init(settings: &Settings) -> Result<(), TelemetryError> {
    let terminal = io::stderr().is_terminal();
    let shape = match settings.format {
        Format::Pretty => Shape::pretty(terminal),
        Format::Auto if terminal => Shape::pretty(true),
        Format::Json | Format::Auto => Shape::Json,
    };
    tracing_subscriber::registry().with(filter(settings)?).with(layer(settings, shape, io::stderr)).try_init()?;
    report_panics();
    Ok(())
}

/// The level filter; checked here so that a mistake is found before anything starts.
pub fn filter(settings: &Settings) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(&settings.filter)
        .map_err(|source| TelemetryError::Filter { filter: settings.filter.clone(), source })
}

fn layer<W>(settings: &Settings, shape: Shape, to: W) -> Records<W> {
    Records { environment: settings.environment.clone(), shape, to }
}

/// A panic in a task is a bug that must not hide in a stack trace without a time.
fn report_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let location = info.location().map(ToString::to_string);
        let reason = info.payload_as_str().unwrap_or("unknown");
        tracing::error!(location, reason, "a panic: this is a bug in bascule");
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            before(info);
        }
    }));
}

#[derive(Debug, Clone, Copy)]
enum Shape {
    Json,
    Pretty { color: bool },
}

impl Shape {
    fn pretty(terminal: bool) -> Self {
        let color = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::Pretty { color }
    }
}

struct Records<W> {
    environment: String,
    shape: Shape,
    to: W,
}

/// One line of JSON; the order of the fields is the order in the line. Also the access log's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record<'a, M: Serialize> {
    /// RFC 3339 with milliseconds, in UTC.
    pub timestamp: &'a str,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    /// A sentence.
    pub message: &'a str,
    /// Who says it.
    pub service: &'static str,
    /// Which environment it is about.
    pub environment: &'a str,
    /// Which user it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<&'a str>,
    /// Which request it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// All else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<M>,
}

impl<S: Subscriber, W: for<'w> MakeWriter<'w> + 'static> Layer<S> for Records<W> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = match self.shape {
            Shape::Json => self.json(event, fields),
            Shape::Pretty { color } => pretty(event, &fields, color),
        };
        line.push('\n');
        // Nobody is left to tell when the log itself cannot be written.
        let _ = self.to.make_writer().write_all(line.as_bytes());
    }
}

impl<W> Records<W> {
    fn json(&self, event: &Event<'_>, fields: Fields) -> String {
        let record = Record {
            timestamp: &timestamp(jiff::Timestamp::now()),
            level: level(*event.metadata().level()),
            message: &fields.message,
            service: SERVICE,
            environment: fields.environment.as_deref().unwrap_or(&self.environment),
            user_id: fields.user_id.as_deref(),
            request_id: fields.request_id.as_deref(),
            metadata: (!fields.metadata.is_empty()).then_some(fields.metadata),
        };
        serde_json::to_string(&record).expect("strings and a map with string keys always serialise")
    }
}

/// RFC 3339 with milliseconds.
pub fn timestamp(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn pretty(event: &Event<'_>, fields: &Fields, color: bool) -> String {
    let level = *event.metadata().level();
    let (on, dim, off) = match (color, level) {
        (false, _) => ("", "", ""),
        (true, Level::ERROR) => ("\x1b[31m", "\x1b[2m", "\x1b[0m"),
        (true, Level::WARN) => ("\x1b[33m", "\x1b[2m", "\x1b[0m"),
        (true, Level::INFO) => ("\x1b[32m", "\x1b[2m", "\x1b[0m"),
        (true, _) => ("\x1b[34m", "\x1b[2m", "\x1b[0m"),
    };
    let time = jiff::Timestamp::now().strftime("%H:%M:%S%.3f").to_string();
    let mut line = format!("{dim}{time}{off} {on}{level:<5}{off} {}", printable(&fields.message));
    let named = [("environment", &fields.environment), ("user", &fields.user_id), ("request", &fields.request_id)];
    for (name, value) in named.iter().filter_map(|(name, value)| Some((name, value.as_deref()?))) {
        let _ = write!(line, " {dim}{name}={off}{}", printable(value));
    }
    for (name, value) in &fields.metadata {
        let text = value.as_str().map_or_else(|| value.to_string(), printable);
        let _ = write!(line, " {dim}{name}={off}{text}");
    }
    line
}

/// What others sent must not move the cursor of who reads the log.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// An error with all its causes in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(text, ": {error}");
        source = error.source();
    }
    text
}

#[derive(Debug, Default)]
struct Fields {
    message: String,
    environment: Option<String>,
    user_id: Option<String>,
    request_id: Option<String>,
    metadata: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        match field.name() {
            "message" => self.message = text(value),
            "environment" => self.environment = Some(text(value)),
            "user_id" => self.user_id = Some(text(value)),
            "request_id" => self.request_id = Some(text(value)),
            name if is_secret(name) => {
                self.metadata.insert(name.to_owned(), REDACTED.into());
            }
            name => {
                self.metadata.insert(name.to_owned(), value);
            }
        }
    }
}

fn is_secret(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase().replace('-', "_");
    SECRET_FIELDS.contains(&last.as_str())
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    /// The whole chain of causes: each error of ours says only its own part.
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.put(field, chain(value).into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics while it writes").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn settings() -> Settings {
        Settings { filter: "info".into(), format: Format::Json, environment: "test".into() }
    }

    fn logged(shape: Shape, emit: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::registry().with(filter(&settings()).expect("a level")).with(layer(
            &settings(),
            shape,
            move || writer.clone(),
        ));
        tracing::subscriber::with_default(subscriber, emit);
        let bytes = buffer.0.lock().expect("no test panics while it writes").clone();
        String::from_utf8(bytes).expect("text")
    }

    fn record(emit: impl FnOnce()) -> Value {
        serde_json::from_str(&logged(Shape::Json, emit)).expect("one JSON object")
    }

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().expect("an object").keys().map(String::as_str).collect()
    }

    #[test]
    fn a_record_has_exactly_the_agreed_fields() {
        let bare = record(|| tracing::info!("ready"));
        let mut names = keys(&bare);
        names.sort_unstable();
        assert_eq!(names, ["environment", "level", "message", "service", "timestamp"]);
        let full = record(|| {
            tracing::warn!(
                environment = "production",
                user_id = "u1",
                request_id = "r1",
                slot = "green",
                n = 3,
                "done"
            );
        });
        let mut names = keys(&full);
        names.sort_unstable();
        let all = ["environment", "level", "message", "metadata", "requestId", "service", "timestamp", "userId"];
        assert_eq!(names, all);
        assert_eq!(full["metadata"], serde_json::json!({"slot": "green", "n": 3}));
        assert_eq!((&full["level"], &full["environment"]), (&"warn".into(), &"production".into()));
    }

    #[test]
    fn the_fields_come_in_the_agreed_order() {
        let line = logged(Shape::Json, || tracing::info!(request_id = "r", user_id = "u", x = 1, "hello"));
        let names = ["timestamp", "level", "message", "service", "environment", "userId", "requestId", "metadata"];
        let at: Vec<_> = names.iter().map(|name| line.find(&format!("\"{name}\":")).expect("there")).collect();
        assert!(at.is_sorted(), "{line}");
    }

    #[test]
    fn the_time_is_rfc_3339_with_milliseconds() {
        let at = record(|| tracing::info!("x"))["timestamp"].as_str().expect("text").to_owned();
        at.parse::<jiff::Timestamp>().expect("RFC 3339");
        assert_eq!((at.len(), &at[19..20], &at[23..]), (24, ".", "Z"), "{at}");
    }

    #[test]
    fn secrets_and_addresses_never_get_out() {
        let line = logged(Shape::Json, || {
            tracing::error!(
                authorization = "canary-1",
                http.request.header.cookie = "canary-2",
                token = ?"canary-3",
                client_ip = %"canary-4",
                body = "canary-5",
                "set_cookie" = "canary-6",
                flag.key = "seen",
                "refused"
            );
        });
        assert!(!line.contains("canary"), "{line}");
        assert_eq!(line.matches(REDACTED).count(), 6, "{line}");
        assert!(line.contains(r#""flag.key":"seen""#), "{line}");
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("the disk is gone"));
        let value = record(|| tracing::error!(error = &error as &dyn Error, "failed"));
        assert_eq!(value["metadata"]["error"], "cannot start: the disk is gone");
    }

    #[test]
    fn a_line_break_in_a_value_does_not_make_a_second_record() {
        let emit = || tracing::info!(reason = "a\nb\x1b[2J", "one\ntwo");
        for shape in [Shape::Json, Shape::Pretty { color: false }] {
            let text = logged(shape, emit);
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.contains('\x1b'), "{text}");
        }
    }

    #[test]
    fn records_below_the_level_are_not_written_and_a_wrong_level_is_an_error() {
        assert_eq!(logged(Shape::Json, || tracing::debug!("not at info")), "");
        let wrong = Settings { filter: "server=loud".into(), ..settings() };
        assert!(matches!(filter(&wrong), Err(TelemetryError::Filter { .. })));
    }

    #[test]
    fn a_terminal_without_color_gets_a_plain_line() {
        let line = logged(Shape::Pretty { color: false }, || tracing::info!(app = "web", request_id = "r1", "ready"));
        assert!(line.trim_end().ends_with("INFO  ready request=r1 app=web"), "{line}");
        let colored = logged(Shape::Pretty { color: true }, || tracing::info!("ready"));
        assert!(colored.contains("\x1b[32m"), "{colored}");
    }
}

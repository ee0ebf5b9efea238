//! Every setting once: key, type, default, flag and meaning. The TOML keys, the `BASCULE_*` variables,
//! the flags, `bascule doctor` and `docs/configuration.md` all come from this table.

use std::net::SocketAddr;
use std::time::Duration;

use edge_engine::KeyId;
use ipnet::IpNet;

use super::follow::AdminUrl;
use crate::gateway::limits;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Dotted TOML key.
    pub key: &'static str,
    /// What its text must be.
    pub kind: Kind,
    /// The default as one would write it; empty = not set.
    pub default: fn() -> String,
    /// The long flag of `bascule gateway`, when there is one.
    pub flag: Option<&'static str>,
    /// One sentence.
    pub help: &'static str,
}

/// What the text of a setting must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number from the first to the second.
    Integer(u64, u64),
    /// `250ms`, `10s`, `5m`, `1h`; `0s` where 0 has a meaning.
    Duration,
    /// Bytes: `32768`, `32KiB`, `1MiB`.
    Size,
    /// Any text.
    Text,
    /// A file or folder.
    Path,
    /// Files or folders.
    Paths,
    /// `address:port`.
    Address,
    /// `10.0.0.0/8` or a single address, several.
    Networks,
    /// The name of a header.
    Header,
    /// `http://…` or `https://…`, without a query.
    Url,
    /// An id: letters, digits and a few signs.
    Key,
    /// Ed25519 public keys, 64 hexadecimal digits each.
    PublicKeys,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A text that is never shown; may also come from a file named by `…_FILE`.
    Secret,
}

impl Kind {
    /// Whether there may be several values.
    pub fn is_list(self) -> bool {
        matches!(self, Self::Paths | Self::Networks | Self::PublicKeys)
    }

    /// The type in the documentation.
    pub fn describe(self) -> String {
        match self {
            Self::Bool => "boolean".to_owned(),
            Self::Integer(from, u64::MAX) => format!("integer ≥ {from}"),
            Self::Integer(from, to) => format!("integer {from} to {to}"),
            Self::Duration => "duration".to_owned(),
            Self::Size => "size".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Path => "path".to_owned(),
            Self::Paths => "list of paths".to_owned(),
            Self::Address => "address:port".to_owned(),
            Self::Networks => "list of networks".to_owned(),
            Self::Header => "header name".to_owned(),
            Self::Url => "URL".to_owned(),
            Self::Key => "id".to_owned(),
            Self::PublicKeys => "list of public keys".to_owned(),
            Self::Choice(choices) => choices.iter().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(", "),
            Self::Secret => "secret".to_owned(),
        }
    }

    /// Says what is wrong with one text; nothing when it is fine.
    pub fn problem(self, text: &str) -> Option<String> {
        let wrong = |expected: &str| Some(format!("`{text}` is not {expected}"));
        match self {
            Self::Bool => text.parse::<bool>().err().and_then(|_| wrong("`true` or `false`")),
            Self::Integer(from, to) => match text.parse::<u64>() {
                Ok(value) if (from..=to).contains(&value) => None,
                _ if to == u64::MAX => wrong(&format!("a whole number of at least {from}")),
                _ => wrong(&format!("a whole number from {from} to {to}")),
            },
            Self::Duration => duration(text).map_or_else(|| wrong("a duration such as `250ms`, `10s`, `5m`"), |_| None),
            Self::Size => size(text).map_or_else(|| wrong("a size such as `32768`, `32KiB`, `1MiB`"), |_| None),
            Self::Text | Self::Path | Self::Paths => text.is_empty().then(|| "it is empty".to_owned()),
            Self::Address => {
                text.parse::<SocketAddr>().err().and_then(|_| wrong("an address with a port such as `0.0.0.0:8080`"))
            }
            Self::Networks => network(text).map_or_else(|| wrong("a network such as `10.0.0.0/8`"), |_| None),
            Self::Header => http::HeaderName::try_from(text).err().and_then(|_| wrong("the name of a header")),
            Self::Url => text.parse::<AdminUrl>().err().map(|error| format!("`{text}`: {error}")),
            Self::Key => KeyId::new(text).err().map(|error| format!("`{text}`: {error}").replace("a key id", "an id")),
            Self::PublicKeys => match crate::hex::decode::<32>(text) {
                Some(_) => None,
                None => wrong("a public key of 64 hexadecimal digits"),
            },
            Self::Choice(choices) if choices.contains(&text) => None,
            Self::Choice(choices) => wrong(&format!("one of {}", choices.join(", "))),
            // Never quoted: it may be nearly right.
            Self::Secret => text.is_empty().then(|| "the secret is empty".to_owned()),
        }
    }
}

/// `250ms`, `10s`, `5m`, `1h`.
pub fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

/// `32768`, `32KiB`, `1MiB`, `2GiB`.
pub fn size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A network, or an address as the network of itself.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

fn show_duration(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{}s", time.as_secs()) } else { format!("{}ms", time.as_millis()) }
}

fn show_size(bytes: usize) -> String {
    if bytes > 0 && bytes.is_multiple_of(1024) { format!("{}KiB", bytes / 1024) } else { bytes.to_string() }
}

macro_rules! settings {
    ($($key:literal $kind:expr, $default:expr, $flag:expr, $help:literal;)*) => {
        /// All settings, in the order of the documentation.
        pub const ALL: &[Setting] = &[
            $(Setting { key: $key, kind: $kind, default: || $default.to_string(), flag: $flag, help: $help },)*
        ];
    };
}

use Kind::{Address, Bool, Choice, Header, Integer, Key, Networks, Path, Paths, PublicKeys, Secret, Size, Text, Url};

settings! {
    "file" Paths, "", Some("file"), "bascule.yaml files, snapshot documents, or folders of them; watched";
    "admin" Url, "", Some("admin"), "The control plane to follow, http:// or https://; instead of files";
    "admin_token" Secret, "", Some("token-file"), "Token with the role `edge` for the control plane; the flag names a file that holds it";
    "admin_public_key" PublicKeys, "", Some("admin-public-key"), "Keys that the control plane's snapshots must be signed with; without any, those of the first contact are trusted from then on";
    "admin_ca" Path, "", None, "PEM file with the authorities that an https control plane is checked against, and no others; without it those of the system";
    "edge_id" Key, "", Some("edge-id"), "How this edge is named at the control plane; without it an id that the state directory keeps, else a random one per process";
    "listen" Address, "127.0.0.1:8080", Some("listen"), "Where clients connect";
    "ops" Address, "127.0.0.1:9090", Some("ops"), "Where health and metrics are served; never expose it to clients";
    "state_dir" Path, "", Some("state-dir"), "Where the last good snapshots are kept for a start without source";
    "region" Text, "", Some("region"), "The region that this edge serves";
    "workers" Integer(0, 1024), "0", Some("workers"), "Worker threads; 0 = one per core";
    "environment" Text, "production", None, "Where this process runs: the `environment` of log records that are about none in particular";
    "bucketing_key" Secret, "", None, "Secret of the bucketing, 32 hex digits; without it one derived from app and environment is used, which clients can compute";
    "tls.cert" Path, "", Some("tls-cert"), "PEM file with the certificate chain; with it the listeners speak TLS";
    "tls.key" Path, "", Some("tls-key"), "PEM file with the private key";
    "tls.upstream_ca" Path, "", None, "PEM file with the authorities that https upstreams are checked against, and no others; without it those of the system (`SSL_CERT_FILE` and `SSL_CERT_DIR` count)";
    "engine.kind" Choice(&["wasm", "native"]), "wasm", Some("engine"), "What decides: the edge module, or the same engine compiled in";
    "engine.module" Path, "", Some("module"), "An edge module to use instead of the embedded one; watched";
    "engine.shadow" Bool, "false", Some("shadow"), "Decide with both engines and count differences";
    "log.level" Text, "info", Some("log-level"), "error, warn, info, debug or trace, or directives such as `info,server::gateway=debug`";
    "log.format" Choice(&["auto", "json", "pretty"]), "auto", Some("log-format"), "How records look; auto = pretty on a terminal";
    "access_log" Path, "", Some("access-log"), "File for one JSON line per request, or `-` for standard output; off when not set";
    "trusted_proxies" Networks, "", Some("trusted-proxy"), "Peers whose x-forwarded-* headers are believed";
    "country_header" Header, "", None, "Header in which a trusted proxy names the client's country, e.g. cf-ipcountry";
    "limits.head_bytes" Size, show_size(limits::HEAD_BYTES), None, "Largest request head; beyond it 431";
    "limits.head_fields" Integer(1, limits::HEAD_FIELDS as u64), limits::HEAD_FIELDS, None, "Most header fields of a request; beyond it 431";
    "limits.target_bytes" Size, show_size(limits::TARGET_BYTES), None, "Longest request target; beyond it 414";
    "limits.body_min_rate" Integer(0, u64::MAX), limits::BODY_MIN_RATE, None, "Bytes per second that a request body must bring on average";
    "limits.connections" Integer(1, 1 << 24), limits::CONNECTIONS, None, "Client connections of this process";
    "limits.connections_per_ip" Integer(1, 1 << 24), limits::CONNECTIONS_PER_IP, None, "Client connections of one address; trusted proxies are exempt";
    "limits.h2_streams" Integer(1, 10_000), limits::H2_STREAMS, None, "Concurrent streams of one HTTP/2 connection";
    "limits.h2_pending_resets" Integer(1, 10_000), limits::H2_PENDING_RESETS, None, "Streams that a client may reset before they were taken";
    "limits.h2_local_resets" Integer(1, 100_000), limits::H2_LOCAL_RESETS, None, "Streams that a client may make us reset";
    "limits.ofrep_streams" Integer(0, 1 << 24), limits::OFREP_STREAMS, None, "Open streams of flag changes (OFREP); beyond it 503";
    "limits.response_head_bytes" Size, show_size(limits::RESPONSE_HEAD_BYTES), None, "Largest response head of an upstream";
    "limits.pool_connections" Integer(1, 1 << 20), limits::POOL_CONNECTIONS, None, "Connections per upstream and worker";
    "limits.pool_idle_connections" Integer(0, 1 << 20), limits::POOL_IDLE_CONNECTIONS, None, "Idle connections kept per upstream and worker";
    "timeouts.head" Kind::Duration, show_duration(limits::HEAD_TIMEOUT), None, "For a whole request head";
    "timeouts.idle" Kind::Duration, show_duration(limits::IDLE_TIMEOUT), None, "Between two requests of a connection";
    "timeouts.body" Kind::Duration, show_duration(limits::BODY_TIMEOUT), None, "For a client to go on with its body";
    "timeouts.write" Kind::Duration, show_duration(limits::WRITE_TIMEOUT), None, "For a client to take response bytes";
    "timeouts.h2_ping_interval" Kind::Duration, show_duration(limits::H2_PING_INTERVAL), None, "Between keep-alive pings of HTTP/2";
    "timeouts.h2_ping" Kind::Duration, show_duration(limits::H2_PING_TIMEOUT), None, "For the answer to a ping";
    "timeouts.connect" Kind::Duration, show_duration(limits::CONNECT_TIMEOUT), None, "To connect with an upstream; a snapshot may set its own";
    "timeouts.read" Kind::Duration, show_duration(limits::READ_TIMEOUT), None, "Between two reads from an upstream; a snapshot may set its own";
    "timeouts.total" Kind::Duration, "0s", None, "For a whole exchange, 0s = no limit; a snapshot may set its own";
    "timeouts.continue" Kind::Duration, show_duration(limits::CONTINUE_TIMEOUT), None, "For an upstream's 100 Continue, after which the body is sent all the same";
    "timeouts.pool_idle" Kind::Duration, show_duration(limits::POOL_IDLE), None, "How long an upstream connection is kept idle; shorter than the upstream's own";
    "timeouts.rollback_grace" Kind::Duration, show_duration(limits::ROLLBACK_GRACE), None, "What open tunnels and streams keep after a rollback; a snapshot may set its own";
    "drain.grace" Kind::Duration, show_duration(limits::DRAIN_GRACE), Some("drain-grace"), "How long a stopping process waits for requests in flight";
    "drain.idle" Kind::Duration, show_duration(limits::DRAIN_IDLE), None, "How long it lets idle connections send one more request";
    "drain.linger" Kind::Duration, show_duration(limits::DRAIN_LINGER), None, "How long it accepts connections that were already under way";
}

impl Setting {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("BASCULE_{}", self.key.replace('.', "_").to_ascii_uppercase())
    }

    /// The setting with this key.
    pub fn named(key: &str) -> Option<&'static Self> {
        ALL.iter().find(|setting| setting.key == key)
    }
}

/// The text of `docs/configuration.md`.
pub fn document() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# Configuration of `bascule gateway`\n\nA value comes from the first of: a flag, an environment variable, the TOML file \
         (`--config FILE` or `BASCULE_CONFIG`), the default. `bascule doctor` prints each effective value and where it came \
         from. Unknown keys of the file are errors; an unknown `BASCULE_*` variable is a warning.\n\nDurations are `250ms`, \
         `10s`, `5m`, `1h`; sizes are bytes or `32KiB`, `1MiB`, `1GiB`. Lists are arrays in TOML, repeated flags, and \
         comma-separated in variables. A dotted key `timeouts.head` is `head` in the table `[timeouts]`. A secret may also \
         come from a file named by its variable with `_FILE` at the end; a flag of a secret names a file too. This table is made from \
         `server/src/config/setting.rs`; a test holds the two together.\n\n\
         | key | type | default | flag | variable | meaning |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for setting in ALL {
        let default = match (setting.default)() {
            empty if empty.is_empty() => "not set".to_owned(),
            default => format!("`{default}`"),
        };
        let flag = setting.flag.map(|flag| format!("`--{flag}`")).unwrap_or_default();
        let variable = match setting.kind {
            Secret => format!("`{0}`, `{0}_FILE`", setting.variable()),
            _ => format!("`{}`", setting.variable()),
        };
        let kind = setting.kind.describe();
        let _ = writeln!(text, "| `{}` | {kind} | {default} | {flag} | {variable} | {} |", setting.key, setting.help);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_names_every_setting() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        if written != document() {
            if std::env::var_os("BASCULE_UPDATE_DOCS").is_some() {
                std::fs::write(path, document()).expect("the docs folder is writable");
            }
            panic!(
                "docs/configuration.md is not what the definitions say; run this test with BASCULE_UPDATE_DOCS=1 and look at the change"
            );
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        for setting in ALL {
            let default = (setting.default)();
            let problem = if default.is_empty() { None } else { setting.kind.problem(&default) };
            assert_eq!(problem, None, "{}", setting.key);
        }
    }

    #[test]
    fn keys_flags_and_variables_are_unique() {
        let unique = |mut names: Vec<String>| {
            let count = names.len();
            names.sort();
            names.dedup();
            assert_eq!(names.len(), count, "{names:?}");
        };
        unique(ALL.iter().map(|setting| setting.key.to_owned()).collect());
        unique(ALL.iter().filter_map(|setting| setting.flag).map(str::to_owned).collect());
        unique(ALL.iter().map(Setting::variable).collect());
    }

    #[test]
    fn durations_and_sizes_need_a_known_unit() {
        let ms = |text: &str| duration(text).map(|time| time.as_millis());
        assert_eq!(["250ms", "10s", "5m", "1h", "0s"].map(ms), [250, 10_000, 300_000, 3_600_000, 0].map(Some));
        assert_eq!(["10", "s", "-1s", "1.5s", "10 s", "1d", "99999999999999999999s"].map(ms), [None; 7]);
        assert_eq!(["32768", "32KiB", "1MiB", "2GiB"].map(size), [32768, 32768, 1 << 20, 2 << 30].map(Some));
        assert_eq!(["32K", "32kb", "", "-1", "99999999999GiB"].map(size), [None; 5]);
    }

    #[test]
    fn a_wrong_secret_is_never_quoted() {
        assert_eq!(Secret.problem("").as_deref(), Some("the secret is empty"));
        assert_eq!(Secret.problem("canary"), None);
    }
}

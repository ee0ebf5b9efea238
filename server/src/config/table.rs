//! The table of all settings: key, process, type, default, flag and meaning, once.
//!
//! The TOML keys, the `BASCULE_*` variables, the flags, `bascule doctor` and `docs/configuration.md` all come from it.

use std::time::Duration;

use admin::limits::{Limits, Timeouts};

use super::setting::{
    Kind::{
        self, Address, Bool, Choice, Database, Header, Integer, Key, Networks, Path, Paths, PublicKeys, Secret, Size,
        Text, Url,
    },
    Setting,
    UsedBy::{self, Admin, Both, Gateway},
};
use crate::gateway::limits;

fn show_duration(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{}s", time.as_secs()) } else { format!("{}ms", time.as_millis()) }
}

fn show_size(bytes: usize) -> String {
    if bytes > 0 && bytes.is_multiple_of(1024) { format!("{}KiB", bytes / 1024) } else { bytes.to_string() }
}

macro_rules! settings {
    ($($key:literal $used_by:ident: $kind:expr, $default:expr, $flag:expr, $help:literal;)*) => {
        /// All settings, in the order of the documentation.
        pub const ALL: &[Setting] = &[
            $(Setting { key: $key, used_by: $used_by, kind: $kind, default: || $default.to_string(), flag: $flag, help: $help },)*
        ];
    };
}

settings! {
    "file" Gateway: Paths, "", Some("file"), "bascule.yaml files, snapshot documents, or folders of them; watched";
    "admin" Gateway: Url, "", Some("admin"), "The control plane to follow, http:// or https://; instead of files";
    "admin_token" Gateway: Secret, "", Some("token-file"), "Token with the role `edge` for the control plane; the flag names a file that holds it";
    "admin_public_key" Gateway: PublicKeys, "", Some("admin-public-key"), "Keys that the control plane's snapshots must be signed with; without any, those of the first contact are trusted from then on";
    "admin_ca" Gateway: Path, "", None, "PEM file with the authorities that an https control plane is checked against, and no others; without it those of the system";
    "edge_id" Gateway: Key, "", Some("edge-id"), "How this edge is named at the control plane; without it an id that the state directory keeps, else a random one per process";
    "listen" Gateway: Address, "127.0.0.1:8080", Some("listen"), "Where clients connect";
    "ops" Gateway: Address, "127.0.0.1:9090", Some("ops"), "Where health and metrics are served; never expose it to clients";
    "state_dir" Both: Path, "", Some("state-dir"), "Where a gateway keeps the last good snapshots for a start without source; where a control plane keeps its database and signing key (`bascule-state` when not set)";
    "region" Gateway: Text, "", Some("region"), "The region that this edge serves";
    "workers" Gateway: Integer(0, 1024), "0", Some("workers"), "Worker threads; 0 = one per core";
    "environment" Both: Text, "production", None, "Where this process runs: the `environment` of log records that are about none in particular";
    "bucketing_key" Gateway: Secret, "", None, "Secret of the bucketing, 32 hex digits; without it one derived from app and environment is used, which clients can compute";
    "tls.cert" Gateway: Path, "", Some("tls-cert"), "PEM file with the certificate chain; with it the listeners speak TLS";
    "tls.key" Gateway: Path, "", Some("tls-key"), "PEM file with the private key";
    "tls.upstream_ca" Gateway: Path, "", None, "PEM file with the authorities that https upstreams are checked against, and no others; without it those of the system (`SSL_CERT_FILE` and `SSL_CERT_DIR` count)";
    "engine.kind" Gateway: Choice(&["wasm", "native"]), "wasm", Some("engine"), "What decides: the edge module, or the same engine compiled in";
    "engine.module" Gateway: Path, "", Some("module"), "An edge module to use instead of the embedded one; watched";
    "engine.shadow" Gateway: Bool, "false", Some("shadow"), "Decide with both engines and count differences";
    "log.level" Both: Text, "info", Some("log-level"), "error, warn, info, debug or trace, or directives such as `info,server::gateway=debug`";
    "log.format" Both: Choice(&["auto", "json", "pretty"]), "auto", Some("log-format"), "How records look; auto = pretty on a terminal";
    "access_log" Gateway: Path, "", Some("access-log"), "File for one JSON line per request, or `-` for standard output; off when not set";
    "trusted_proxies" Gateway: Networks, "", Some("trusted-proxy"), "Peers whose x-forwarded-* headers are believed";
    "country_header" Gateway: Header, "", None, "Header in which a trusted proxy names the client's country, e.g. cf-ipcountry";
    "limits.head_bytes" Gateway: Size, show_size(limits::HEAD_BYTES), None, "Largest request head; beyond it 431";
    "limits.head_fields" Gateway: Integer(1, limits::HEAD_FIELDS as u64), limits::HEAD_FIELDS, None, "Most header fields of a request; beyond it 431";
    "limits.target_bytes" Gateway: Size, show_size(limits::TARGET_BYTES), None, "Longest request target; beyond it 414";
    "limits.body_min_rate" Gateway: Integer(0, u64::MAX), limits::BODY_MIN_RATE, None, "Bytes per second that a request body must bring on average";
    "limits.connections" Gateway: Integer(1, 1 << 24), limits::CONNECTIONS, None, "Client connections of this process";
    "limits.connections_per_ip" Gateway: Integer(1, 1 << 24), limits::CONNECTIONS_PER_IP, None, "Client connections of one address; trusted proxies are exempt";
    "limits.h2_streams" Gateway: Integer(1, 10_000), limits::H2_STREAMS, None, "Concurrent streams of one HTTP/2 connection";
    "limits.h2_pending_resets" Gateway: Integer(1, 10_000), limits::H2_PENDING_RESETS, None, "Streams that a client may reset before they were taken";
    "limits.h2_local_resets" Gateway: Integer(1, 100_000), limits::H2_LOCAL_RESETS, None, "Streams that a client may make us reset";
    "limits.ofrep_streams" Gateway: Integer(0, 1 << 24), limits::OFREP_STREAMS, None, "Open streams of flag changes (OFREP); beyond it 503";
    "limits.response_head_bytes" Gateway: Size, show_size(limits::RESPONSE_HEAD_BYTES), None, "Largest response head of an upstream";
    "limits.pool_connections" Gateway: Integer(1, 1 << 20), limits::POOL_CONNECTIONS, None, "Connections per upstream and worker";
    "limits.pool_idle_connections" Gateway: Integer(0, 1 << 20), limits::POOL_IDLE_CONNECTIONS, None, "Idle connections kept per upstream and worker";
    "timeouts.head" Gateway: Kind::Duration, show_duration(limits::HEAD_TIMEOUT), None, "For a whole request head";
    "timeouts.idle" Gateway: Kind::Duration, show_duration(limits::IDLE_TIMEOUT), None, "Between two requests of a connection";
    "timeouts.body" Gateway: Kind::Duration, show_duration(limits::BODY_TIMEOUT), None, "For a client to go on with its body";
    "timeouts.write" Gateway: Kind::Duration, show_duration(limits::WRITE_TIMEOUT), None, "For a client to take response bytes";
    "timeouts.h2_ping_interval" Gateway: Kind::Duration, show_duration(limits::H2_PING_INTERVAL), None, "Between keep-alive pings of HTTP/2";
    "timeouts.h2_ping" Gateway: Kind::Duration, show_duration(limits::H2_PING_TIMEOUT), None, "For the answer to a ping";
    "timeouts.connect" Gateway: Kind::Duration, show_duration(limits::CONNECT_TIMEOUT), None, "To connect with an upstream; a snapshot may set its own";
    "timeouts.read" Gateway: Kind::Duration, show_duration(limits::READ_TIMEOUT), None, "Between two reads from an upstream; a snapshot may set its own";
    "timeouts.total" Gateway: Kind::Duration, "0s", None, "For a whole exchange, 0s = no limit; a snapshot may set its own";
    "timeouts.continue" Gateway: Kind::Duration, show_duration(limits::CONTINUE_TIMEOUT), None, "For an upstream's 100 Continue, after which the body is sent all the same";
    "timeouts.pool_idle" Gateway: Kind::Duration, show_duration(limits::POOL_IDLE), None, "How long an upstream connection is kept idle; shorter than the upstream's own";
    "timeouts.rollback_grace" Gateway: Kind::Duration, show_duration(limits::ROLLBACK_GRACE), None, "What open tunnels and streams keep after a rollback; a snapshot may set its own";
    "drain.grace" Gateway: Kind::Duration, show_duration(limits::DRAIN_GRACE), Some("drain-grace"), "How long a stopping process waits for requests in flight";
    "drain.idle" Gateway: Kind::Duration, show_duration(limits::DRAIN_IDLE), None, "How long it lets idle connections send one more request";
    "drain.linger" Gateway: Kind::Duration, show_duration(limits::DRAIN_LINGER), None, "How long it accepts connections that were already under way";
    "database" Admin: Database, "", Some("database"), "SQLite file or `postgres://…` URL of the control plane; without it `bascule.db` in the state directory";
    "admin_listen" Admin: Address, "127.0.0.1:7400", Some("admin-listen"), "Where the control plane's API listens";
    "signing_key" Admin: Secret, "", None, "Seed of the Ed25519 key that signs snapshots, 64 hexadecimal digits; without it one is made at the first start and kept in the state directory";
    "bootstrap_admin_token" Admin: Secret, "", None, "A token that may do everything and is to exist at the first start (`bascule token mint` makes one); without it the first start prints one";
    "admin_tls.cert" Admin: Path, "", Some("admin-tls-cert"), "PEM file with the certificate chain; with it the API speaks TLS";
    "admin_tls.key" Admin: Path, "", Some("admin-tls-key"), "PEM file with the private key";
    "admin_workers" Admin: Path, "", Some("admin-workers"), "TOML file with the Cloudflare Workers that snapshots are pushed to";
    "admin_integrations" Admin: Path, "", Some("admin-integrations"), "TOML file with what the control plane calls by itself: whom to notify (docs/notifications.md), gates and hooks of rollouts (docs/rollouts.md)";
    "admin_limits.rate" Admin: Integer(1, 1_000_000), Limits::default().rate, None, "Requests per second of one token, on average; beyond it 429";
    "admin_limits.burst" Admin: Integer(1, 1_000_000), Limits::default().burst, None, "Requests of one token at once";
    "admin_limits.failures_per_minute" Admin: Integer(1, 1_000_000), Limits::default().failures_rate * 60.0, None, "Wrong tokens from one address per minute, on average; beyond it 429";
    "admin_limits.failures" Admin: Integer(1, 1_000_000), Limits::default().failures, None, "Wrong tokens from one address at once";
    "admin_limits.streams" Admin: Integer(1, 1 << 24), Limits::default().streams, None, "Streams that may be open, those of edges included; beyond it 503";
    "admin_limits.handouts" Admin: Integer(1, 1 << 24), Limits::default().handouts, None, "Edges that are given all their snapshots at once; beyond it 503";
    "admin_timeouts.handshake" Admin: Kind::Duration, show_duration(Timeouts::default().handshake), None, "For the TLS handshake";
    "admin_timeouts.head" Admin: Kind::Duration, show_duration(Timeouts::default().head), None, "For a whole request head, for the first byte of a connection, and between two requests of one";
    "admin_timeouts.body" Admin: Kind::Duration, show_duration(Timeouts::default().body), None, "For a whole request body";
    "admin_timeouts.write" Admin: Kind::Duration, show_duration(Timeouts::default().write), None, "For bytes of an answer to be taken";
}

const INTRODUCTION: &str = "\
# Configuration

A value comes from the first of: a flag, an environment variable, the TOML file (`--config FILE` or `BASCULE_CONFIG`), the
default. `bascule doctor` prints each effective value of a gateway and where it came from, `bascule doctor admin` those of
a control plane, `bascule doctor serve` those of both in one process. Unknown keys of the file are errors; an unknown
`BASCULE_*` variable is a warning. One file may hold the settings of both: each process takes its own.

Durations are `250ms`, `10s`, `5m`, `1h`; sizes are bytes or `32KiB`, `1MiB`, `1GiB`. Lists are arrays in TOML, repeated
flags, and comma-separated in variables. A dotted key `timeouts.head` is `head` in the table `[timeouts]`. A secret may
also come from a file named by its variable with `_FILE` at the end; a flag of a secret names a file too. These tables are
made from `server/src/config/table.rs`; a test holds the two together.
";

/// The text of `docs/configuration.md`.
pub fn document() -> String {
    let mut text = INTRODUCTION.to_owned();
    section(&mut text, "Of both", "Flags of `bascule gateway`, `bascule admin` and `bascule serve`.", Both);
    section(&mut text, "Of a gateway", "Flags of `bascule gateway` and `bascule serve`.", Gateway);
    let flags = "Flags of `bascule serve`; `bascule admin` leaves their first word `admin-` out, so `--listen`.";
    section(&mut text, "Of a control plane", flags, Admin);
    text
}

fn section(text: &mut String, title: &str, flags: &str, used_by: UsedBy) {
    use std::fmt::Write as _;
    let head = "| key | type | default | flag | variable | meaning |\n| --- | --- | --- | --- | --- | --- |";
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n## {title}\n\n{flags}\n\n{head}");
    for setting in ALL.iter().filter(|setting| setting.used_by == used_by) {
        let default = match (setting.default)() {
            empty if empty.is_empty() => "not set".to_owned(),
            default => format!("`{default}`"),
        };
        let flag = setting.flag.map(|flag| format!("`--{flag}`")).unwrap_or_default();
        let variable = if setting.kind.has_file_variable() {
            format!("`{0}`, `{0}_FILE`", setting.variable())
        } else {
            format!("`{}`", setting.variable())
        };
        let kind = setting.kind.describe();
        let _ = writeln!(text, "| `{}` | {kind} | {default} | {flag} | {variable} | {} |", setting.key, setting.help);
    }
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
}

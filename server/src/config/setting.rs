//! What a setting is, and what the texts of each kind must be. The settings themselves are in [`super::table`].

use std::net::SocketAddr;
use std::time::Duration;

use admin::store::Location;
use edge_engine::KeyId;
use ipnet::IpNet;

use super::follow::AdminUrl;
use super::table;

/// What is started: each has its flags and its settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Process {
    /// `bascule gateway`.
    #[default]
    Gateway,
    /// `bascule admin`.
    Admin,
    /// `bascule serve`: both.
    Serve,
}

/// Whose setting it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedBy {
    /// The gateway's.
    Gateway,
    /// The control plane's.
    Admin,
    /// Of both.
    Both,
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Dotted TOML key.
    pub key: &'static str,
    /// Whose it is.
    pub used_by: UsedBy,
    /// What its text must be.
    pub kind: Kind,
    /// The default as one would write it; empty = not set.
    pub default: fn() -> String,
    /// The long flag, when there is one. `bascule admin` knows `admin-…` without its first word.
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
    /// Where the control plane's store is.
    Database,
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

    /// Whether the text may come from a file that the variable with `_FILE` names.
    pub fn has_file_variable(self) -> bool {
        matches!(self, Self::Secret | Self::Database)
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
            Self::Database => "file or URL".to_owned(),
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
            // Never quoted: a URL may hold a password.
            Self::Database => text.parse::<Location>().err().map(|error| error.to_string()),
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

impl Setting {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("BASCULE_{}", self.key.replace('.', "_").to_ascii_uppercase())
    }

    /// The flag of a process for it, when there is one.
    pub fn flag(&self, process: Process) -> Option<&'static str> {
        let flag = self.flag.filter(|_| self.is_of(process))?;
        Some(if process == Process::Admin { flag.strip_prefix("admin-").unwrap_or(flag) } else { flag })
    }

    /// Whether a process has this setting.
    pub fn is_of(&self, process: Process) -> bool {
        match process {
            Process::Gateway => self.used_by != UsedBy::Admin,
            Process::Admin => self.used_by != UsedBy::Gateway,
            Process::Serve => true,
        }
    }

    /// The setting with this key.
    pub fn named(key: &str) -> Option<&'static Self> {
        table::ALL.iter().find(|setting| setting.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(Kind::Secret.problem("").as_deref(), Some("the secret is empty"));
        assert_eq!(Kind::Secret.problem("canary"), None);
    }
}

//! The names of things: one newtype and one parser each.
//!
//! A value of these types is well formed by construction, also when it comes out of `serde`;
//! nothing downstream checks a name again.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Why a text is not a name, with the grammar that it missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.what, self.rule)
    }
}

impl std::error::Error for InvalidName {}

/// DNS-label-like: used where a name ends up in URLs, host maps and metric labels.
fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

/// Token-like: starts with a letter or digit, safe in a header list such as `x-bascule-flags`.
fn is_key(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=128).contains(&bytes.len())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-/:+".contains(b))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
}

const LABEL: &str = "1 to 63 lower-case letters, digits and '-', not starting or ending with '-'";
const KEY: &str = "1 to 128 letters, digits and the characters . _ - / : +, starting with a letter or digit";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $accepts:ident, $rule:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses the name, or says which grammar it misses.
            pub fn new(text: impl Into<Box<str>>) -> Result<Self, InvalidName> {
                let text = text.into();
                if $accepts(&text) { Ok(Self(text)) } else { Err(InvalidName { what: $what, rule: $rule }) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&$name> for crate::problem::Token {
            fn from(name: &$name) -> Self {
                Self::Key(name.0.clone())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Self::new(<Box<str>>::deserialize(from)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A site or service with hosts, e.g. `web`.
    AppName, "an app name", is_label, LABEL
);
name!(
    /// `development`, `staging`, `production` or an own one.
    EnvironmentName, "an environment name", is_label, LABEL
);
name!(
    /// A region such as `eu`.
    RegionName, "a region name", is_label, LABEL
);
name!(
    /// The key of a flag, e.g. `new-checkout`.
    FlagKey, "a flag key", is_key, KEY
);
name!(
    /// The key of one of a flag's values, e.g. `on`.
    VariantKey, "a variant key", is_key, KEY
);
name!(
    /// The key of a named condition, e.g. `staff`.
    SegmentKey, "a segment key", is_key, KEY
);
name!(
    /// The id of an immutable build, e.g. `web-1.5.0`.
    ReleaseId, "a release id", is_key, KEY
);
name!(
    /// The id of a targeting or routing rule, stable under reordering.
    RuleId, "a rule id", is_key, KEY
);
name!(
    /// Which bucketing key an environment uses; never the key itself.
    KeyId, "a key id", is_key, KEY
);

/// One of the two places that a release can hold in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The blue slot.
    Blue,
    /// The green slot.
    Green,
}

impl Slot {
    /// The slot that this one is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }

    /// `blue` or `green`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blue => "blue",
            Self::Green => "green",
        }
    }
}

impl From<Slot> for crate::problem::Token {
    fn from(slot: Slot) -> Self {
        Self::Field(slot.as_str())
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

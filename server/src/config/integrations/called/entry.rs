//! One table of the file: its values with their places, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use admin::integrations::Endpoint;
use admin::integrations::gate::{Pace, Reach, Webhook};
use admin::outbound::secret::SecretAt;
use admin::outbound::sign::Signers;
use admin::outbound::{OutUrl, UrlError};
use edge_engine::{AppName, EnvironmentName};
use toml::de::{DeInteger, DeTable, DeValue};

use super::super::super::layers::did_you_mean;
use super::super::super::setting::Kind;
use super::Reader;

/// Between two questions, unless the file says otherwise.
const INTERVAL_MS: u64 = 10_000;
/// For an answer.
const TIMEOUT_MS: u64 = 10_000;
/// Bytes of all that goes along with a call.
const MOST_METADATA: usize = 4096;

/// A table that is being read. What nobody asks for is no key of it.
pub(super) struct Entry<'e, 'r, 'a> {
    reader: &'r mut Reader<'a>,
    list: &'static str,
    at: usize,
    values: BTreeMap<String, (usize, &'e DeValue<'e>)>,
    asked: BTreeSet<&'static str>,
    problems: usize,
}

impl<'e, 'r, 'a> Entry<'e, 'r, 'a> {
    pub(super) fn new(reader: &'r mut Reader<'a>, list: &'static str, at: usize, table: &'e DeTable<'e>) -> Self {
        let values =
            table.iter().map(|(name, value)| (name.get_ref().to_string(), (name.span().start, value.get_ref())));
        let (values, problems) = (values.collect(), reader.problems.len());
        Self { reader, list, at, values, asked: BTreeSet::new(), problems }
    }

    /// A problem of a key, or where it should stand.
    pub(super) fn problem(&mut self, key: &str, detail: impl Into<String>) {
        let at = self.values.get(key).map_or(self.at, |(at, _)| *at);
        self.reader.problem(at, Some(key), detail.into());
    }

    pub(super) fn unless(&mut self, sound: bool, key: &str, detail: impl FnOnce() -> String) {
        if !sound {
            self.problem(key, detail());
        }
    }

    /// Ends the reading: keys that nobody asked for are problems. Whether there were none at all.
    pub(super) fn is_sound(&mut self) -> bool {
        let unknown: Vec<String> =
            self.values.keys().filter(|key| !self.asked.contains(key.as_str())).cloned().collect();
        for key in unknown {
            let help = did_you_mean(&key, self.asked.iter().copied());
            self.problem(&key, format!("there is no such key in this {}{help}", self.list));
        }
        self.reader.problems.len() == self.problems
    }

    fn value(&mut self, key: &'static str) -> Option<&'e DeValue<'e>> {
        self.asked.insert(key);
        self.values.get(key).map(|(_, value)| *value)
    }

    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        if let DeValue::String(text) = self.value(key)? {
            return Some(text.to_string());
        }
        self.problem(key, "must be a text in quotes");
        None
    }

    pub(super) fn needed(&mut self, key: &'static str) -> Option<String> {
        if self.value(key).is_none() {
            self.problem(key, "is missing");
        }
        self.text(key)
    }

    pub(super) fn whole(&mut self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        let Some(value) = self.value(key) else { return default };
        let number = if let DeValue::Integer(number) = value { whole(number) } else { None };
        let number = number.filter(|number| range.contains(number));
        self.unless(number.is_some(), key, || {
            format!("must be a whole number from {} to {}", range.start(), range.end())
        });
        number.unwrap_or(default)
    }

    pub(super) fn number(&mut self, key: &'static str) -> Option<f64> {
        let number = match self.value(key)? {
            DeValue::Integer(number) => number.as_str().parse::<f64>().ok().filter(|_| number.radix() == 10),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| number.is_finite());
        self.unless(number.is_some(), key, || "must be a number".to_owned());
        number
    }

    pub(super) fn truth(&mut self, key: &'static str) -> Option<bool> {
        let truth = if let DeValue::Boolean(truth) = self.value(key)? { Some(*truth) } else { None };
        self.unless(truth.is_some(), key, || "must be true or false".to_owned());
        truth
    }

    /// A value as JSON has it; only what is no list and no table.
    pub(super) fn json(&mut self, key: &'static str) -> Option<serde_json::Value> {
        let json = match self.value(key)? {
            DeValue::String(text) => Some(serde_json::Value::from(text.as_ref())),
            DeValue::Boolean(truth) => Some(serde_json::Value::from(*truth)),
            DeValue::Integer(_) | DeValue::Float(_) => self.number(key).map(serde_json::Value::from),
            _ => None,
        };
        self.unless(json.is_some(), key, || "must be a text, a number, true or false".to_owned());
        json
    }

    /// The items of a list, each by itself.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        item: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = match self.value(key)? {
            DeValue::Array(items) => items.iter().map(|value| item(value.get_ref())).collect::<Option<Vec<T>>>(),
            _ => None,
        };
        let items = items.filter(|items| !items.is_empty());
        self.unless(items.is_some(), key, || format!("must be a list of {wanted}"));
        items
    }

    /// What has the same rule as ids have elsewhere.
    pub(super) fn name(&mut self) -> Option<String> {
        let name = self.needed("name")?;
        let problem = Kind::Key.problem(&name);
        self.unless(problem.is_none(), "name", || problem.clone().unwrap_or_default());
        Some(name)
    }

    pub(super) fn reach(&mut self) -> Reach {
        let (app, environment) = (self.text("app"), self.text("environment"));
        let wrong = app.as_deref().and_then(|app| Some(format!("`{app}`: {}", AppName::new(app).err()?)));
        self.unless(wrong.is_none(), "app", || wrong.clone().unwrap_or_default());
        let wrong = environment.as_deref();
        let wrong = wrong.and_then(|name| Some(format!("`{name}`: {}", EnvironmentName::new(name).err()?)));
        self.unless(wrong.is_none(), "environment", || wrong.clone().unwrap_or_default());
        Reach { app, environment }
    }

    pub(super) fn pace(&mut self) -> Pace {
        let interval = self.whole("intervalMs", 100..=3_600_000, INTERVAL_MS);
        let timeout = self.whole("timeoutMs", 10..=60_000, TIMEOUT_MS);
        Pace { interval: Duration::from_millis(interval), timeout: Duration::from_millis(timeout) }
    }

    pub(super) fn webhook(&mut self) -> Option<Webhook> {
        let url = self.one_url();
        let is_secret = |text: &str| Signers::parse(text).map(drop).map_err(|error| error.to_string());
        let secret = self.secret("secretFile", "secretEnv", is_secret);
        let metadata = self.metadata();
        Some(Webhook { url: url?, secret, metadata })
    }

    fn metadata(&mut self) -> BTreeMap<String, String> {
        let Some(value) = self.value("metadata") else { return BTreeMap::new() };
        let texts = match value {
            DeValue::Table(table) => table
                .iter()
                .map(|(name, value)| match value.get_ref() {
                    DeValue::String(text) => Some((name.get_ref().to_string(), text.to_string())),
                    _ => None,
                })
                .collect::<Option<BTreeMap<_, _>>>(),
            _ => None,
        };
        let size =
            |texts: &BTreeMap<String, String>| texts.iter().map(|(name, text)| name.len() + text.len()).sum::<usize>();
        let texts = texts.filter(|texts| size(texts) <= MOST_METADATA);
        self.unless(texts.is_some(), "metadata", || format!("must be a table of texts, {MOST_METADATA} bytes at most"));
        texts.unwrap_or_default()
    }

    /// `url`, or where the URL is when it is a secret.
    pub(super) fn one_url(&mut self) -> Option<Endpoint> {
        let plain = self.text("url");
        let hidden = self.secret("urlFile", "urlEnv", |text| is_url(text).map(drop));
        match (plain, hidden) {
            (Some(text), None) => self.parse_url("url", &text),
            (None, Some(hidden)) => Some(Endpoint::Secret(hidden)),
            (Some(_), Some(_)) => {
                self.problem("url", "is named twice");
                None
            }
            (None, None) => {
                let named = ["urlFile", "urlEnv", "url"].into_iter().any(|key| self.values.contains_key(key));
                self.unless(named, "url", || "is missing; urlFile or urlEnv name where a secret one is".to_owned());
                None
            }
        }
    }

    /// Never quoted: it may be a secret.
    pub(super) fn parse_url(&mut self, key: &'static str, text: &str) -> Option<Endpoint> {
        let url = is_url(text);
        self.unless(url.is_ok(), key, || url.as_ref().err().cloned().unwrap_or_default());
        url.ok().map(Endpoint::Url)
    }

    /// Where a secret is, if it is there and may be one.
    pub(super) fn secret(
        &mut self,
        file: &'static str,
        variable: &'static str,
        judge: impl Fn(&str) -> Result<(), String>,
    ) -> Option<SecretAt> {
        let (key, secret) = match (self.text(file), self.text(variable)) {
            (Some(_), Some(_)) => {
                self.problem(variable, format!("there is a {file} already"));
                return None;
            }
            // A path that is relative is so to the file that says it.
            (Some(path), None) => (file, SecretAt::File(self.reader.path.parent().unwrap_or(Path::new("")).join(path))),
            (None, Some(name)) => (variable, SecretAt::Variable(name)),
            (None, None) => return None,
        };
        let text = secret.read().map_err(|error| error.to_string());
        match text.and_then(|text| judge(&text)) {
            Ok(()) => Some(secret),
            Err(detail) => {
                self.problem(key, detail);
                None
            }
        }
    }
}

fn is_url(text: &str) -> Result<OutUrl, String> {
    text.parse().map_err(|error: UrlError| error.to_string())
}

fn whole(number: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// A status, or a range of them.
pub(super) fn statuses(value: &DeValue<'_>) -> Option<RangeInclusive<u16>> {
    let range = match value {
        DeValue::Integer(number) => {
            let one = u16::try_from(whole(number)?).ok()?;
            one..=one
        }
        DeValue::String(text) => {
            let (from, to) = text.split_once('-')?;
            from.trim().parse().ok()?..=to.trim().parse().ok()?
        }
        _ => return None,
    };
    (*range.start() >= 100 && *range.end() <= 599 && range.start() <= range.end()).then_some(range)
}

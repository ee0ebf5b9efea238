//! What a control plane calls by itself: a TOML file with a table `[[notify]]` for each destination, and `[[gate]]` and
//! `[[hook]]` for whom it asks about a candidate.
//!
//! It holds no secrets: it names the files or variables that do, and each is read once here to see that it is there. A
//! mistake is told with its line.

mod called;

use std::path::{Path, PathBuf};

use admin::integrations::{Channel, Destination, Endpoint, Integrations, Occasion};
use admin::outbound::OutUrl;
use admin::outbound::secret::SecretAt;
use admin::outbound::sign::Signers;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use super::layers::{Origin, Problem, did_you_mean, line, read};

/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// Destinations of one control plane.
const MOST: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    notify: Vec<Spanned<Notify>>,
    /// Read by `called`.
    #[serde(default, rename = "gate")]
    _gate: IgnoredAny,
    /// The same.
    #[serde(default, rename = "hook")]
    _hook: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Notify {
    name: String,
    kind: String,
    app: Option<String>,
    environment: Option<String>,
    events: Option<Vec<String>>,
    link: Option<String>,
    url: Option<String>,
    url_file: Option<PathBuf>,
    url_env: Option<String>,
    routing_key_file: Option<PathBuf>,
    routing_key_env: Option<String>,
    secret_file: Option<PathBuf>,
    secret_env: Option<String>,
}

/// Reads the file, and tries the secrets that it names.
pub(super) fn integrations(path: &Path) -> Result<Integrations, Vec<Problem>> {
    let problem = |line: usize, detail: String| {
        let origin = Origin::File { path: path.to_owned(), line };
        vec![Problem { origin, key: None, detail }]
    };
    let text = read(path).map_err(|detail| problem(0, detail))?;
    let file: File = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        problem(line(&text, at), error.message().to_owned())
    })?;
    let mut reader = Reader { path, text: &text, problems: Vec::new() };
    let mut integrations = Integrations::default();
    for entry in &file.notify {
        let at = entry.span().start;
        if let Some(destination) = reader.destination(at, entry.get_ref()) {
            if integrations.notify.iter().any(|before| before.name == destination.name) {
                reader.problem(at, "name", format!("there is a destination {} before this one", destination.name));
            }
            integrations.notify.push(destination);
        }
    }
    if integrations.notify.len() > MOST {
        reader.problem(0, "notify", format!("there are at most {MOST} destinations"));
    }
    called::read(path, &text, &mut integrations, &mut reader.problems);
    if reader.problems.is_empty() { Ok(integrations) } else { Err(reader.problems) }
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn problem(&mut self, at: usize, key: &str, detail: String) {
        let origin = Origin::File { path: self.path.to_owned(), line: line(self.text, at) };
        self.problems.push(Problem { origin, key: Some(key.to_owned()), detail });
    }

    fn destination(&mut self, at: usize, entry: &Notify) -> Option<Destination> {
        let before = self.problems.len();
        let is_name = (1..=64).contains(&entry.name.len())
            && entry.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_name {
            self.problem(at, "name", "a destination has a name of 1 to 64 letters, digits and . _ -".to_owned());
        }
        let channel = self.channel(at, entry);
        let events = self.events(at, entry);
        if let Some(link) = entry.link.as_deref().filter(|link| link.parse::<OutUrl>().is_err()) {
            self.problem(at, "link", format!("`{link}` is no URL"));
        }
        let channel = channel.filter(|_| self.problems.len() == before)?;
        Some(Destination {
            name: entry.name.clone(),
            events: events.unwrap_or_else(|| channel.occasions()),
            channel,
            app: entry.app.clone(),
            environment: entry.environment.clone(),
            link: entry.link.as_deref().map(|link| link.trim_end_matches('/').to_owned()),
        })
    }

    fn events(&mut self, at: usize, entry: &Notify) -> Option<Vec<Occasion>> {
        let names = entry.events.as_ref()?;
        let known = || Occasion::ALL.into_iter().map(Occasion::as_str);
        let mut events = Vec::new();
        for name in names {
            if let Some(occasion) = Occasion::ALL.into_iter().find(|one| one.as_str() == name) {
                events.push(occasion);
            } else {
                let help = did_you_mean(name, known());
                self.problem(at, "events", format!("`{name}` is no event{help}"));
            }
        }
        Some(events)
    }

    fn channel(&mut self, at: usize, entry: &Notify) -> Option<Channel> {
        let own: &[&str] = match entry.kind.as_str() {
            "slack" => &["urlFile", "urlEnv"],
            "pagerduty" => &["url", "routingKeyFile", "routingKeyEnv"],
            "webhook" => &["url", "urlFile", "urlEnv", "secretFile", "secretEnv"],
            other => {
                let help = did_you_mean(other, ["slack", "pagerduty", "webhook"].into_iter());
                self.problem(at, "kind", format!("`{other}` is no kind: slack, pagerduty or webhook{help}"));
                return None;
            }
        };
        for (key, is_there) in [
            ("url", entry.url.is_some()),
            ("urlFile", entry.url_file.is_some()),
            ("urlEnv", entry.url_env.is_some()),
            ("routingKeyFile", entry.routing_key_file.is_some()),
            ("routingKeyEnv", entry.routing_key_env.is_some()),
            ("secretFile", entry.secret_file.is_some()),
            ("secretEnv", entry.secret_env.is_some()),
        ] {
            if is_there && !own.contains(&key) {
                self.problem(at, key, format!("a destination of kind {} has no such key", entry.kind));
            }
        }
        let is_url = |text: &str| text.parse::<OutUrl>().map(drop).map_err(|error| error.to_string());
        match entry.kind.as_str() {
            "slack" => {
                let url = self.secret(at, "url", (&entry.url_file, &entry.url_env), is_url)?;
                Some(Channel::Slack { url })
            }
            "pagerduty" => {
                let url = self.url(at, entry.url.as_deref().unwrap_or(PAGERDUTY));
                let key = (&entry.routing_key_file, &entry.routing_key_env);
                let is_key = |text: &str| match text.len() {
                    1..=128 if text.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Ok(()),
                    _ => Err("a routing key is one word of letters and digits".to_owned()),
                };
                let routing_key = self.secret(at, "routingKey", key, is_key);
                Some(Channel::PagerDuty { url: url?, routing_key: routing_key? })
            }
            _ => {
                let url = match &entry.url {
                    Some(url) => self.url(at, url).map(Endpoint::Url),
                    None => self.secret(at, "url", (&entry.url_file, &entry.url_env), is_url).map(Endpoint::Secret),
                };
                let is_secret = |text: &str| Signers::parse(text).map(drop).map_err(|error| error.to_string());
                let secret = self.secret(at, "secret", (&entry.secret_file, &entry.secret_env), is_secret);
                Some(Channel::Webhook { url: url?, secret: secret? })
            }
        }
    }

    fn url(&mut self, at: usize, text: &str) -> Option<OutUrl> {
        match text.parse::<OutUrl>() {
            Ok(url) => Some(url),
            // Never quoted: it may hold a password.
            Err(error) => {
                self.problem(at, "url", error.to_string());
                None
            }
        }
    }

    /// Where a secret is, if it is there and may be one.
    fn secret(
        &mut self,
        at: usize,
        key: &str,
        (file, variable): (&Option<PathBuf>, &Option<String>),
        judge: impl Fn(&str) -> Result<(), String>,
    ) -> Option<SecretAt> {
        let secret = match (file, variable) {
            (Some(file), None) => SecretAt::File(self.path.parent().unwrap_or(Path::new("")).join(file)),
            (None, Some(variable)) => SecretAt::Variable(variable.clone()),
            _ => {
                self.problem(at, key, format!("is named by one of {key}File and {key}Env"));
                return None;
            }
        };
        let text = secret.read().map_err(|error| error.to_string());
        match text.and_then(|text| judge(&text)) {
            Ok(()) => Some(secret),
            Err(detail) => {
                self.problem(at, key, detail);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, Result<Integrations, Vec<Problem>>) {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writable");
        write("slack.url", "https://hooks.slack.example/services/canary\n");
        write("pd.key", "canarykey\n");
        write("hook.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
        write("integrations.toml", text);
        let read = integrations(&folder.path().join("integrations.toml"));
        (folder, read)
    }

    #[test]
    fn destinations_are_named_with_their_secrets_beside_the_file() {
        let text = r#"
[[notify]]
name = "ops"
kind = "slack"
urlFile = "slack.url"
app = "web"
events = ["held", "failed"]
link = "https://bascule.example/"

[[notify]]
name = "pager"
kind = "pagerduty"
routingKeyFile = "pd.key"

[[notify]]
name = "audit"
kind = "webhook"
url = "https://audit.example/hook"
secretFile = "hook.secret"
"#;
        let (_folder, read) = written(text);
        let read = read.expect("it is right");
        let [ops, pager, audit] = &read.notify[..] else { panic!("{read:?}") };
        assert_eq!((ops.channel.as_str(), ops.events.len()), ("slack", 2));
        assert_eq!(ops.link.as_deref(), Some("https://bascule.example"));
        assert!(ops.is_for("web", "production") && !ops.is_for("api", "production"));
        assert!(ops.events.contains(&Occasion::Held) && !ops.events.contains(&Occasion::Started));
        assert!(
            matches!(&pager.channel, Channel::PagerDuty { url, .. } if url.to_string() == "https://events.pagerduty.com")
        );
        assert_eq!(audit.events.len(), Occasion::ALL.len());
        assert!(!format!("{read:?}").contains("canary"));
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let (folder, read) = written(text);
        let prefix = format!("{}/", folder.path().display());
        let found: Vec<String> = read.expect_err("it is wrong").iter().map(ToString::to_string).collect();
        let found: Vec<String> = found.iter().map(|problem| problem.replace(&prefix, "")).collect();
        assert!(found.iter().any(|problem| problem.contains(expected)), "{found:#?}");
        assert!(!found.iter().any(|problem| problem.contains("canary")), "{found:#?}");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_never_with_a_secret() {
        refused("[[notfiy]]\n", "integrations.toml:1: unknown field `notfiy`");
        refused("\n[[notify]]\nname = \"a\"\n", "integrations.toml:2: missing field `kind`");
        let entry = |kind: &str, rest: &str| format!("[[notify]]\nname = \"a\"\nkind = \"{kind}\"\n{rest}");
        refused(
            &entry("slak", ""),
            "integrations.toml:1: kind: `slak` is no kind: slack, pagerduty or webhook; did you mean `slack`?",
        );
        refused(&entry("slack", ""), "url: is named by one of urlFile and urlEnv");
        refused(&entry("slack", "urlFile = \"gone\""), "gone cannot be read");
        refused(&entry("slack", "urlFile = \"pd.key\""), "url: a URL begins with http:// or https://");
        refused(
            &entry("slack", "urlFile = \"slack.url\"\nsecretFile = \"hook.secret\""),
            "secretFile: a destination of kind slack has no such key",
        );
        refused(
            &entry("slack", "urlFile = \"slack.url\"\nevents = [\"hold\"]"),
            "events: `hold` is no event; did you mean `held`?",
        );
        refused(
            &entry("webhook", "url = \"https://u:canary@h/\"\nsecretFile = \"hook.secret\""),
            "url: a URL begins with",
        );
        refused(&entry("webhook", "url = \"https://h/\"\nsecretFile = \"pd.key\""), "secret: a secret is whsec_");
        let twice = entry("slack", "urlFile = \"slack.url\"\n");
        refused(&format!("{twice}{twice}"), "integrations.toml:5: name: there is a destination a before this one");
    }
}

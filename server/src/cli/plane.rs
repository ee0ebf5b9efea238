//! The control plane as verbs see it: where it is, who asks, which app is meant, and what its refusals come to.
//!
//! Invariant: whatever goes wrong in an exchange becomes a [`Failure`] with the exit code of its kind, here and nowhere
//! else. The token is read from a file or the environment, never from an argument, which others could see.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use admin_api::{
    Client, ClientError, Fault, Problem,
    answers::Outcome as Changed,
    client::{Change, Settings, Token},
};
use serde::Serialize;
use serde_json::Value;

use super::{
    changes,
    exit::{Exit, Failure, Outcome},
    target,
};
use crate::config::setting;

const TOKEN: &str = "BASCULE_TOKEN";
const TOKEN_FILE: &str = "BASCULE_TOKEN_FILE";

/// Where the control plane is and who asks.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Control plane")]
pub(super) struct Connection {
    /// The control plane
    #[arg(
        long,
        value_name = "URL",
        env = "BASCULE_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7400",
        global = true
    )]
    url: String,
    /// File with the token; by default `BASCULE_TOKEN`, or the file in `BASCULE_TOKEN_FILE`
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
    /// PEM file with authorities to trust beside the system's
    #[arg(long, value_name = "FILE", env = "BASCULE_CA_FILE", hide_env_values = true, global = true)]
    ca_file: Option<PathBuf>,
    /// How long to wait for an answer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, global = true)]
    timeout: Duration,
    /// The API's JSON on stdout instead of text
    #[arg(long, global = true)]
    json: bool,
}

/// Which app.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Control plane")]
pub(super) struct AppName {
    /// The app; may be left out when there is one
    #[arg(long, value_name = "NAME", env = "BASCULE_APP", hide_env_values = true, global = true)]
    app: Option<String>,
}

/// How a change is made.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Write {
    /// Only show what would change
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

impl Write {
    /// The change of an object that was seen in this revision, or of a new one.
    pub(super) fn seen(&self, seen: Option<i64>) -> Change<'_> {
        Change { dry_run: self.dry_run, reason: self.reason.as_deref(), seen }
    }
}

/// A client, and how to say what it hears.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) json: bool,
}

impl Connection {
    /// Runs a verb, and turns what it could not do into an exit code.
    pub(super) fn run(&self, verb: impl AsyncFnOnce(&Session) -> Outcome) -> Outcome {
        let session = Session { client: self.client()?, json: self.json };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(verb(&session)).map_err(|error| match error.downcast::<ClientError>() {
            Ok(error) => explain(error, None).into(),
            Err(error) => error,
        })
    }

    /// Whether stdout is for programs.
    pub(super) fn wants_json(&self) -> bool {
        self.json
    }

    fn client(&self) -> anyhow::Result<Client> {
        let authorities = self.ca_file.as_deref().map(target::read).transpose()?.unwrap_or_default().into_bytes();
        let token = self.token()?.map(|text| Token::new(text.trim()));
        let settings = Settings {
            token: token.transpose().map_err(|error| explain(error, None))?,
            authorities,
            timeout: self.timeout,
            ..Settings::new(self.url.as_str())
        };
        Ok(Client::new(settings).map_err(|error| explain(error, None))?)
    }

    fn token(&self) -> anyhow::Result<Option<String>> {
        if let Some(path) = &self.token_file {
            return target::read(path).map(Some);
        }
        let own = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        match (own(TOKEN), own(TOKEN_FILE)) {
            (Some(_), Some(_)) => {
                let message = format!("{TOKEN} and {TOKEN_FILE} are both set");
                Err(Failure::new(Exit::Usage, message).with_help("keep one of them".to_owned()).into())
            }
            (token, None) => Ok(token),
            (None, Some(path)) => target::read(Path::new(&path)).map(Some),
        }
    }
}

impl Session {
    /// The app that was named, or the only one.
    pub(super) async fn app(&self, name: &AppName) -> anyhow::Result<String> {
        if let Some(name) = &name.app {
            return Ok(name.clone());
        }
        let apps: Vec<String> = self.client.list_apps().await?.value.items.into_iter().map(|app| app.key).collect();
        match apps.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Failure::new(Exit::NotFound, "the control plane has no app that this token sees").into()),
            several => {
                let help = format!("add --app with one of {}", several.join(", "));
                Err(Failure::new(Exit::Usage, "the control plane has several apps").with_help(help).into())
            }
        }
    }

    /// Says it in JSON if that is wanted, otherwise in words.
    pub(super) fn say(&self, json: &impl Serialize, words: impl FnOnce() -> String) -> std::io::Result<()> {
        let mut stdout = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut stdout, json).map_err(std::io::Error::from)?;
            return writeln!(stdout);
        }
        stdout.write_all(words().as_bytes())
    }

    /// Says what a change of one object came to: in a dry run the answer is a diff, otherwise the object.
    pub(super) fn say_changed(&self, json: &Value, write: &Write, words: impl FnOnce() -> String) -> Outcome {
        if write.dry_run {
            let outcome: Changed = serde_json::from_value(json.clone())?;
            self.say(json, || changes::text(&outcome, super::Paint::stdout()))?;
        } else {
            self.say(json, words)?;
        }
        Ok(Exit::Ok)
    }

    /// Says that nothing was to be done.
    pub(super) fn say_same(&self, json: &impl Serialize) -> Outcome {
        if self.json {
            self.say(json, String::new)?;
        }
        eprintln!("nothing to change");
        Ok(Exit::Ok)
    }
}

/// `None` instead of a refusal because the object does not exist.
pub(super) fn found<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Err(ClientError::Problem(problem)) if problem.status == 404 && problem.code == "not_found" => Ok(None),
        other => other.map(Some),
    }
}

/// The object itself, without what the control plane adds to it.
pub(super) fn without_meta(json: &Value) -> Value {
    let mut object = json.as_object().cloned().unwrap_or_default();
    for name in ["key", "revision", "createdAt", "updatedAt"] {
        object.remove(name);
    }
    Value::Object(object)
}

/// A JSON object from a file, or from stdin.
pub(super) fn object_in(path: &Path) -> anyhow::Result<Value> {
    object(&target::read(path)?, &path.display().to_string())
}

/// A JSON object.
pub(super) fn object(text: &str, place: &str) -> anyhow::Result<Value> {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if value.is_object() => Ok(value),
        Ok(_) => Err(Failure::new(Exit::Usage, format!("{place} is no JSON object")).into()),
        Err(error) => Err(Failure::new(Exit::Usage, format!("{place} is no JSON: {error}")).into()),
    }
}

/// A time span with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    setting::duration(text).ok_or_else(|| "write a number with ms, s, m or h, such as 30s".to_owned())
}

/// What went wrong in an exchange, as people read it. Places are in the file, if the request was made of one.
pub(super) fn explain(error: ClientError, file: Option<&str>) -> Failure {
    match error {
        ClientError::Problem(problem) => refused(&problem, file),
        ClientError::Unreachable { url, source } => {
            let mut message = format!("{url} cannot be reached: {source}");
            let mut cause = std::error::Error::source(&source);
            while let Some(error) = cause {
                message = format!("{message}: {error}");
                cause = error.source();
            }
            let help = "is it running? --url or BASCULE_URL say where it is".to_owned();
            Failure::new(Exit::Unreachable, message).with_help(help)
        }
        ClientError::Unexpected { ref request_id, .. } => {
            let notes = request_id.iter().map(|id| format!("request {}", changes::clean(id))).collect();
            Failure::new(Exit::Unexpected, changes::clean(&error.to_string())).with_notes(notes)
        }
        ClientError::Url(_) | ClientError::Request(_) | ClientError::Token | ClientError::Authorities(_) => {
            Failure::new(Exit::Usage, error.to_string())
        }
    }
}

/// Codes of what could be done, and is not allowed now.
const POLICY: [&str; 7] = [
    "release_rolled_back",
    "approver_needed",
    "four_eyes",
    "frozen",
    "release_quarantined",
    "rollout_waits",
    "template_required",
];

fn refused(problem: &Problem, file: Option<&str>) -> Failure {
    let exit = if POLICY.contains(&problem.code.as_str()) { Exit::Refused } else { exit_of(problem.status) };
    let mut notes = Vec::new();
    for fault in &problem.errors {
        notes.extend(lines(fault, problem, file));
    }
    notes.push(format!("request {}", changes::clean(&problem.instance)));
    let help = match problem.status {
        401 => Some(format!("set {TOKEN}, or name a file with --token-file")),
        _ => problem.hint.as_deref().map(changes::clean),
    };
    let message = format!("{} ({} {})", changes::clean(&problem.detail), problem.status, problem.code);
    Failure::new(exit, message).with_notes(notes).with_help(help)
}

/// The exit code of a status.
pub(super) fn exit_of(status: u16) -> Exit {
    match status {
        404 => Exit::NotFound,
        409 | 412 | 428 => Exit::Conflict,
        401 | 403 => Exit::NotAuthorised,
        429 | 502..=504 => Exit::Unreachable,
        400..=499 => Exit::Usage,
        _ => Exit::Unexpected,
    }
}

/// One mistake: where, what, and what may have been meant.
fn lines(fault: &Fault, problem: &Problem, file: Option<&str>) -> Vec<String> {
    let place = match (&fault.place, file) {
        (Some(place), Some(file)) => format!("{file}:{place}"),
        (Some(place), None) => place.clone(),
        (None, _) if fault.pointer.is_empty() => "in the whole".to_owned(),
        (None, _) => fault.pointer.clone(),
    };
    // The problem says it already when there is one mistake.
    let detail = if problem.detail == fault.detail { String::new() } else { format!(": {}", fault.detail) };
    let mut lines = vec![changes::clean(&format!("{place}: error[{}]{detail}", fault.code))];
    lines.extend(fault.hint.iter().map(|hint| format!("  help: {}", changes::clean(hint))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_its_exit_code() {
        let expected = [
            (404, Exit::NotFound),
            (409, Exit::Conflict),
            (412, Exit::Conflict),
            (428, Exit::Conflict),
            (401, Exit::NotAuthorised),
            (403, Exit::NotAuthorised),
            (422, Exit::Usage),
            (400, Exit::Usage),
            (503, Exit::Unreachable),
            (500, Exit::Unexpected),
        ];
        for (status, exit) in expected {
            assert_eq!(exit_of(status), exit, "{status}");
        }
    }
}

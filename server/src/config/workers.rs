//! Which Workers a control plane pushes to: a TOML file with a table `[[worker]]` for each.
//!
//! It holds no secrets; each Worker's token is in a file that it names. All problems are found at once, with their lines.

use std::collections::BTreeMap;
use std::path::Path;

use admin::edges::workers::Worker;
use admin_api::edge::Scope;
use edge_engine::{AppName, EnvironmentName, RegionName};
use toml::de::{DeTable, DeValue};

use super::follow::AdminUrl;
use super::layers::{Origin, Problem, did_you_mean, line, read};
use super::setting::Kind;

/// The one key of the file.
const LIST: &str = "worker";
/// The keys of a Worker; the last one may be missing.
const KEYS: [&str; 6] = ["id", "app", "environment", "url", "tokenFile", "region"];

/// Reads the file, and tries the files that it names.
pub(super) fn workers(path: &Path) -> Result<Vec<Worker>, Vec<Problem>> {
    let mut reader = Reader { path, text: "", problems: Vec::new(), workers: Vec::new() };
    let text = match read(path) {
        Ok(text) => text,
        Err(detail) => {
            reader.problem(0, None, detail);
            return Err(reader.problems);
        }
    };
    let mut reader = Reader { text: &text, ..reader };
    match DeTable::parse(&text) {
        Ok(table) => reader.file(table.get_ref()),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            reader.problem(at, None, error.message().to_owned());
        }
    }
    if reader.problems.is_empty() {
        return Ok(reader.workers);
    }
    // In the order in which one corrects them.
    reader.problems.sort_by_key(|problem| match problem.origin {
        Origin::File { line, .. } => line,
        _ => 0,
    });
    Err(reader.problems)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
    workers: Vec<Worker>,
}

/// The texts of one Worker with their places.
type Texts = BTreeMap<&'static str, (usize, String)>;

impl Reader<'_> {
    fn file(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let at = name.span().start;
            match (name.get_ref().as_ref(), value.get_ref()) {
                (LIST, DeValue::Array(items)) => {
                    for item in items {
                        match item.get_ref() {
                            DeValue::Table(worker) => self.worker(item.span().start, worker),
                            _ => self.problem(item.span().start, Some(LIST), "must be a table".to_owned()),
                        }
                    }
                }
                (LIST, _) => self.problem(at, Some(LIST), "each Worker begins with `[[worker]]`".to_owned()),
                (other, _) => {
                    let help = did_you_mean(other, [LIST].into_iter());
                    self.problem(at, Some(other), format!("there is no such key{help}"));
                }
            }
        }
    }

    fn worker(&mut self, at: usize, table: &DeTable<'_>) {
        let before = self.problems.len();
        let texts = self.texts(table);
        for key in KEYS.iter().filter(|key| **key != "region" && !table.contains_key(**key)) {
            self.problem(at, Some(key), "is missing".to_owned());
        }
        self.names(&texts);
        self.url(&texts);
        self.token(&texts);
        let text = |key: &str| texts.get(key).map(|(_, text)| text.clone());
        let (Some(id), Some(app), Some(environment)) = (text("id"), text("app"), text("environment")) else { return };
        let (Some(url), Some(token)) = (text("url"), text("tokenFile")) else { return };
        if self.problems.len() > before {
            return;
        }
        let token_file = self.beside(&token);
        let scope = Scope { app, environment };
        self.workers.push(Worker { id, scope, url, token_file, region: text("region") });
    }

    fn texts(&mut self, table: &DeTable<'_>) -> Texts {
        let mut texts = Texts::new();
        for (name, value) in table {
            let at = name.span().start;
            let Some(key) = KEYS.iter().find(|key| **key == name.get_ref().as_ref()) else {
                let help = did_you_mean(name.get_ref(), KEYS.into_iter());
                self.problem(at, Some(name.get_ref()), format!("there is no such key{help}"));
                continue;
            };
            match value.get_ref() {
                DeValue::String(text) => drop(texts.insert(key, (at, text.to_string()))),
                _ => self.problem(at, Some(key), "must be a text in quotes".to_owned()),
            }
        }
        texts
    }

    fn names(&mut self, texts: &Texts) {
        let judge = |key: &str, text: &str| match key {
            "id" => Kind::Key.problem(text),
            "app" => AppName::new(text).err().map(|error| format!("`{text}`: {error}")),
            "environment" => EnvironmentName::new(text).err().map(|error| format!("`{text}`: {error}")),
            _ => RegionName::new(text).err().map(|error| format!("`{text}`: {error}")),
        };
        for key in ["id", "app", "environment", "region"] {
            if let Some((at, text)) = texts.get(key)
                && let Some(detail) = judge(key, text)
            {
                self.problem(*at, Some(key), detail);
            }
        }
        if let Some((at, id)) = texts.get("id")
            && self.workers.iter().any(|worker| worker.id == *id)
        {
            self.problem(*at, Some("id"), format!("there is a Worker {id} before this one"));
        }
    }

    fn url(&mut self, texts: &Texts) {
        let Some((at, text)) = texts.get("url") else { return };
        match text.parse::<AdminUrl>() {
            Ok(url) if url.is_exposed() => {
                let detail = "the token and the bucketing key would cross the network in clear text: use https";
                self.problem(*at, Some("url"), detail.to_owned());
            }
            Ok(_) => {}
            // Never quoted: it may hold a password.
            Err(_) => {
                let detail =
                    "a Worker is named by https://HOST, or http on this machine, without user, query or fragment";
                self.problem(*at, Some("url"), detail.to_owned());
            }
        }
    }

    /// Whether there is a token that can be sent. The control plane reads it itself, when it needs it.
    fn token(&mut self, texts: &Texts) {
        let Some((at, name)) = texts.get("tokenFile") else { return };
        let path = self.beside(name);
        let detail = match read(&path) {
            Ok(text) if admin_api::client::Token::new(text.trim()).is_ok() => return,
            Ok(_) => format!("{} holds no token: one word of ASCII letters, digits and signs", path.display()),
            Err(detail) => format!("{} {detail}", path.display()),
        };
        self.problem(*at, Some("tokenFile"), detail);
    }

    /// A path that is relative is so to the file that says it.
    fn beside(&self, name: &str) -> std::path::PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(name)
    }

    fn problem(&mut self, at: usize, key: Option<&str>, detail: String) {
        let origin = Origin::File { path: self.path.to_owned(), line: line(self.text, at) };
        self.problems.push(Problem { origin, key: key.map(str::to_owned), detail });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGE: &str =
        "[[worker]]\nid = \"w\"\napp = \"web\"\nenvironment = \"production\"\nurl = \"https://w.example\"\n";

    fn written(text: &str) -> (tempfile::TempDir, Result<Vec<Worker>, Vec<Problem>>) {
        let folder = tempfile::tempdir().expect("a folder for the test");
        std::fs::write(folder.path().join("token"), "canary\n").expect("writable");
        std::fs::write(folder.path().join("two"), "canary canary").expect("writable");
        let file = folder.path().join("workers.toml");
        std::fs::write(&file, text).expect("writable");
        let read = workers(&file);
        (folder, read)
    }

    #[track_caller]
    fn problems(text: &str, expected: &[&str]) {
        let (folder, read) = written(text);
        let prefix = format!("{}/", folder.path().display());
        let found = read.expect_err("not a list of Workers");
        let found: Vec<String> = found.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_worker_has_an_id_a_scope_a_url_and_a_token_beside_the_file() {
        let (folder, read) = written(&format!("{EDGE}tokenFile = \"token\"\nregion = \"eu\"\n"));
        let scope = Scope { app: "web".into(), environment: "production".into() };
        let expected = Worker {
            id: "w".into(),
            scope,
            url: "https://w.example".into(),
            token_file: folder.path().join("token"),
            region: Some("eu".into()),
        };
        assert_eq!(read, Ok(vec![expected]));
        assert_eq!(written("").1, Ok(vec![]));
    }

    #[test]
    fn everything_that_is_wrong_is_said_with_its_line() {
        problems("[[wroker]]\n", &["workers.toml:1: wroker: there is no such key; did you mean `worker`?"]);
        problems("worker = 1\n", &["workers.toml:1: worker: each Worker begins with `[[worker]]`"]);
        problems(
            &format!("{EDGE}tokenfile = \"token\"\nregion = 7\n"),
            &[
                "workers.toml:1: tokenFile: is missing",
                "workers.toml:6: tokenfile: there is no such key; did you mean `tokenFile`?",
                "workers.toml:7: region: must be a text in quotes",
            ],
        );
        let twice = format!("{EDGE}tokenFile = \"token\"\n");
        problems(&format!("{twice}{twice}"), &["workers.toml:8: id: there is a Worker w before this one"]);
        let two = "workers.toml:6: tokenFile: two holds no token: one word of ASCII letters, digits and signs";
        problems(&format!("{EDGE}tokenFile = \"two\"\n"), &[two]);
        let (_folder, read) = written(&format!("{EDGE}tokenFile = \"gone\"\n"));
        assert!(read.expect_err("no file")[0].detail.contains("gone cannot be read"));
        let (_folder, read) = written("[[worker]\n");
        assert!(read.expect_err("no TOML")[0].to_string().contains("workers.toml:1: "));
    }

    #[test]
    fn a_token_crosses_no_network_in_clear_text() {
        let with = |url: &str| format!("{}tokenFile = \"token\"\n", EDGE.replace("https://w.example", url));
        for url in ["http://127.0.0.1:8787", "http://localhost:8787", "https://w.example/prefix"] {
            assert!(written(&with(url)).1.is_ok(), "{url}");
        }
        for url in ["http://w.example", "https://u:canary@w.example", "https://w.example?canary", "w.example"] {
            let found = written(&with(url)).1.expect_err(url);
            assert_eq!((found.len(), found[0].key.as_deref()), (1, Some("url")));
            assert!(!found[0].detail.contains("canary"), "{}", found[0].detail);
        }
    }
}

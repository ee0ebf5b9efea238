//! Where values come from: flags, then `BASCULE_*`, then the TOML file, then the defaults.
//!
//! It finds the text of every setting and remembers its origin; it gives texts no meaning beyond the
//! setting's kind. All problems are found at once. Secrets are texts here too, but never shown: see
//! [`Effective::shown`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use admin::store::Location;
use toml::de::{DeTable, DeValue};

use super::setting::{Kind, Process, Setting};
use super::table;

/// The variable that names the file when no flag does.
pub const FILE_VARIABLE: &str = "BASCULE_CONFIG";
/// Variables of ours that are no settings of a process that serves.
const OTHER_VARIABLES: [&str; 7] = [
    FILE_VARIABLE,
    "BASCULE_APP",
    "BASCULE_CA_FILE",
    "BASCULE_TOKEN",
    "BASCULE_TOKEN_FILE",
    "BASCULE_UPDATE_DOCS",
    "BASCULE_URL",
];
/// What Kubernetes adds for a service named `bascule…`, e.g. `BASCULE_PORT_8080_TCP_ADDR`.
const SERVICE_LINKS: [&str; 4] = ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT", "_TCP"];
/// A configuration file is a page, not a database.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A line of the TOML file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A file that an environment variable or a flag names.
    SecretFile {
        /// The variable, or the flag.
        variable: String,
        /// The file.
        path: PathBuf,
    },
    /// A flag of the command.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::SecretFile { variable, path } => write!(f, "{variable} ({})", path.display()),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// Something wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// Which setting, when it is about one.
    pub key: Option<String>,
    /// What, and what to do.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: {key}: {}", self.origin, self.detail),
            None => write!(f, "{}: {}", self.origin, self.detail),
        }
    }
}

/// A setting with its effective value.
#[derive(Clone, PartialEq, Eq)]
pub struct Effective {
    /// The setting's key.
    pub key: &'static str,
    /// What its texts are.
    pub kind: Kind,
    /// One text, several of a list, or none when it is not set.
    pub texts: Vec<String>,
    /// Where they came from.
    pub origin: Origin,
}

impl Effective {
    /// The value for people: a secret is not shown.
    pub fn shown(&self) -> String {
        match (self.texts.as_slice(), self.kind) {
            ([], _) => "not set".to_owned(),
            (_, Kind::Secret) => "set, not shown".to_owned(),
            // Without the password of a URL.
            ([text, ..], Kind::Database) => {
                text.parse().map_or_else(|_| "wrong".to_owned(), |at: Location| at.to_string())
            }
            (texts, _) => texts.join(", "),
        }
    }
}

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.key, self.shown(), self.origin)
    }
}

/// Everything that may hold a value.
#[derive(Debug, Default, Clone)]
pub struct Layers {
    /// Whose settings are asked for. A file and an environment may hold those of others too.
    pub process: Process,
    /// By flag name, in any order.
    pub flags: BTreeMap<String, Vec<String>>,
    /// The TOML file that a flag names.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variables: BTreeMap<String, String>,
}

/// What the layers say together.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Every setting of the process, in the order of the table.
    pub effective: Vec<Effective>,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// What is odd and does no harm.
    pub warnings: Vec<Problem>,
}

type Texts = BTreeMap<&'static str, (Vec<String>, Origin)>;

impl Layers {
    /// Lays the layers over each other. Reads the file, and the files of secrets; nothing else.
    pub fn resolve(&self) -> Resolved {
        let mut resolved = Resolved::default();
        let mut texts = self.file_texts(&mut resolved.problems);
        texts.extend(self.variable_texts(&mut resolved));
        texts.extend(self.flag_texts(&mut resolved.problems));
        for setting in table::ALL.iter().filter(|setting| setting.is_of(self.process)) {
            let (texts, origin) = texts.remove(setting.key).unwrap_or_else(|| (defaults(setting), Origin::Default));
            for text in &texts {
                if let Some(detail) = setting.kind.problem(text) {
                    let key = Some(setting.key.to_owned());
                    resolved.problems.push(Problem { origin: origin.clone(), key, detail });
                }
            }
            resolved.effective.push(Effective { key: setting.key, kind: setting.kind, texts, origin });
        }
        resolved
    }

    fn flag_texts(&self, problems: &mut Vec<Problem>) -> Texts {
        let named = table::ALL.iter().filter_map(|setting| {
            let flag = setting.flag(self.process)?;
            let given = self.flags.get(flag)?;
            let [path] = &given[..] else { return Some((setting.key, (given.clone(), Origin::Flag(flag)))) };
            if setting.kind != Kind::Secret {
                return Some((setting.key, (given.clone(), Origin::Flag(flag))));
            }
            let origin = Origin::SecretFile { variable: format!("--{flag}"), path: path.into() };
            match read(Path::new(path)) {
                Ok(text) => Some((setting.key, (vec![text.trim_end().to_owned()], origin))),
                Err(detail) => {
                    problems.push(Problem { origin, key: Some(setting.key.to_owned()), detail });
                    None
                }
            }
        });
        named.collect()
    }

    fn variable_texts(&self, resolved: &mut Resolved) -> Texts {
        let mut texts = Texts::new();
        let mut known: Vec<String> = OTHER_VARIABLES.map(str::to_owned).into();
        for setting in table::ALL {
            let name = setting.variable();
            if let Some(text) = self.variables.get(&name) {
                texts.insert(setting.key, (split(setting, text), Origin::Variable(name.clone())));
            }
            if setting.kind.has_file_variable() {
                let file = format!("{name}_FILE");
                if let Some(path) = self.variables.get(&file) {
                    self.secret_file(setting, &name, path, &mut texts, &mut resolved.problems);
                }
                known.push(file);
            }
            known.push(name);
        }
        let unknown = self.variables.keys().filter(|name| name.starts_with("BASCULE_") && !known.contains(name));
        for name in unknown.filter(|name| !SERVICE_LINKS.iter().any(|link| name.contains(link))) {
            let detail = format!("there is no such setting{}", did_you_mean(name, known.iter().map(String::as_str)));
            resolved.warnings.push(Problem { origin: Origin::Variable(name.clone()), key: None, detail });
        }
        texts
    }

    fn secret_file(
        &self,
        setting: &'static Setting,
        name: &str,
        path: &str,
        texts: &mut Texts,
        problems: &mut Vec<Problem>,
    ) {
        let origin = Origin::SecretFile { variable: format!("{name}_FILE"), path: path.into() };
        let key = Some(setting.key.to_owned());
        if self.variables.contains_key(name) {
            let detail = format!("{name} is set as well; set only one of the two");
            problems.push(Problem { origin, key, detail });
            return;
        }
        match read(Path::new(path)) {
            Ok(text) => drop(texts.insert(setting.key, (vec![text.trim_end().to_owned()], origin))),
            Err(detail) => problems.push(Problem { origin, key, detail }),
        }
    }

    fn file_texts(&self, problems: &mut Vec<Problem>) -> Texts {
        let named = self.file.clone().or_else(|| self.variables.get(FILE_VARIABLE).map(PathBuf::from));
        let Some(path) = named else { return Texts::new() };
        let text = match read(&path) {
            Ok(text) => text,
            Err(detail) => {
                problems.push(Problem { origin: Origin::File { path, line: 1 }, key: None, detail });
                return Texts::new();
            }
        };
        let mut file = TomlFile { path: &path, text: &text, texts: Texts::new(), problems };
        match DeTable::parse(&text) {
            Ok(table) => file.table("", table.get_ref()),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                file.problem(at, None, error.message().to_owned());
            }
        }
        file.texts
    }
}

/// The text of a file, or what is wrong with it.
pub(super) fn read(path: &Path) -> Result<String, String> {
    match std::fs::metadata(path) {
        Ok(meta) if meta.len() > MAX_FILE_BYTES => Err(format!("the file is larger than {MAX_FILE_BYTES} bytes")),
        Ok(_) => std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}")),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

fn defaults(setting: &Setting) -> Vec<String> {
    split(setting, &(setting.default)())
}

/// The texts in a variable or default; an empty one means not set.
fn split(setting: &Setting, text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    if setting.kind.is_list() {
        text.split(',').map(|part| part.trim().to_owned()).collect()
    } else {
        vec![text.to_owned()]
    }
}

struct TomlFile<'a> {
    path: &'a Path,
    text: &'a str,
    texts: Texts,
    problems: &'a mut Vec<Problem>,
}

impl TomlFile<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key =
                if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let at = name.span().start;
            match (Setting::named(&key), value.get_ref()) {
                (Some(setting), value) => self.value(setting, value, at),
                (None, DeValue::Table(inner)) if is_table(&key) => self.table(&key, inner),
                (None, _) => {
                    let help = did_you_mean(&key, table::ALL.iter().map(|setting| setting.key));
                    self.problem(at, Some(key), format!("there is no such setting{help}"));
                }
            }
        }
    }

    fn value(&mut self, setting: &'static Setting, value: &DeValue<'_>, at: usize) {
        let texts = match value {
            DeValue::Array(items) if setting.kind.is_list() => {
                items.iter().map(|item| scalar(item.get_ref())).collect::<Option<Vec<_>>>()
            }
            value => scalar(value).map(|text| vec![text]),
        };
        match texts {
            Some(texts) => {
                let origin = Origin::File { path: self.path.to_owned(), line: self.line(at) };
                self.texts.insert(setting.key, (texts, origin));
            }
            None => self.problem(at, Some(setting.key.to_owned()), format!("must be: {}", setting.kind.describe())),
        }
    }

    fn problem(&mut self, at: usize, key: Option<String>, detail: String) {
        let origin = Origin::File { path: self.path.to_owned(), line: self.line(at) };
        self.problems.push(Problem { origin, key, detail });
    }

    fn line(&self, at: usize) -> usize {
        line(self.text, at)
    }
}

/// The line of a place in a text, counted from 1.
pub(super) fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Whether settings are below this key.
fn is_table(key: &str) -> bool {
    table::ALL.iter().any(|setting| setting.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

/// `; did you mean …?` when something is near.
pub(super) fn did_you_mean<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let distance = |key: &str| {
        let whole = strsim::damerau_levenshtein(wrong, key);
        // The right name in the wrong table.
        if last(wrong) == last(key) { whole.min(1) } else { whole }
    };
    let near = known.map(|key| (distance(key), key)).min().filter(|(distance, key)| *distance <= key.len().div_ceil(4));
    near.map(|(_, key)| format!("; did you mean `{key}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::NamedTempFile, Layers) {
        let file = tempfile::NamedTempFile::new().expect("a file for the test");
        std::fs::write(file.path(), text).expect("writable");
        let layers = Layers { file: Some(file.path().to_owned()), ..Layers::default() };
        (file, layers)
    }

    fn get<'a>(resolved: &'a Resolved, key: &str) -> &'a Effective {
        resolved.effective.iter().find(|effective| effective.key == key).expect("a known key")
    }

    #[track_caller]
    fn problems(text: &str, expected: &[(usize, &str)]) {
        let (_file, layers) = file(text);
        let found = layers.resolve().problems;
        let lines: Vec<_> = found
            .iter()
            .map(|problem| match &problem.origin {
                Origin::File { line, .. } => (*line, problem.detail.as_str()),
                other => panic!("a problem of the file comes from {other}"),
            })
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_flag_beats_a_variable_which_beats_the_file_which_beats_the_default() {
        let (_file, mut layers) = file("region = \"file\"\nworkers = 3\n");
        let seen = |layers: &Layers| get(&layers.resolve(), "region").texts.clone();
        assert_eq!(get(&layers.resolve(), "drain.grace").origin, Origin::Default);
        assert!(matches!(get(&layers.resolve(), "workers").origin, Origin::File { line: 2, .. }));
        assert_eq!(seen(&layers), ["file"]);
        layers.variables.insert("BASCULE_REGION".into(), "variable".into());
        assert_eq!(seen(&layers), ["variable"]);
        layers.flags.insert("region".into(), vec!["flag".into()]);
        assert_eq!(seen(&layers), ["flag"]);
        assert_eq!(get(&layers.resolve(), "region").origin.to_string(), "--region");
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line_and_a_suggestion() {
        problems(
            "\nlisten = \"127.0.0.1:1\"\nlisen = \"x\"\n",
            &[(3, "there is no such setting; did you mean `listen`?")],
        );
        problems("[timeouts]\nhaed = \"1s\"\n", &[(2, "there is no such setting; did you mean `timeouts.head`?")]);
        problems("grace = \"1s\"\n", &[(1, "there is no such setting; did you mean `drain.grace`?")]);
        problems("[colours]\nred = 1\n", &[(1, "there is no such setting")]);
    }

    #[test]
    fn every_problem_is_found_at_once() {
        problems(
            "workers = 5000\n[timeouts]\nhead = \"soon\"\nidle = [1]\n[engine]\nkind = \"lua\"\n",
            &[
                (4, "must be: duration"),
                (1, "`5000` is not a whole number from 0 to 1024"),
                (6, "`lua` is not one of wasm, native"),
                (3, "`soon` is not a duration such as `250ms`, `10s`, `5m`"),
            ],
        );
    }

    #[test]
    fn broken_toml_is_told_with_its_line() {
        let (_file, layers) = file("region = \"a\"\nworkers = = 3\n");
        let found = layers.resolve().problems;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(matches!(found[0].origin, Origin::File { line: 2, .. }), "{found:?}");
    }

    #[test]
    fn lists_are_arrays_in_the_file_and_commas_in_a_variable() {
        let (_file, mut layers) = file("trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nfile = \"one.yaml\"\n");
        assert_eq!(get(&layers.resolve(), "trusted_proxies").texts, ["10.0.0.0/8", "::1"]);
        assert_eq!(get(&layers.resolve(), "file").texts, ["one.yaml"]);
        layers.variables.insert("BASCULE_TRUSTED_PROXIES".into(), "192.168.0.0/16, fd00::/8".into());
        assert_eq!(get(&layers.resolve(), "trusted_proxies").texts, ["192.168.0.0/16", "fd00::/8"]);
    }

    #[test]
    fn a_secret_may_come_from_a_file_but_not_twice_and_never_shows() {
        let secret = tempfile::NamedTempFile::new().expect("a file for the test");
        std::fs::write(secret.path(), "canary\n").expect("writable");
        let mut layers = Layers::default();
        let path = secret.path().display().to_string();
        layers.variables.insert("BASCULE_BUCKETING_KEY_FILE".into(), path);
        let resolved = layers.resolve();
        assert_eq!(get(&resolved, "bucketing_key").texts, ["canary"]);
        assert!(!format!("{resolved:?}").contains("canary"), "{resolved:?}");
        layers.variables.insert("BASCULE_BUCKETING_KEY".into(), "canary".into());
        let resolved = layers.resolve();
        assert_eq!(resolved.problems.len(), 1, "{resolved:?}");
        assert!(!format!("{resolved:?}").contains("canary"), "{resolved:?}");
    }

    #[test]
    fn a_missing_file_is_a_problem_that_names_it() {
        let mut layers = Layers { file: Some("/nonexistent/bascule.toml".into()), ..Layers::default() };
        layers.variables.insert("BASCULE_BUCKETING_KEY_FILE".into(), "/nonexistent/key".into());
        let found: Vec<_> = layers.resolve().problems.iter().map(ToString::to_string).collect();
        assert!(found[0].starts_with("/nonexistent/bascule.toml:1: cannot be read"), "{found:?}");
        assert!(found[1].contains("(/nonexistent/key): bucketing_key: cannot be read"), "{found:?}");
    }

    #[test]
    fn an_unknown_variable_is_a_warning_and_what_kubernetes_adds_is_not() {
        let mut layers = Layers::default();
        for name in ["BASCULE_LISTN", "BASCULE_SERVICE_HOST", "BASCULE_PORT_8080_TCP_ADDR", "BASCULE_TOKEN", "PATH"] {
            layers.variables.insert(name.into(), "x".into());
        }
        let resolved = layers.resolve();
        assert_eq!(resolved.problems, []);
        let warnings: Vec<_> = resolved.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, ["BASCULE_LISTN: there is no such setting; did you mean `BASCULE_LISTEN`?"]);
    }
}

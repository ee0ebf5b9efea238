//! What is wrong with a change, and in which object.

use edge_engine::Problem;

use super::At;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The object that it is in.
    pub at: At,
    /// JSON pointer into the object; empty = the object as a whole.
    pub pointer: String,
    /// Stable code.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
    /// What may have been meant.
    pub hint: Option<String>,
}

/// Where and how a JSON document does not fit its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// JSON pointer.
    pub pointer: String,
    /// Stable code.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
}

impl Unfit {
    /// What serde says.
    pub fn of(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let mut pointer = String::new();
        for segment in error.path() {
            use serde_path_to_error::Segment;
            let step = match segment {
                Segment::Seq { index } => index.to_string(),
                Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
                Segment::Enum { variant } => variant.clone(),
                Segment::Unknown => continue,
            };
            pointer.push('/');
            pointer.push_str(&step);
        }
        // Where in the text it is says nothing more than the pointer.
        let detail = error.inner().to_string();
        let detail = detail.split(" at line ").next().unwrap_or_default().to_owned();
        let code = match () {
            () if detail.starts_with("unknown field") => "key_unknown",
            () if detail.starts_with("missing field") => "key_missing",
            () if detail.starts_with("unknown variant") => "choice_unknown",
            () => "type_mismatch",
        };
        Self { pointer, code, detail }
    }
}

impl Fault {
    /// About an object as a whole.
    pub fn whole(at: At, code: &'static str, detail: impl Into<String>) -> Self {
        Self { at, pointer: String::new(), code, detail: detail.into(), hint: None }
    }

    /// A reader's complaint about an object that was read alone.
    pub(super) fn read(at: At, fault: edge_manifest::object::Fault) -> Self {
        Self { at, pointer: fault.pointer, code: fault.code, detail: fault.detail, hint: fault.hint }
    }

    /// A complaint about a flag that was read with its targeting in all environments.
    pub(super) fn read_flag(key: &str, fault: edge_manifest::object::Fault) -> Self {
        let inner = fault.pointer.strip_prefix("/environments/").map(|rest| match rest.find('/') {
            Some(end) => (rest[..end].to_owned(), rest[end..].to_owned()),
            None => (rest.to_owned(), String::new()),
        });
        match inner {
            Some((environment, pointer)) => {
                Self::read(At::targeting(&environment, key), edge_manifest::object::Fault { pointer, ..fault })
            }
            None => Self::read(At::flag(key), fault),
        }
    }

    /// A complaint about an environment that was read with its traffic.
    pub(super) fn read_environment(name: &str, fault: edge_manifest::object::Fault) -> Self {
        match fault.pointer.strip_prefix("/traffic").map(str::to_owned) {
            Some(pointer) => Self::read(At::traffic(name), edge_manifest::object::Fault { pointer, ..fault }),
            None => Self::read(At::environment(name), fault),
        }
    }

    /// The engine's problem with an environment's snapshot. `own` tells whether a flag's targeting has the field itself.
    pub(super) fn checked(environment: &str, problem: &Problem, own: impl Fn(&str, &str) -> bool) -> Self {
        let pointer = problem.pointer.as_str();
        let mut steps = pointer.split('/').skip(1);
        let (section, key) = (steps.next().unwrap_or_default(), steps.next().map(unescaped).unwrap_or_default());
        let below = |levels: usize| {
            let rest: String = pointer.split('/').skip(1 + levels).flat_map(|step| ["/", step]).collect();
            rest
        };
        let (at, pointer) = match section {
            "flags" if !key.is_empty() => {
                let field = pointer.split('/').nth(3).unwrap_or_default();
                let is_targeting = matches!(field, "enabled" | "rules" | "fallthrough")
                    || (field == "prerequisites" && own(&key, field));
                let at = if is_targeting { At::targeting(environment, &key) } else { At::flag(&key) };
                (at, below(2))
            }
            "segments" if !key.is_empty() => (At::segment(&key), below(2)),
            "releases" if !key.is_empty() => (At::release(&key), below(2)),
            "traffic" => (At::traffic(environment), below(1)),
            "edge" => (At::environment(environment), below(1)),
            _ => (At::environment(environment), pointer.to_owned()),
        };
        Self { at, pointer, code: problem.code, detail: problem.detail.clone(), hint: None }
    }
}

fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pointer: &str, at: &str, inner: &str) {
        let problem = Problem { pointer: pointer.into(), code: "c", detail: "d".into() };
        let fault = Fault::checked("production", &problem, |_, _| false);
        assert_eq!((fault.at.to_string().as_str(), fault.pointer.as_str()), (at, inner));
    }

    #[test]
    fn the_engines_places_are_places_in_objects() {
        check("/flags/a~1b/rules/0/when/attr", "environments/production/flags/a/b", "/rules/0/when/attr");
        check("/flags/a/variants/1/value", "flags/a", "/variants/1/value");
        check("/flags/a/prerequisites/0", "flags/a", "/prerequisites/0");
        check("/segments/s/when", "segments/s", "/when");
        check("/releases/r/upstreams/0/url", "releases/r", "/upstreams/0/url");
        check("/traffic/candidateWeight", "environments/production/traffic", "/candidateWeight");
        check("/edge/hosts/0", "environments/production", "/hosts/0");
        check("/unit/0", "environments/production", "/unit/0");
        check("", "environments/production", "");
        check("/flags", "environments/production", "/flags");
    }
}

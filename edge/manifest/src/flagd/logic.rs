//! The conditions that come out of targeting, simplified as they are put together.

use serde_json::Value;

use super::super::Yaml;

/// A condition of bascule.yaml.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Logic {
    Always,
    Never,
    All(Vec<Logic>),
    Any(Vec<Logic>),
    Not(Box<Logic>),
    Attribute { name: String, op: &'static str, values: Vec<Value> },
}

impl Logic {
    pub(super) fn constant(holds: bool) -> Self {
        if holds { Self::Always } else { Self::Never }
    }

    pub(super) fn attribute(name: &str, op: &'static str, values: Vec<Value>) -> Self {
        Self::Attribute { name: name.to_owned(), op, values }
    }

    pub(super) fn exists(name: &str) -> Self {
        Self::attribute(name, "exists", Vec::new())
    }

    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::Always => {}
                Self::Never => return Self::Never,
                Self::All(inner) => kept.extend(inner),
                other if kept.contains(&other) => {}
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Self::Always,
            1 => kept.remove(0),
            _ => Self::All(kept),
        }
    }

    pub(super) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::Never => {}
                Self::Always => return Self::Always,
                Self::Any(inner) => kept.extend(inner),
                other if kept.contains(&other) => {}
                other => kept.push(other),
            }
        }
        match kept.len() {
            0 => Self::Never,
            1 => kept.remove(0),
            _ => Self::Any(kept),
        }
    }

    /// The opposite. `neq` and `notIn` are exactly that of `eq` and `in`, also for what is absent.
    pub(super) fn negated(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::Not(inner) => *inner,
            Self::Attribute { name, op, values } => {
                let op = match op {
                    "eq" => "neq",
                    "neq" => "eq",
                    "in" => "notIn",
                    "notIn" => "in",
                    _ => return Self::Not(Box::new(Self::Attribute { name, op, values })),
                };
                Self::Attribute { name, op, values }
            }
            other => Self::Not(Box::new(other)),
        }
    }

    /// As bascule.yaml has it.
    pub(super) fn to_yaml(&self) -> Yaml {
        let list = |parts: &[Self]| parts.iter().map(Self::to_yaml).collect::<Yaml>();
        match self {
            Self::Always => Yaml::map([("all", Some(Yaml::List(Vec::new())))]),
            Self::Never => Yaml::map([("any", Some(Yaml::List(Vec::new())))]),
            Self::All(parts) => Yaml::map([("all", Some(list(parts)))]),
            Self::Any(parts) => Yaml::map([("any", Some(list(parts)))]),
            Self::Not(part) => Yaml::map([("not", Some(part.to_yaml()))]),
            Self::Attribute { name, op, values } => Yaml::map([
                ("attr", Some(Yaml::from(name.as_str()))),
                ("op", Some(Yaml::from(*op))),
                ("values", (*op != "exists").then(|| values.iter().cloned().map(Yaml::from).collect())),
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Logic;

    #[test]
    fn what_is_known_is_not_written() {
        let a = || Logic::exists("a");
        let b = || Logic::exists("b");
        assert_eq!(Logic::all([Logic::Always, a(), a()]), a());
        assert_eq!(Logic::all([a(), Logic::Never]), Logic::Never);
        assert_eq!(Logic::any([a(), Logic::any([b(), Logic::Never])]), Logic::Any(vec![a(), b()]));
        assert_eq!(a().negated().negated(), a());
        let eq = Logic::attribute("a", "eq", vec![1.into()]);
        assert_eq!(eq.clone().negated(), Logic::attribute("a", "neq", vec![1.into()]));
        assert_eq!(eq.clone().negated().negated(), eq);
    }
}

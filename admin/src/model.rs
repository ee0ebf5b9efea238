//! An app as the control plane knows it: its objects, what they mean, and what a change to them comes to.
//!
//! Pure: no store, no clock, no HTTP. Invariant: the objects of an [`App`] have been read by the readers of
//! `bascule.yaml`, are in their one form, and every environment's snapshot passed the engine's check. [`App::change`] is
//! the only way from one such state to the next.

pub mod app;
pub mod compile;
pub mod diff;
pub mod export;
pub mod fault;
pub mod rollback;
pub mod rollout;
pub mod weights;

pub use app::{App, Changed, Edit, Entry, ObjectChange};
pub use compile::Built;
pub use fault::Fault;

use crate::store::{Kind, ObjectId};

/// Where an object of an app is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// What it is.
    pub kind: Kind,
    /// Its environment, empty for what belongs to the app as a whole.
    pub environment: String,
    /// Its key, empty when there is only one.
    pub key: String,
}

impl At {
    /// The app itself.
    pub fn app() -> Self {
        Self::of(Kind::App, "", "")
    }

    /// An environment's own settings.
    pub fn environment(name: &str) -> Self {
        Self::of(Kind::Environment, name, name)
    }

    /// The traffic of an environment.
    pub fn traffic(environment: &str) -> Self {
        Self::of(Kind::Traffic, environment, "")
    }

    /// The releases that served an environment.
    pub fn history(environment: &str) -> Self {
        Self::of(Kind::History, environment, "")
    }

    /// A release.
    pub fn release(id: &str) -> Self {
        Self::of(Kind::Release, "", id)
    }

    /// A segment.
    pub fn segment(key: &str) -> Self {
        Self::of(Kind::Segment, "", key)
    }

    /// A flag's definition.
    pub fn flag(key: &str) -> Self {
        Self::of(Kind::Flag, "", key)
    }

    /// A flag in an environment.
    pub fn targeting(environment: &str, flag: &str) -> Self {
        Self::of(Kind::Targeting, environment, flag)
    }

    /// A named way to roll out in an environment.
    pub fn template(environment: &str, name: &str) -> Self {
        Self::of(Kind::Template, environment, name)
    }

    fn of(kind: Kind, environment: &str, key: &str) -> Self {
        Self { kind, environment: environment.to_owned(), key: key.to_owned() }
    }

    /// The same in a table.
    pub fn in_app(&self, app: &str) -> ObjectId {
        ObjectId {
            app: app.to_owned(),
            kind: self.kind,
            // The app is listed among its like by its name.
            environment: if self.kind == Kind::Environment { String::new() } else { self.environment.clone() },
            key: if self.kind == Kind::App { app.to_owned() } else { self.key.clone() },
        }
    }

    /// From a table.
    pub fn from_table(id: &ObjectId) -> Self {
        match id.kind {
            Kind::App => Self::app(),
            Kind::Environment => Self::environment(&id.key),
            kind => Self::of(kind, &id.environment, &id.key),
        }
    }
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, environment, key } = self;
        match kind {
            Kind::App => write!(f, "app"),
            Kind::Environment => write!(f, "environments/{environment}"),
            Kind::Traffic => write!(f, "environments/{environment}/traffic"),
            Kind::History => write!(f, "environments/{environment}/history"),
            Kind::Release => write!(f, "releases/{key}"),
            Kind::Segment => write!(f, "segments/{key}"),
            Kind::Flag => write!(f, "flags/{key}"),
            Kind::Targeting => write!(f, "environments/{environment}/flags/{key}"),
            Kind::Template => write!(f, "environments/{environment}/rollout-templates/{key}"),
        }
    }
}

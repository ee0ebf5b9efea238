//! Who asks, and what they may do.
//!
//! A principal has scopes: a role for an app and an environment, `*` for all. Roles of people are a ladder (a viewer
//! reads, an editor edits flags, an operator moves traffic, an admin everything); those of machines stand beside it and
//! open nothing of API v1.

pub use admin_api::access::{Role, Scope};

/// Where an operation needs its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// In any scope at all.
    Anywhere,
    /// In some environment of the app of the path.
    SomeOfApp,
    /// In all environments of the app of the path.
    AllOfApp,
    /// In the environment of the path.
    Environment,
    /// In all apps and environments.
    Everything,
}

/// What an operation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The role.
    pub role: Role,
    /// Where.
    pub reach: Reach,
}

/// Somebody who was recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The token's id, or `system`.
    pub id: String,
    /// The token's name.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

impl Principal {
    /// Whether it has the role where an operation needs it.
    pub fn may(&self, needs: Needs, app: &str, environment: &str) -> bool {
        let mut scopes = self.scopes.iter().filter(|scope| scope.role.includes(needs.role));
        match needs.reach {
            Reach::Anywhere => scopes.next().is_some(),
            Reach::SomeOfApp => scopes.any(|scope| scope.app == "*" || scope.app == app),
            Reach::AllOfApp => scopes.any(|scope| scope.environment == "*" && scope.covers(app, "*")),
            Reach::Environment => scopes.any(|scope| scope.covers(app, environment)),
            Reach::Everything => scopes.any(|scope| scope.app == "*" && scope.environment == "*"),
        }
    }

    /// Whether it has a role in an environment.
    pub fn has(&self, role: Role, app: &str, environment: &str) -> bool {
        self.may(Needs { role, reach: Reach::Environment }, app, environment)
    }

    /// Whether it may give this scope to another token: it has all of it.
    pub fn may_grant(&self, scope: &Scope) -> bool {
        self.scopes.iter().any(|own| {
            own.role == Role::Admin
                && (own.app == "*" || own.app == scope.app)
                && (own.environment == "*" || own.environment == scope.environment)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(scopes: &[(&str, &str, Role)]) -> Principal {
        let scope = |(app, environment, role): &(&str, &str, Role)| Scope {
            app: (*app).to_owned(),
            environment: (*environment).to_owned(),
            role: *role,
        };
        Principal { id: "t".into(), name: "t".into(), scopes: scopes.iter().map(scope).collect() }
    }

    #[test]
    fn roles_of_people_are_a_ladder_and_those_of_machines_are_not_on_it() {
        assert!(Role::Admin.includes(Role::Viewer) && !Role::Viewer.includes(Role::Editor));
        for machine in [Role::Edge, Role::Ofrep, Role::OfrepClient] {
            assert!(machine.includes(machine));
            assert!(!Role::Admin.includes(machine) && !machine.includes(Role::Viewer), "{machine:?}");
        }
    }

    #[test]
    fn a_role_counts_where_it_was_given() {
        let one = principal(&[("web", "staging", Role::Operator)]);
        let needs = |role, reach| Needs { role, reach };
        assert!(one.has(Role::Editor, "web", "staging"));
        assert!(!one.has(Role::Viewer, "web", "production") && !one.has(Role::Viewer, "api", "staging"));
        assert!(one.may(needs(Role::Viewer, Reach::SomeOfApp), "web", ""));
        assert!(!one.may(needs(Role::Viewer, Reach::AllOfApp), "web", ""));
        assert!(!one.may(needs(Role::Viewer, Reach::Everything), "web", ""));
        let all = principal(&[("web", "*", Role::Editor)]);
        assert!(all.may(needs(Role::Editor, Reach::AllOfApp), "web", ""));
        assert!(!all.may(needs(Role::Editor, Reach::AllOfApp), "api", ""));
    }

    #[test]
    fn nobody_gives_what_they_do_not_have() {
        let scope =
            |app: &str, environment: &str, role| Scope { app: app.into(), environment: environment.into(), role };
        let admin = principal(&[("web", "*", Role::Admin)]);
        assert!(admin.may_grant(&scope("web", "staging", Role::Edge)));
        assert!(admin.may_grant(&scope("web", "*", Role::Admin)));
        assert!(!admin.may_grant(&scope("*", "*", Role::Viewer)));
        assert!(!principal(&[("*", "*", Role::Operator)]).may_grant(&scope("web", "x", Role::Viewer)));
    }
}

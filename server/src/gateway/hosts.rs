//! Which environment serves a host.
//!
//! Exact names win over wildcards; `*.shop.example` stands for exactly one more label. Names are
//! held in lower case, without port and without a trailing dot; look-ups allocate nothing for
//! names that are already so.

use std::collections::HashMap;

use edge_http::host::{normal, without_port};

/// Index of an environment in a [`super::state::WorkerState`].
pub type EnvironmentIndex = usize;

/// Host names of all environments of a worker.
#[derive(Debug, Default, Clone)]
pub struct HostMap {
    exact: HashMap<Box<str>, EnvironmentIndex>,
    /// Keyed by what follows the `*.`.
    wildcard: HashMap<Box<str>, EnvironmentIndex>,
}

impl HostMap {
    /// Adds a pattern. The first environment keeps a name that a later one asks for too;
    /// the return value says whether the name was free.
    pub fn insert(&mut self, pattern: &str, environment: EnvironmentIndex) -> bool {
        let pattern = normal(pattern).into_owned();
        let (map, key) = match pattern.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcard, rest.to_owned()),
            None => (&mut self.exact, pattern),
        };
        match map.entry(key.into()) {
            std::collections::hash_map::Entry::Occupied(_) => false,
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(environment);
                true
            }
        }
    }

    /// The environment for an authority such as `shop.example:8080`.
    pub fn find(&self, authority: &str) -> Option<EnvironmentIndex> {
        let host = normal(without_port(authority));
        if let Some(found) = self.exact.get(&*host) {
            return Some(*found);
        }
        if self.wildcard.is_empty() {
            return None;
        }
        let (label, rest) = host.split_once('.')?;
        if label.is_empty() { None } else { self.wildcard.get(rest).copied() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> HostMap {
        let mut map = HostMap::default();
        assert!(map.insert("shop.example", 0));
        assert!(map.insert("*.shop.example", 1));
        assert!(map.insert("API.shop.example", 2));
        assert!(map.insert("[::1]", 3));
        map
    }

    #[track_caller]
    fn check(authority: &str, expected: Option<EnvironmentIndex>) {
        assert_eq!(map().find(authority), expected, "{authority}");
    }

    #[test]
    fn an_exact_name_wins_over_a_wildcard() {
        check("shop.example", Some(0));
        check("api.shop.example:443", Some(2));
        check("www.shop.example", Some(1));
    }

    #[test]
    fn case_port_and_trailing_dot_do_not_matter() {
        check("SHOP.example.:8080", Some(0));
        check("WWW.Shop.Example:1", Some(1));
        check("[::1]:80", Some(3));
        check("[::1]", Some(3));
    }

    #[test]
    fn a_wildcard_stands_for_exactly_one_label() {
        check("a.b.shop.example", None);
        check(".shop.example", None);
        check("example", None);
        check("", None);
    }

    #[test]
    fn a_name_that_is_taken_stays_with_its_first_environment() {
        let mut map = map();
        assert!(!map.insert("Shop.Example", 9));
        assert_eq!(map.find("shop.example"), Some(0));
    }
}

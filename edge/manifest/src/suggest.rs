//! "Did you mean": the closest of the names that would have been right.

/// Names beyond this many are not compared; a file with an unknown name must stay cheap to refuse.
const MAX_COMPARED: usize = 2_000;
/// So many names still fit into one sentence.
const MAX_LISTED: usize = 20;

/// The name that `word` is most likely a slip or the beginning of, if any is close enough.
pub(super) fn closest<'c>(word: &str, names: &(impl IntoIterator<Item = &'c str> + Clone)) -> Option<&'c str> {
    let begun = || {
        let mut begun = names.clone().into_iter().take(MAX_COMPARED).filter(|name| name.starts_with(word));
        begun.next().filter(|_| word.len() >= 3 && begun.next().is_none())
    };
    slip(word, names.clone()).or_else(begun)
}

fn slip<'c>(word: &str, names: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let folded = fold(word);
    let allowed = folded.chars().count().div_ceil(3).clamp(1, 4);
    names
        .into_iter()
        .take(MAX_COMPARED)
        .filter(|name| name.len().abs_diff(word.len()) <= 2 * allowed)
        .map(|name| (strsim::osa_distance(&folded, &fold(name)), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, name)| (*distance, !name.starts_with(word)))
        .map(|(_, name)| name)
}

/// A suggestion for an unknown word: the closest name, or all of them when they are few.
pub(super) fn help<'c>(word: &str, names: impl IntoIterator<Item = &'c str> + Clone) -> Option<String> {
    if let Some(name) = closest(word, &names) {
        return Some(format!("did you mean \"{name}\"?"));
    }
    let listed: Vec<&str> = names.into_iter().take(MAX_LISTED + 1).collect();
    match listed.len() {
        0 => None,
        1..=MAX_LISTED => Some(format!("known here: {}", listed.join(", "))),
        _ => None,
    }
}

/// `promotes_from`, `promotes-from` and `promotesFrom` are the same slip away from anything.
fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-' | '.')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(word: &str, names: &[&'static str], expected: Option<&str>) {
        assert_eq!(help(word, names.iter().copied()).as_deref(), expected);
    }

    #[test]
    fn a_slip_finds_its_name() {
        check("promotes_from", &["hosts", "promotesFrom"], Some("did you mean \"promotesFrom\"?"));
        check("semverGTE", &["semverGt", "semverGte"], Some("did you mean \"semverGte\"?"));
        check("stff", &["beta", "staff"], Some("did you mean \"staff\"?"));
    }

    #[test]
    fn a_beginning_finds_its_only_name() {
        check("prod", &["staging", "production"], Some("did you mean \"production\"?"));
        check("prod", &["production-eu", "production-us"], Some("known here: production-eu, production-us"));
    }

    #[test]
    fn something_else_gets_the_list_while_it_is_short() {
        check("banana", &["blue", "green"], Some("known here: blue, green"));
        check("banana", &[], None);
    }
}

//! Snapshot documents: what `parse` and `check` refuse has places, and what they accept decides.

use edge_engine::{JsonContext, Problem, Snapshot, check, limits::MAX_PROBLEMS, parse};
use serde_json::{Value as Json, json};

use super::decisions::{decided, evaluated};
use super::places::{Text, Tree};
use super::{key, load};

/// Contexts that an accepted snapshot decides: enough that each attribute meets each kind of value.
const CONTEXTS: usize = 8;

/// A document is refused with places in it, or is a snapshot: written and read again it is the same one, and it decides.
pub fn any_bytes(data: &[u8]) {
    let wire = match parse(data) {
        Ok(wire) => wire,
        Err(problems) => return refused(data, &problems),
    };
    let written = serde_json::to_vec(&wire).expect("a snapshot can be written");
    assert_eq!(parse(&written).as_ref(), Ok(&wire), "reading back gives another snapshot");
    match check(wire, &key()) {
        Ok(snapshot) => {
            let again = load(&written).expect("what was accepted is accepted again");
            accepted(&snapshot, &again, data);
        }
        Err(problems) => {
            refused(data, &problems);
            assert_eq!(load(&written).err(), Some(problems), "reading back gives other problems");
        }
    }
}

fn refused(data: &[u8], problems: &[Problem]) {
    assert!((1..=MAX_PROBLEMS).contains(&problems.len()), "{} problems", problems.len());
    let tree = Tree::of(data);
    for Problem { pointer, code, detail } in problems {
        assert!(!code.is_empty() && !detail.is_empty(), "a problem without words: {code}: {detail}");
        match &tree {
            Some(tree) => assert!(tree.has(pointer), "{code} at {pointer}, which the document does not have"),
            None => assert_eq!(pointer, "", "{code} has a place in what is no JSON"),
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let findings = edge_manifest::locate_json(text, "snapshot.json", problems);
    assert_eq!(findings.is_empty(), problems.is_empty(), "a problem is lost on the way to its place");
    Text::of(text).holds(&findings);
}

fn accepted(snapshot: &Snapshot, again: &Snapshot, data: &[u8]) {
    assert_eq!(snapshot.needs(), again.needs(), "reading back gives other attributes");
    for context in contexts(snapshot, data) {
        evaluated(snapshot, &context);
        let lists = context.lists(snapshot);
        let values = context.values(snapshot, &lists);
        let request = context.request(&values, super::NOW_MS);
        assert_eq!(decided(snapshot, &request), decided(again, &request), "reading back gives other decisions");
    }
}

/// Contexts with all attributes that the snapshot asks for: values of each kind, and texts of the document, since what
/// a condition compares with is written there.
fn contexts(snapshot: &Snapshot, data: &[u8]) -> Vec<JsonContext> {
    let mut values =
        vec![json!(null), json!("1.2.3"), json!("10.1.2.3"), json!(42), json!(true), json!(["a", 1, [], ""])];
    let texts: Vec<&[u8]> = data.split(|byte| *byte == b'"').skip(1).step_by(2).collect();
    // The conditions are in the later part of a document.
    let texts = texts.iter().rev().take(2 * CONTEXTS);
    values.extend(texts.map(|text| Json::from(String::from_utf8_lossy(text))));
    let context = |turn: usize| {
        let value = |place: usize| values.get((turn * CONTEXTS + place) % values.len()).cloned().unwrap_or_default();
        let names = snapshot.needs().iter().map(|attribute| attribute.name().to_owned());
        // `now` is the clock and not an attribute, and has a form of its own.
        let named = names.enumerate().filter(|(_, name)| name != "now").map(|(place, name)| (name, value(place)));
        JsonContext::from_object(named.collect()).expect("an object without `now` is a context")
    };
    (0..CONTEXTS).map(context).collect()
}

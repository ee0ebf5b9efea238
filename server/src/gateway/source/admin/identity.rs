//! Who this edge is: an id that stays over restarts, and one for this process.

use edge_engine::KeyId;

use super::backoff::random;
use crate::state_dir::StateDir;

/// Where the id is kept.
const NOTE: &str = "edge-id";

/// The edge's id: the given one, the one of the state directory, or a new one, which is kept there.
pub(super) fn edge_id(given: Option<&str>, dir: Option<&StateDir>) -> String {
    if let Some(given) = given {
        return given.to_owned();
    }
    let kept = dir.and_then(|dir| dir.noted(NOTE).ok().flatten());
    let kept = kept.and_then(|text| String::from_utf8(text).ok()).map(|text| text.trim().to_owned());
    if let Some(kept) = kept.filter(|kept| KeyId::new(kept.as_str()).is_ok()) {
        return kept;
    }
    let id = format!("gateway-{}", unique());
    if let Some(Err(error)) = dir.map(|dir| dir.note(NOTE, format!("{id}\n").as_bytes())) {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "the edge's id cannot be kept: a restart will be another edge");
    }
    id
}

/// 64 random bits as text.
pub(super) fn unique() -> String {
    format!("{:016x}", random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_over_restarts_unless_another_one_is_given() {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let dir = StateDir::open(folder.path()).expect("opened");
        let id = edge_id(None, Some(&dir));
        assert!(KeyId::new(id.as_str()).is_ok(), "{id}");
        assert_eq!(edge_id(None, Some(&dir)), id);
        assert_eq!(edge_id(Some("edge-7"), Some(&dir)), "edge-7");
        assert_ne!(edge_id(None, None), edge_id(None, None));
        dir.note(NOTE, b"no key \xff").expect("kept");
        assert_ne!(edge_id(None, Some(&dir)), id, "what is no id is replaced");
    }
}

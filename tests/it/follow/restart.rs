//! A start without the control plane: from disk, by signature, and nothing else.

use std::path::{Path, PathBuf};

use serde_json::json;
use server::gateway::start::Gateway;
use server::hex;
use sha2::{Digest as _, Sha256};
use tests::ControlPlane;

use super::{document, follow, state_dir};
use crate::live::{Client, Origin};
use crate::rig::{eventually, get};

/// The release that each of many users gets, which depends on the bucketing key.
fn cohorts(gateway: &Gateway) -> Vec<String> {
    let mut client = Client::new(gateway.address());
    (0..60).map(|user| client.get(&user.to_string()).expect("an answer").1).collect()
}

/// A control plane that is away after a gateway has run its snapshot and ended; and what its users saw.
fn prepared(folder: &Path) -> (ControlPlane, Vec<String>, [Origin; 2]) {
    let mut plane = ControlPlane::start();
    let origins = ["blue", "green"].map(Origin::start);
    let mut snapshot = document("production", 5, &origins[0]);
    snapshot["traffic"] = json!({
        "active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 500_000, "salt": "s",
    });
    snapshot["releases"]["web-2"] =
        json!({"version": "2", "upstreams": [{"url": format!("http://{}", origins[1].address)}]});
    plane.publish(&snapshot);
    let gateway = follow(&plane, &[state_dir(folder)]);
    plane.until_ack("production", 5);
    let seen = cohorts(&gateway);
    gateway.stop();
    plane.close();
    (plane, seen, origins)
}

/// The only saved generation.
fn saved(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|ext| ext == "snapshot")).expect("one was saved")
}

/// Changes a saved snapshot as somebody would who writes checksums too.
fn tamper(file: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(file).unwrap();
    let (header, payload) = text.split_once('\n').unwrap();
    let changed = change(payload.to_owned());
    assert_ne!(changed, payload, "the change is one");
    let mut words: Vec<_> = header.split(' ').map(str::to_owned).collect();
    // Head and document keep their lengths.
    words[3] = changed.len().to_string();
    words[4] = hex::encode(&Sha256::digest(changed.as_bytes()));
    std::fs::write(file, format!("{}\n{changed}", words.join(" "))).unwrap();
}

#[test]
fn without_its_control_plane_a_gateway_decides_as_before_and_is_ready_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut plane, before, _origins) = prepared(folder.path());
    let gateway = follow(&plane, &[state_dir(folder.path())]);
    assert_eq!(get(gateway.ops_address(), "/readyz").status, 200);
    assert_eq!(cohorts(&gateway), before, "the bucketing key is the same");
    let origin = || {
        let health = get(gateway.ops_address(), "/api/health").body;
        let health: serde_json::Value = serde_json::from_str(&health).unwrap();
        let check = health["checks"]["snapshot:web/production"].clone();
        (
            check["origin"].as_str().unwrap_or_default().to_owned(),
            check["status"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(origin(), ("state-dir".to_owned(), "warn".to_owned()));
    let seen = plane.acks().len();
    plane.open();
    eventually("the control plane confirms it", origin, |is| *is == ("control-plane".to_owned(), "healthy".to_owned()));
    let again = plane.until_posted("an acknowledgement", |acks, _| acks.get(seen).cloned());
    assert_eq!(again.acks[0].number, 5);
    let edges: Vec<_> = plane.visits().iter().map(|visit| field(&visit.target, "edge")).collect();
    let boots: Vec<_> = plane.visits().iter().map(|visit| field(&visit.target, "boot")).collect();
    assert!(edges.iter().all(|edge| *edge == edges[0]), "the same edge: {edges:?}");
    assert_ne!(boots.first(), boots.last(), "in another process");
}

fn field(target: &str, name: &str) -> String {
    let value = target.split(['?', '&']).find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    value.expect("it is said").to_owned()
}

/// A gateway that finds this in its state directory serves nothing.
#[track_caller]
fn refuses(folder: &Path, plane: &ControlPlane) {
    let gateway = follow(plane, &[state_dir(folder)]);
    assert_eq!(get(gateway.ops_address(), "/readyz").status, 503);
    assert!(gateway.board().report().environments.is_empty());
}

#[test]
fn a_saved_document_that_was_changed_is_refused_although_its_checksum_fits() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, ..) = prepared(folder.path());
    tamper(&saved(folder.path()), |text| text.replace("\"candidateWeight\":500000", "\"candidateWeight\":500001"));
    refuses(folder.path(), &plane);
}

#[test]
fn a_saved_signature_that_was_changed_is_refused_although_its_checksum_fits() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, ..) = prepared(folder.path());
    tamper(&saved(folder.path()), |text| {
        let at = text.find("\"signature\":\"").expect("it is kept") + 13;
        let flipped = if &text[at..=at] == "0" { "1" } else { "0" };
        format!("{}{flipped}{}", &text[..at], &text[at + 1..])
    });
    refuses(folder.path(), &plane);
}

#[test]
fn the_saved_file_of_another_environment_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, ..) = prepared(folder.path());
    let file = saved(folder.path());
    let name = file.file_name().unwrap().to_str().unwrap().replace("production", "staging");
    std::fs::rename(&file, folder.path().join(name)).unwrap();
    refuses(folder.path(), &plane);
}

#[test]
fn a_saved_snapshot_counts_only_under_the_key_that_is_pinned_now() {
    let folder = tempfile::tempdir().unwrap();
    let (plane, ..) = prepared(folder.path());
    let other = tests::control_plane::Signer::new(9).public();
    let gateway = follow(&plane, &[state_dir(folder.path()), ("ADMIN_PUBLIC_KEY", other)]);
    assert_eq!(get(gateway.ops_address(), "/readyz").status, 503);
}

#[test]
fn what_a_gateway_kept_of_its_files_is_not_served_for_a_control_plane() {
    let folder = tempfile::tempdir().unwrap();
    let (origin, plane) = (Origin::start("blue"), ControlPlane::start());
    let file = folder.path().join("snapshot.json");
    std::fs::write(&file, document("production", 90, &origin).to_string()).unwrap();
    let state = folder.path().join("state");
    let settings = [("FILE", file.display().to_string()), state_dir(&state), ("WORKERS", "1".to_owned())];
    drop(crate::live::gateway(&settings));
    let kept = std::fs::read_to_string(saved(&state)).unwrap();
    assert!(kept.starts_with("bascule-state 1 90 "), "as before, so that an older gateway reads it");
    plane.answers(tests::control_plane::Answer::Hangs);
    refuses(&state, &plane);
    plane.answers(tests::control_plane::Answer::Stream);
    plane.publish(&document("production", 3, &origin));
    let gateway = follow(&plane, &[state_dir(&state)]);
    plane.until_ack("production", 3);
    gateway.stop();
    let texts = || {
        let files = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().path());
        files.filter_map(|path| std::fs::read_to_string(path).ok()).collect::<Vec<_>>()
    };
    assert!(
        texts().iter().any(|text| text.starts_with("bascule-state 2 3 ")),
        "the control plane's numbers count anew"
    );
}

#[test]
fn without_a_pin_the_first_control_plane_is_trusted_and_no_other_one() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start("blue");
    let no_pin = ("ADMIN_PUBLIC_KEY", String::new());
    let (first, second) = (ControlPlane::start_as(1), ControlPlane::start_as(2));
    first.publish(&document("production", 1, &origin));
    second.publish(&document("production", 2, &origin));
    let gateway = follow(&first, &[state_dir(folder.path()), no_pin.clone()]);
    first.until_ack("production", 1);
    gateway.stop();
    let gateway = follow(&second, &[state_dir(folder.path()), no_pin]);
    assert_eq!(second.until_nack("production", 2).code, "key_unknown");
    let (status, body) = Client::new(gateway.address()).get("u").unwrap();
    assert_eq!((status, body.as_str()), (200, "blue"), "from disk");
}

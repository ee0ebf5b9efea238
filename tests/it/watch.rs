//! Files become running snapshots, however they change; bad ones change nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use server::host::{Engine, Module};

use crate::rig::{Rig, Setup, document, eventually, manifest, module_bytes};

fn started(text: &str) -> Rig {
    Setup::new().file("bascule.yaml", Some(text)).start()
}

fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).expect("writable");
    fs::rename(&next, path).expect("same folder");
}

#[test]
fn what_is_in_the_file_runs_when_the_start_returns() {
    let rig = started(&manifest("1.0.0"));
    assert_eq!(rig.only(), Some((1, "1.0.0".to_owned())));
}

#[test]
fn an_atomic_replace_is_picked_up() {
    let rig = started(&manifest("1.0.0"));
    replace(&rig.path("bascule.yaml"), &manifest("1.1.0"));
    assert_eq!(rig.until_version("1.1.0"), 2);
}

#[test]
fn a_write_in_place_is_picked_up() {
    let rig = started(&manifest("1.0.0"));
    fs::write(rig.path("bascule.yaml"), manifest("1.1.0")).expect("writable");
    assert_eq!(rig.until_version("1.1.0"), 2);
}

#[test]
fn a_symlink_swap_as_kubernetes_does_it_is_picked_up() {
    let setup = Setup::new();
    let mount = setup.path("mount");
    for (name, version) in [("..2026_01", "1.0.0"), ("..2026_02", "1.1.0")] {
        fs::create_dir_all(mount.join(name)).expect("creatable");
        fs::write(mount.join(name).join("bascule.yaml"), manifest(version)).expect("writable");
    }
    symlink("..2026_01", mount.join("..data")).expect("linkable");
    symlink("..data/bascule.yaml", mount.join("bascule.yaml")).expect("linkable");
    let rig = setup.file("mount", None).start();
    assert_eq!(rig.only(), Some((1, "1.0.0".to_owned())));
    symlink("..2026_02", mount.join("..data_tmp")).expect("linkable");
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).expect("same folder");
    fs::remove_dir_all(mount.join("..2026_01")).expect("removable");
    assert_eq!(rig.until_version("1.1.0"), 2);
}

#[test]
fn a_bad_file_keeps_the_last_good_snapshot_and_is_counted_once() {
    let rig = started(&manifest("1.0.0"));
    let path = rig.path("bascule.yaml");
    replace(&path, &manifest("1.1.0").replace("active: blue", "active: purple"));
    let reason = rig.until_refused(&path, 1);
    assert!(reason.contains("bascule.yaml:5:"), "{reason}");
    assert_eq!(rig.only(), Some((1, "1.0.0".to_owned())));

    let health = rig.health_json();
    let check = &health["checks"][format!("source:{}", path.display())];
    assert_eq!((&health["status"], &check["status"]), (&"healthy".into(), &"warn".into()));
    assert_eq!(check["lastRefusal"]["reason"], reason);
    let metrics = rig.get("/metrics").body;
    assert!(
        metrics.contains(&format!(
            "bascule_snapshots_refused_total{{source=\"{}\",reason=\"content\"}} 1\n",
            path.display()
        )),
        "{metrics}"
    );

    replace(&path, &manifest("1.2.0"));
    assert_eq!(rig.until_version("1.2.0"), 2, "a refused content has no number");
    assert_eq!(rig.control.board().report().sources[&path].refused, 1);
}

#[test]
fn a_file_that_disappears_keeps_its_snapshot_and_is_reported() {
    let rig = started(&manifest("1.0.0"));
    let path = rig.path("bascule.yaml");
    fs::remove_file(&path).expect("removable");
    assert_eq!(rig.until_refused(&path, 1), "there is no such file");
    assert_eq!(rig.only(), Some((1, "1.0.0".to_owned())));
    fs::write(&path, manifest("1.1.0")).expect("writable");
    assert_eq!(rig.until_version("1.1.0"), 2);
}

#[test]
fn a_comment_in_the_file_publishes_nothing() {
    let rig = started(&manifest("1.0.0"));
    let path = rig.path("bascule.yaml");
    replace(&path, &format!("# a comment\n{}", manifest("1.0.0")));
    let accepted = || rig.control.board().report().sources[&path].accepted;
    eventually("the file is accepted again", accepted, |accepted| *accepted == 2);
    assert_eq!((rig.only(), rig.installs()), (Some((1, "1.0.0".to_owned())), 1));
}

#[test]
fn only_the_environment_that_changed_gets_a_number() {
    let staging = "  staging:
    hosts: [staging.example]
    traffic: {active: blue, slots: {blue: web-1}}
";
    let text = manifest("1.0.0").replace("environments:\n", &format!("environments:\n{staging}"));
    let rig = started(&text);
    replace(&rig.path("bascule.yaml"), &text.replace("staging.example", "preview.example"));
    let numbers = || rig.runs().into_iter().map(|seen| (seen.scope, seen.number)).collect::<Vec<_>>();
    let expected = [("web/production".to_owned(), 1), ("web/staging".to_owned(), 2)];
    eventually("staging is 2", numbers, |seen| *seen == expected);
}

#[test]
fn an_environment_that_leaves_a_good_file_is_withdrawn() {
    let staging = "  staging:
    hosts: [staging.example]
    traffic: {active: blue, slots: {blue: web-1}}
";
    let rig = started(&manifest("1.0.0").replace("environments:\n", &format!("environments:\n{staging}")));
    assert_eq!(rig.runs().len(), 2);
    replace(&rig.path("bascule.yaml"), &manifest("1.0.0"));
    let scopes = || rig.runs().into_iter().map(|seen| seen.scope).collect::<Vec<_>>();
    eventually("staging is gone", scopes, |seen| *seen == ["web/production"]);
}

#[test]
fn an_older_document_is_refused_and_a_newer_one_runs() {
    let rig = Setup::new().file("snapshot.json", Some(&document(7, "1.0.0"))).start();
    let path = rig.path("snapshot.json");
    assert_eq!(rig.only(), Some((7, "1.0.0".to_owned())));
    replace(&path, &document(6, "0.9.0"));
    let reason = rig.until_refused(&path, 1);
    assert_eq!(reason, "snapshot 6 of web/production is older than 7, which runs");
    replace(&path, &document(7, "0.9.0"));
    let reason = rig.until_refused(&path, 2);
    assert_eq!(reason, "snapshot 7 of web/production already runs with another content");
    replace(&path, &document(9, "1.1.0"));
    assert_eq!(rig.until_version("1.1.0"), 9);
}

#[test]
fn a_truncated_document_and_one_beyond_the_caps_are_refused() {
    let rig = Setup::new().file("snapshot.json", Some(&document(1, "1.0.0"))).start();
    let path = rig.path("snapshot.json");
    let good = document(2, "1.1.0");
    replace(&path, &good[..good.len() / 2]);
    rig.until_refused(&path, 1);
    // 20 times as many flags as the cap allows.
    let flag = |n: usize| {
        format!(
            r#""f{n}":{{"id":"f{n}","type":"boolean","variants":[{{"key":"on","value":true}}],"offVariant":"on","enabled":true,"fallthrough":{{"serve":"on"}}}}"#
        )
    };
    let flags: Vec<_> = (0..20 * edge_engine::limits::MAX_FLAGS).map(flag).collect();
    let poisoned = good.replacen('{', &format!("{{\"flags\":{{{}}},", flags.join(",")), 1);
    replace(&path, &poisoned);
    let reason = rig.until_refused(&path, 2);
    assert!(reason.len() < 8192, "{}", reason.len());
    assert_eq!(rig.only(), Some((1, "1.0.0".to_owned())));
    replace(&path, &good);
    assert_eq!(rig.until_version("1.1.0"), 2);
}

#[test]
fn a_folder_serves_several_apps_and_takes_new_ones_up() {
    let setup = Setup::new();
    fs::create_dir(setup.path("conf")).expect("creatable");
    fs::write(setup.path("conf/web.yaml"), manifest("1.0.0")).expect("writable");
    let api = manifest("2.0.0").replace("app: web", "app: api").replace("shop.example", "api.example");
    let rig = setup.file("conf", None).start();
    assert_eq!(rig.runs().len(), 1);
    fs::write(rig.path("conf/api.yaml"), &api).expect("writable");
    let scopes = || rig.runs().into_iter().map(|seen| seen.scope).collect::<Vec<_>>();
    eventually("both run", scopes, |seen| *seen == ["api/production", "web/production"]);
    // A third file that claims what another serves, and a fourth that claims a host.
    fs::write(rig.path("conf/zzz.yaml"), api.replace("api.example", "z.example")).expect("writable");
    let reason = rig.until_refused(&rig.path("conf/zzz.yaml"), 1);
    assert!(reason.starts_with("api/production is already served from "), "{reason}");
    fs::write(rig.path("conf/zzz.yaml"), api.replace("app: api", "app: other")).expect("writable");
    let reason = rig.until_refused(&rig.path("conf/zzz.yaml"), 2);
    assert_eq!(reason, "the host api.example of other/production belongs to api/production");
    assert_eq!(scopes(), ["api/production", "web/production"]);
}

#[test]
fn another_module_file_decides_at_once_and_a_bad_one_is_refused() {
    let wasm = module_bytes();
    let setup = Setup::new().file("bascule.yaml", Some(&manifest("1.0.0")));
    let path = setup.path("edge.wasm");
    fs::write(&path, &wasm).expect("writable");
    let engine = Engine::wasm(Module::compile(&wasm).expect("a module"));
    let first = engine.name().to_owned();
    let rig = setup.module(engine, path.clone()).start();
    assert_eq!(rig.runs()[0].engine, first);

    replace(&path, "not a module");
    let reason = rig.until_refused(&path, 1);
    assert!(reason.starts_with("the module cannot be used"), "{reason}");
    assert_eq!(rig.runs()[0].engine, first);

    // A custom section changes the bytes and so the hash, not what the module does.
    let mut other = wasm.clone();
    other.extend_from_slice(&[0, 5, 4, b't', b'e', b's', b't']);
    fs::write(path.with_extension("next"), &other).expect("writable");
    fs::rename(path.with_extension("next"), &path).expect("same folder");
    let engine = || rig.runs()[0].engine.clone();
    let second = eventually("the other module decides", engine, |engine| *engine != first);
    assert_eq!(rig.only(), Some((1, "1.0.0".to_owned())), "the snapshot stays");
    assert!(rig.get("/metrics").body.contains(&format!("engine=\"{second}\"}} 1")));
}

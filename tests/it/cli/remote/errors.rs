//! What goes wrong, and with which exit code.

use std::net::TcpListener;

use serde_json::json;
use tests::admin::ControlPlane;
use tests::binary;

use super::{command, done, run};
use crate::api::shop;

#[test]
fn a_control_plane_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let ended = binary::run(["edges", "--url", &url]);
    assert_eq!((ended.code, ended.stdout.as_str()), (7, ""), "{ended:?}");
    assert!(ended.stderr.starts_with(&format!("error: {url} cannot be reached: ")), "{ended:?}");
    assert!(ended.stderr.contains("BASCULE_URL"), "{ended:?}");
}

#[test]
fn a_control_plane_that_does_not_answer_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let ended = binary::run(["edges", "--url", &url, "--timeout", "200ms"]);
    assert_eq!(ended.code, 7, "{ended:?}");
    assert!(ended.stderr.contains("no answer within"), "{ended:?}");
}

#[test]
fn without_a_good_token_nothing_is_shown() {
    let plane = shop();
    let ended = binary::run(["edges", "--url", &plane.url()]);
    assert_eq!((ended.code, ended.stdout.as_str()), (8, ""), "{ended:?}");
    assert!(ended.stderr.contains("(401 unauthenticated)") && ended.stderr.contains("BASCULE_TOKEN"), "{ended:?}");
    let mut wrong = command(&plane, ["edges"]);
    wrong.env("BASCULE_TOKEN", "bsc_secret-of-somebody");
    let ended = binary::finish(wrong, "");
    assert_eq!(ended.code, 8, "{ended:?}");
    assert!(!ended.stderr.contains("somebody"), "a token is never shown: {ended:?}");
    let viewer = plane.token("web", "*", "viewer");
    let mut may_not = command(&plane, ["flag", "create", "new"]);
    may_not.env("BASCULE_TOKEN", viewer);
    let ended = binary::finish(may_not, "");
    assert_eq!(ended.code, 8, "{ended:?}");
    assert!(ended.stderr.contains("403") && ended.stderr.contains("  request "), "{ended:?}");
}

#[test]
fn a_token_comes_from_a_file_too_and_from_one_place_only() {
    let plane = shop();
    let folder = crate::cli::folder(&[("root.token", &format!("{}\n", plane.root()))]);
    let file = folder.path().join("root.token");
    let file = file.to_str().expect("a path");
    let url = plane.url();
    let ended = binary::run(["edges", "--url", &url, "--token-file", file]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let mut from_environment = binary::command(["edges"]);
    from_environment.env("BASCULE_URL", &url).env("BASCULE_TOKEN_FILE", file);
    assert_eq!(binary::finish(from_environment, "").code, 0);
    let mut both = command(&plane, ["edges"]);
    both.env("BASCULE_TOKEN_FILE", file);
    let ended = binary::finish(both, "");
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_eq!(binary::run(["edges", "--url", &url, "--token-file", "/nowhere"]).code, 3);
}

#[test]
fn what_is_no_url_is_a_usage_error() {
    for url in ["admin.example", "ftp://h", "http://u:p@h"] {
        let ended = binary::run(["edges", "--url", url]);
        assert_eq!(ended.code, 2, "{ended:?}");
    }
}

#[test]
fn the_only_app_is_taken_and_one_of_several_must_be_named() {
    let plane = ControlPlane::start();
    assert_eq!(run(&plane, ["flag", "list"]).code, 3, "there is none");
    plane.apply(crate::api::SHOP);
    assert!(done(&plane, ["flag", "list"]).contains("checkout"));
    plane.ask("POST", "/api/v1/apps", Some(json!({"name": "other"})));
    let ended = run(&plane, ["flag", "list"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("add --app with one of other, web"), "{ended:?}");
    let mut named = command(&plane, ["flag", "list"]);
    named.env("BASCULE_APP", "web");
    assert!(binary::finish(named, "").stdout.contains("checkout"));
}

#[test]
fn what_answers_without_being_a_control_plane_is_unexpected() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let other = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = [0; 4096];
        let read = stream.read(&mut request).expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").expect("writable");
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    let ended = binary::run(["edges", "--url", &format!("{url}/behind/")]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains("in a way that no control plane does"), "{ended:?}");
    let request = other.join().expect("no panic");
    assert!(request.starts_with("GET /behind/api/v1/edges HTTP/1.1\r\n") && request.contains("bascule/"), "{request}");
}

#[test]
fn any_request_can_be_sent() {
    let plane = shop();
    let apps = done(&plane, ["api", "GET", "/api/v1/apps"]);
    assert!(apps.starts_with("{\"items\":[") && apps.ends_with("}\n"), "{apps}");
    let stdin = binary::finish(command(&plane, ["api", "post", "/api/v1/apps", "--body", "-"]), "{\"name\":\"api\"}");
    assert_eq!(stdin.code, 0, "{stdin:?}");
    let missing = run(&plane, ["api", "GET", "/api/v1/apps/nothing"]);
    assert_eq!(missing.code, 3, "{missing:?}");
    assert!(missing.stdout.contains("\"code\":\"not_found\""), "the answer is data: {missing:?}");
    let patch = ["api", "PATCH", "/api/v1/apps/web", "--body", "{}"];
    assert_eq!(run(&plane, patch).code, 4, "428");
    assert_eq!(run(&plane, patch.iter().chain(&["-H", "If-Match: \"99\""])).code, 4, "412");
    assert_eq!(run(&plane, patch.iter().chain(&["-H", "If-Match: *"])).code, 0);
    assert_eq!(run(&plane, ["api", "GET", "api/v1/apps"]).code, 2);
}

#[test]
fn https_needs_an_authority_that_is_trusted() {
    let plane = shop();
    let folder = crate::cli::folder(&[]);
    let file = folder.path().join("ca.pem");
    let url = format!("https://{}", crate::follow::tls::front(plane.address(), &file));
    let edges = |ca: Option<&std::path::Path>| {
        let mut command = command(&plane, ["edges", "--url", &url]);
        if let Some(ca) = ca {
            command.arg("--ca-file").arg(ca);
        }
        binary::finish(command, "")
    };
    let stranger = edges(None);
    assert_eq!(stranger.code, 7, "{stranger:?}");
    assert!(stranger.stderr.contains("invalid peer certificate"), "{stranger:?}");
    assert_eq!(edges(Some(&file)).code, 0);
    std::fs::write(&file, "no certificate").expect("writable");
    assert_eq!(edges(Some(&file)).code, 2);
}

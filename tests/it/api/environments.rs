//! Between environments: for every pair of them, what a token of the one gets of the other, which is nothing.
//!
//! Every environment has its own name planted in everything of it that a client could be shown.

use serde_json::{Value, json};
use tests::admin::{Answer, ControlPlane};

use super::authorisation::{described_in, patient};

const ENVIRONMENTS: [(&str, &str); 3] = [("web", "staging"), ("web", "production"), ("api", "production")];
const ROLES: [&str; 7] = ["viewer", "editor", "operator", "admin", "edge", "ofrep", "ofrep-client"];
/// What does not end by itself.
const STREAMS: [&str; 3] = ["streamEvents", "streamSnapshots", "ofrepEvents"];

/// What is planted in an environment, and nowhere else.
fn plant((app, environment): (&str, &str)) -> String {
    format!("planted-{app}-{environment}")
}

fn environment(of: (&str, &str)) -> String {
    let plant = plant(of);
    format!(
        "description: {plant}, hosts: [{plant}.example], unit: [header:x-{plant}], \
         traffic: {{active: blue, slots: {{blue: r-1}}, rules: [{{id: {plant}, when: {{attr: a, op: eq, values: [{plant}]}}, slot: blue}}]}}"
    )
}

fn targeting(of: (&str, &str)) -> String {
    let plant = plant(of);
    format!("{{rules: [{{id: {plant}, when: {{attr: a, op: eq, values: [{plant}]}}, serve: on}}], fallthrough: off}}")
}

fn yaml(app: &str) -> String {
    let own: Vec<(&str, &str)> = ENVIRONMENTS.into_iter().filter(|(of, _)| *of == app).collect();
    let each = |write: &dyn Fn((&str, &str)) -> String| -> String {
        own.iter().map(|of| format!("{}: {}, ", of.1, write(*of))).collect()
    };
    format!(
        "app: {app}\nenvironments: {{{}}}\n\
         releases: {{r-1: {{version: 1, upstreams: [{{url: \"http://127.0.0.1:7001\"}}]}}}}\n\
         flags: {{checkout: {{clientVisible: true, environments: {{{}}}}}}}\n",
        each(&|of| format!("{{{}}}", environment(of))),
        each(&targeting)
    )
}

fn path_of((app, environment): (&str, &str)) -> String {
    format!("/api/v1/apps/{app}/environments/{environment}")
}

/// Everything planted, in the audit too, and an edge of each environment that is connected.
fn planted() -> (ControlPlane, Vec<tests::admin::Stream>) {
    let plane = patient();
    for app in ["web", "api"] {
        plane.apply(&yaml(app));
    }
    let mut edges = Vec::new();
    for of in ENVIRONMENTS {
        let plant = plant(of);
        let targeting = format!("{}/flags/checkout", path_of(of));
        let seen = plane.ask("GET", &targeting, None);
        let mut body = json!({"rules": seen.body["rules"], "fallthrough": {"serve": "on"}});
        body["rules"][0].as_object_mut().expect("a rule").remove("ranges");
        let request = plane.request("PUT", &format!("{targeting}?reason={plant}")).token(plane.root());
        let request = request.header("if-match", "*").header("x-request-id", &plant);
        assert_eq!(request.json(Some(body)).send().status, 200, "{plant}");
        let token = plane.token(of.0, of.1, "edge");
        let hello =
            format!("/edge/v1/snapshots?edge={plant}&boot=b&kind=gateway&version=1&engine=native&region={plant}");
        edges.push(plane.request("GET", &hello).token(&token).stream());
    }
    (plane, edges)
}

/// Nothing of other environments is in an answer.
#[track_caller]
fn is_of_its_own(what: &str, own: (&str, &str), text: &str) {
    for other in ENVIRONMENTS.into_iter().filter(|other| *other != own) {
        assert!(!text.contains(&plant(other)), "{what} with a token of {own:?} tells of {other:?}: {text}");
    }
}

#[test]
fn no_operation_on_an_environment_takes_the_token_of_another() {
    let (plane, _edges) = planted();
    let before = |of| plane.ask("GET", &format!("{}/snapshots", path_of(of)), None).text;
    let snapshots: Vec<String> = ENVIRONMENTS.into_iter().map(before).collect();
    let mut asked = 0;
    for own in ENVIRONMENTS {
        for role in ROLES {
            let token = plane.token(own.0, own.1, role);
            for other in ENVIRONMENTS.into_iter().filter(|other| *other != own) {
                for operation in described_in(&plane, other.0, other.1) {
                    let is_of_environment = operation.template.contains("{env}");
                    let is_of_other_app = operation.template.contains("{app}") && own.0 != other.0;
                    if !is_of_environment && !is_of_other_app {
                        continue;
                    }
                    let request = plane.request(&operation.method, &operation.path).token(&token);
                    let body = operation.has_body.then(|| json!({"reason": "x"}));
                    let answer = request.header("if-match", "*").json(body).send();
                    let what = format!("{} on {other:?} by {role} of {own:?}", operation.id);
                    assert!(matches!(answer.status, 403 | 404), "{what}: {answer:?}");
                    is_of_its_own(&what, own, &answer.text);
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 500, "{asked}");
    assert_eq!(ENVIRONMENTS.into_iter().map(before).collect::<Vec<_>>(), snapshots, "nothing was done");
}

#[test]
fn nothing_that_is_answered_tells_of_another_environment() {
    let (plane, _edges) = planted();
    for own in ENVIRONMENTS {
        for role in ROLES {
            let token = plane.token(own.0, own.1, role);
            let operations = described_in(&plane, own.0, own.1);
            let reads = operations.iter().filter(|operation| operation.method == "GET");
            for operation in reads.filter(|operation| !STREAMS.contains(&operation.id.as_str())) {
                let answer = plane.request("GET", &operation.path).token(&token).send();
                is_of_its_own(&operation.id, own, &answer.text);
            }
            let ask = |path: &str, body: Value| plane.request("POST", path).token(&token).json(Some(body)).send();
            let context = json!({"context": {"targetingKey": "u", "a": plant(own)}});
            for path in [format!("{}/evaluate", path_of(own)), "/ofrep/v1/evaluate/flags".to_owned()] {
                is_of_its_own(&path, own, &ask(&path, context.clone()).text);
            }
            for other in ENVIRONMENTS.into_iter().filter(|other| *other != own) {
                let named = format!("{}/{}", other.0, other.1);
                let request = plane.request("POST", "/ofrep/v1/evaluate/flags").token(&token);
                let answer = request.header("x-bascule-environment", &named).json(Some(context.clone())).send();
                assert_eq!(answer.status, 403, "{answer:?}");
                let copy = format!("{}/flags/checkout/copy", path_of(own));
                let answer = ask(&copy, json!({"from": other.1}));
                assert!(own.0 != other.0 || answer.status == 403, "{answer:?}");
                is_of_its_own(&copy, own, &answer.text);
            }
        }
        let admin = plane.token(own.0, own.1, "admin");
        let shown = plane.request("GET", "/api/v1/audit").token(&admin).send();
        assert!(shown.text.contains(&plant(own)), "its own is there: {shown:?}");
        let edges = plane.request("GET", "/api/v1/edges").token(&admin).send();
        assert!(edges.text.contains(&plant(own)), "its own is there: {edges:?}");
    }
}

#[test]
fn a_file_names_nothing_of_an_environment_that_its_sender_may_not_read() {
    let (plane, _edges) = planted();
    let own = ("web", "staging");
    let token = plane.token(own.0, own.1, "editor");
    let apply = |query: &str, text: &str| -> Answer {
        plane.request("PUT", &format!("/api/v1/apply{query}")).token(&token).body("application/yaml", text).send()
    };
    // Only its own environment, as it is.
    let releases = "releases: {r-1: {version: 1, upstreams: [{url: \"http://127.0.0.1:7001\"}]}}";
    let mine = format!("app: web\nenvironments: {{staging: {{{}}}}}\n{releases}\n", environment(own));
    let answer = apply("?dryRun=true", &mine);
    assert_eq!(answer.status, 200, "{answer:?}");
    is_of_its_own("apply", own, &answer.text);
    assert!(!answer.text.contains("production"), "{answer:?}");
    for (query, text) in [
        ("?dryRun=true&prune=true", mine.clone()),
        ("?dryRun=true", "app: web\nenvironments: {production: {}}\n".to_owned()),
        ("?dryRun=true", yaml("web")),
        ("?dryRun=true", yaml("api")),
    ] {
        let answer = apply(query, &text);
        assert_eq!(answer.status, 403, "{query} {text}: {answer:?}");
        is_of_its_own("apply", own, &answer.text);
    }
}

#[test]
fn streams_tell_of_no_other_environment() {
    let (plane, _edges) = planted();
    let change = |of: (&str, &str), to: &str| {
        let path = format!("{}/flags/checkout", path_of(of));
        assert_eq!(plane.change("PUT", &path, "*", Some(json!({"fallthrough": {"serve": to}}))).status, 200);
    };
    for own in ENVIRONMENTS {
        let (edge, viewer) = (plane.token(own.0, own.1, "edge"), plane.token(own.0, own.1, "viewer"));
        let hello = "/edge/v1/snapshots?edge=e&boot=b&kind=gateway&version=1&engine=native";
        let mut snapshots = plane.request("GET", hello).token(&edge).stream();
        let mut events = plane.request("GET", "/api/v1/events").token(&viewer).header("last-event-id", "0").stream();
        let all = format!("{:?}", snapshots.until("current"));
        is_of_its_own("the list of all", own, &all);
        assert_eq!(all.matches("environment\\\"").count(), 1, "one environment is named: {all}");
        for to in ["off", "on"] {
            ENVIRONMENTS.into_iter().filter(|other| *other != own).for_each(|other| change(other, to));
            change(own, to);
            let next = snapshots.until("snapshot");
            is_of_its_own("a snapshot", own, &format!("{next:?}"));
            assert_eq!((&next.json(0)["app"], &next.json(0)["environment"]), (&json!(own.0), &json!(own.1)));
        }
        // From the beginning of all time to its own last change.
        let mut seen = 0;
        while seen < 2 {
            let event = events.event().expect("the stream goes on");
            is_of_its_own("an event", own, &format!("{event:?}"));
            assert_eq!((&event.json(0)["app"], &event.json(0)["environment"]), (&json!(own.0), &json!(own.1)));
            seen += 1;
        }
    }
}

//! Whose requests are answered, and which are the proxied app's own.

use server::gateway::board::Origin as Source;
use server::gateway::publish::Change;
use server::host::{Engine, LoadedSnapshot};
use tests::Origin;

use super::*;

#[test]
fn a_token_counts_as_bearer_and_as_api_key() {
    let world = world();
    for fields in [bearer(SERVER), format!("x-api-key: {SERVER}\r\n"), format!("authorization: bearer {SERVER}\r\n")] {
        let response = request(&mut world.client(), &format!("POST {BULK}/static"), &fields, b"{}");
        assert_eq!((response.status, json_of(&response)["value"].clone()), (200, json!(true)), "{fields}");
    }
}

#[test]
fn without_a_token_that_counts_the_answer_is_401() {
    let world = world();
    let expired = token("bsc_expired", false, Some(now_ms() - 1));
    let valid = token("bsc_valid", false, Some(now_ms() + 3_600_000));
    let access = Access { environments: vec![of("web", "production", vec![expired, valid])] };
    world.gateway().publisher().set_access(access).unwrap();
    let basic = "authorization: Basic YTpi\r\n".to_owned();
    for fields in [String::new(), bearer("bsc_unknown"), bearer(SERVER), bearer("bsc_expired"), bearer("jwt"), basic] {
        for line in [format!("POST {BULK}"), format!("POST {BULK}/static"), "GET /ofrep/v1/events".to_owned()] {
            let response = request(&mut world.client(), &line, &fields, b"");
            assert_eq!(failure(&response), (401, "GENERAL".to_owned()), "{line} {fields}");
            assert_eq!(response.field("www-authenticate"), Some("Bearer"));
        }
    }
    assert_eq!(value(&world, "bsc_valid", "static", &json!({})), json!(true));
}

#[test]
fn a_token_that_is_taken_away_stops_counting_at_once() {
    let world = world();
    let mut client = world.client();
    let mut ask = || request(&mut client, &format!("POST {BULK}/static"), &bearer(SERVER), b"").status;
    assert_eq!(ask(), 200);
    world.gateway().publisher().set_access(Access::default()).unwrap();
    assert_eq!(ask(), 401);
}

#[test]
fn tokens_stay_when_a_snapshot_is_published() {
    let world = world();
    world.publish(|snapshot| snapshot["flags"] = json!({"new": flag("new", "boolean", json!(true), json!(false))}));
    assert_eq!(value(&world, SERVER, "new", &json!({})), json!(true));
}

#[test]
fn the_paths_are_the_apps_own_where_nobody_has_tokens() {
    let blue = Origin::named("app");
    let world = World::of(&blue.url(), &blue.url()).start();
    for fields in ["", "authorization: Bearer eyJ0\r\n", "x-api-key: the-apps-own\r\n"] {
        for line in [format!("POST {BULK}"), format!("OPTIONS {BULK}/x"), "GET /ofrep/v1/events?ticket=x".to_owned()] {
            let response = request(&mut world.client(), &line, fields, b"{}");
            assert_eq!((response.status, response.text().as_str()), (200, "app"), "{line} {fields}");
        }
    }
    assert_eq!(blue.seen().len(), 9);
    // A token of ours is never shown to the app.
    let response = request(&mut world.client(), &format!("POST {BULK}"), &bearer("bsc_x"), b"{}");
    assert_eq!(failure(&response).0, 401);
    assert_eq!(blue.seen().len(), 9);
}

#[test]
fn other_paths_stay_the_apps_own_also_with_tokens() {
    let blue = Origin::named("app");
    let world = with_tokens(World::of(&blue.url(), &blue.url()));
    for line in ["POST /ofrep/v1/evaluate/flagship", "GET /ofrep/v1/configuration", "GET /ofrep", "POST /"] {
        let response = request(&mut world.client(), line, &bearer(SERVER), b"");
        assert_eq!((response.status, response.text().as_str()), (200, "app"), "{line}");
    }
}

#[test]
fn the_token_decides_the_environment_whatever_the_host() {
    let world = world();
    let mut staging = world.snapshot();
    staging["environment"] = json!("staging");
    staging["edge"]["hosts"] = json!(["staging.example"]);
    staging["flags"] = json!({"static": flag("static", "boolean", json!(false), json!(true))});
    let key = edge_engine::BucketingKey::new([7; 16]);
    let loaded = LoadedSnapshot::load(staging.to_string().as_bytes(), &key, &Engine::native()).unwrap();
    let mut access = access();
    access.environments.push(of("web", "staging", vec![token("bsc_staging", false, None)]));
    // Together, in one step.
    let change = Change { access: Some(access), ..Change::one(loaded, Source::Direct) };
    world.gateway().publisher().publish(change).unwrap();
    let ask = |host: &str, token: &str| {
        let text = format!("POST {BULK}/static HTTP/1.1\r\nhost: {host}\r\n{}content-length: 0\r\n\r\n", bearer(token));
        let response = world.client().send(text).response();
        (json_of(&response)["value"].clone(), json_of(&response)["metadata"]["flagSetId"].clone())
    };
    for host in [HOST, "staging.example", "nobody.example"] {
        assert_eq!(ask(host, SERVER), (json!(true), json!("web/production")), "{host}");
        assert_eq!(ask(host, "bsc_staging"), (json!(false), json!("web/staging")), "{host}");
    }
}

#[test]
fn a_client_token_sees_only_what_clients_may() {
    let world = world();
    let keys = |token: &str| {
        let json = json_of(&evaluate(&world, token, BULK, &json!({})));
        let flags = json["flags"].as_array().unwrap().iter();
        flags.map(|flag| flag["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(keys(SERVER).contains(&"secret".to_owned()));
    assert_eq!(keys(CLIENT).len() + 1, keys(SERVER).len());
    assert!(!keys(CLIENT).contains(&"secret".to_owned()));
    let hidden = evaluate(&world, CLIENT, &format!("{BULK}/secret"), &json!({}));
    assert_eq!(failure(&hidden), (404, "FLAG_NOT_FOUND".to_owned()));
    assert_eq!(value(&world, SERVER, "secret", &json!({})), json!(true));
}

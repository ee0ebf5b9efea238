//! Which environment, which release, and what the client is told about it.

use std::collections::HashSet;

use serde_json::json;
use server::gateway::metrics::Event;
use tests::world::HOST;
use tests::{Origin, World};

#[test]
fn hosts_select_the_environment_exactly_or_by_one_label() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url())
        .snapshot(|snapshot| snapshot["edge"]["hosts"] = json!(["shop.example", "*.shop.example"]))
        .start();
    for host in ["shop.example", "SHOP.example:8080", "a.shop.example", "shop.example."] {
        assert_eq!(world.client().get(host, "/", "").status, 200, "{host}");
    }
    for host in ["other.example", "a.b.shop.example", "shop.example.evil", "127.0.0.1"] {
        let response = world.client().get(host, "/", "");
        assert_eq!((response.status, response.code().as_str()), (404, "host_unknown"), "{host}");
    }
    assert_eq!(world.count(Event::UnknownHost), 4);
    let mut old = world.client();
    let response = old.send("GET / HTTP/1.0\r\n\r\n").response();
    assert_eq!(response.status, 404, "HTTP/1.0 without host belongs to nobody");
}

#[test]
fn a_user_stays_in_its_cohort_and_the_shares_are_kept() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let world = World::of(&blue.url(), &green.url()).weight(300_000).start();
    let mut client = world.client();
    let mut in_green = 0;
    for user in 0..400 {
        let fields = format!("x-user-id: user-{user}\r\n");
        let first = client.get(HOST, "/", &fields);
        let second = client.get(HOST, "/", &format!("{fields}cookie: uid=other\r\n"));
        assert_eq!(first.text(), second.text());
        assert_eq!(first.field("set-cookie"), None, "a unit is there, none is minted");
        in_green += usize::from(first.text() == "green");
    }
    assert!((80..160).contains(&in_green), "{in_green} of 400 at 30 %");
}

#[test]
fn a_visitor_without_a_unit_gets_one_and_keeps_its_release() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let world = World::of(&blue.url(), &green.url()).weight(500_000).start();
    let mut client = world.client();
    let mut units = HashSet::new();
    let mut served = HashSet::new();
    for _ in 0..40 {
        let response = client.get(HOST, "/", "");
        let cookie = response.field("set-cookie").expect("a unit is minted").to_owned();
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; Max-Age=31536000; HttpOnly; SameSite=Lax");
        assert_eq!(response.field("cache-control"), Some("private"));
        assert!(response.all("vary").join(", ").contains("cookie"), "{:?}", response.fields);
        let unit = pair.strip_prefix("bsc_unit=").unwrap();
        assert_eq!(unit.len(), 32);
        assert!(units.insert(unit.to_owned()));
        served.insert(response.text());
        let again = client.get(HOST, "/", &format!("cookie: a=b; {pair}\r\n"));
        assert_eq!((again.text(), again.field("set-cookie")), (response.text(), None));
    }
    assert_eq!(served.len(), 2, "both releases serve somebody");
}

#[test]
fn no_unit_is_minted_when_nothing_is_split() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).start();
    let response = world.client().get(HOST, "/", "");
    assert_eq!((response.field("set-cookie"), response.field("vary")), (None, None));
}

#[test]
fn a_forged_unit_counts_as_absent() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let world = World::of(&blue.url(), &green.url()).weight(500_000).start();
    let response = world.client().get(HOST, "/", "cookie: bsc_unit=choose-me\r\n");
    assert!(response.field("set-cookie").is_some_and(|cookie| cookie.starts_with("bsc_unit=")));
}

#[test]
fn a_response_that_is_public_carries_no_cookie_of_ours() {
    let origin = Origin::scripted(|e| e.respond("200 OK", "cache-control: public, max-age=60\r\n", "asset"));
    let world = World::of(&origin.url(), &origin.url()).weight(500_000).start();
    let response = world.client().get(HOST, "/app.js", "");
    assert_eq!(response.field("set-cookie"), None);
    assert_eq!(response.field("cache-control"), Some("public, max-age=60"));
}

#[test]
fn a_pin_keeps_a_client_at_its_release_over_the_cut_over() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let world = World::of(&blue.url(), &green.url())
        .snapshot(|snapshot| snapshot["traffic"]["pin"] = json!({"maxAgeSeconds": 3600}))
        .start();
    let mut client = world.client();
    let response = client.get(HOST, "/", "x-user-id: u1\r\n");
    let cookie = response.field("set-cookie").expect("a pin").to_owned();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert!(pair.starts_with("bsc_pin="));
    assert_eq!(attributes, "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax");
    world.publish(|snapshot| snapshot["traffic"]["active"] = json!("green"));
    let with = |pin: &str| format!("x-user-id: u1\r\ncookie: {pin}\r\n");
    assert_eq!(client.get(HOST, "/", &with(pair)).text(), "blue");
    assert_eq!(client.get(HOST, "/", "x-user-id: u1\r\n").text(), "green");
    for position in ["bsc_pin=".len(), pair.len() - 1] {
        let mut forged = pair.to_owned().into_bytes();
        forged[position] ^= 1;
        assert_eq!(client.get(HOST, "/", &with(&String::from_utf8(forged).unwrap())).text(), "green");
    }
}

#[test]
fn forwarded_flags_reach_the_upstream_as_a_list() {
    let origin = Origin::named("blue");
    let flag = |id: &str, forward: bool, serve: &str| {
        json!({"id": id, "type": "boolean", "forward": forward, "enabled": true, "offVariant": "off",
               "variants": [{"key": "on", "value": true}, {"key": "off", "value": false}],
               "fallthrough": {"serve": serve}})
    };
    let world = World::of(&origin.url(), &origin.url())
        .snapshot(|s| {
            s["flags"] = json!({"b": flag("b", true, "on"), "a": flag("a", true, "off"), "c": flag("c", false, "on")});
        })
        .start();
    world.client().get(HOST, "/", "x-bascule-flags: c=on\r\n");
    assert_eq!(origin.last().field("x-bascule-flags"), Some("a=off,b=on"));
}

#[test]
fn identity_is_shown_to_clients_only_in_debug() {
    let origin = Origin::named("blue");
    for debug in [true, false] {
        let world = World::of(&origin.url(), &origin.url()).snapshot(|s| s["edge"]["debug"] = debug.into()).start();
        let response = world.client().get(HOST, "/", "");
        assert_eq!(response.field("x-bascule-release").is_some(), debug);
        assert_eq!(response.field("x-bascule-decision").is_some(), debug);
        assert!(response.field("x-request-id").is_some());
    }
}

#[test]
fn a_gateway_without_configuration_says_so() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).start();
    let scope = server::gateway::scope::Scope::new("web", "production");
    let change = server::gateway::publish::Change { withdraw: vec![scope], ..Default::default() };
    world.gateway().publisher().publish(change).unwrap();
    let response = world.client().get(HOST, "/", "");
    assert_eq!((response.status, response.code().as_str()), (503, "no_snapshot"));
}

//! Header hygiene in both directions.

use tests::world::HOST;
use tests::{Origin, World};

#[test]
fn own_names_from_clients_never_reach_the_upstream_in_any_spelling() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).start();
    let spellings = [
        "x-bascule-slot",
        "X-Bascule-Slot",
        "X-BASCULE-SLOT",
        "x_bascule_slot",
        "X_Bascule_Slot",
        "x-bascule_slot",
        "x_bascule-slot",
        "X_BASCULE-slot",
        "x-bascule-release",
        "x-bascule-flags",
        "x_bascule_flags",
        "x-bascule-anything",
    ];
    for name in spellings {
        let response = world.client().get(HOST, "/", &format!("{name}: forged\r\nx-kept: yes\r\n"));
        assert_eq!(response.status, 200);
        let seen = origin.last();
        assert!(!seen.fields.iter().any(|(_, value)| value == "forged"), "{name}: {:?}", seen.fields);
        assert_eq!(seen.field("x-bascule-slot"), Some("blue"), "{name}");
        assert_eq!(seen.field("x-kept"), Some("yes"), "{name}");
    }
}

#[test]
fn hop_by_hop_fields_stay_at_their_hop_in_both_directions() {
    let origin = Origin::scripted(|exchange| {
        exchange.respond(
            "200 OK",
            "connection: keep-alive, x-private\r\nx-private: 1\r\nkeep-alive: timeout=5\r\n\
             x-bascule-release: forged\r\nx_bascule_decision: forged\r\nx-kept: yes\r\n",
            "",
        )
    });
    let world = World::of(&origin.url(), &origin.url()).snapshot(|s| s["edge"]["debug"] = false.into()).start();
    let fields = "connection: keep-alive, X-Secret\r\nx-secret: 1\r\nkeep-alive: 300\r\nproxy-authorization: x\r\n\
                  proxy-connection: close\r\nte: trailers, gzip\r\nx-original-url: /admin\r\nx-rewrite-url: /admin\r\n\
                  cookie: a=b\r\n";
    let response = world.client().get(HOST, "/", fields);
    let seen = origin.last();
    for name in [
        "connection",
        "x-secret",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "x-original-url",
        "x-rewrite-url",
    ] {
        assert_eq!(seen.field(name), None, "{name}");
    }
    assert_eq!((seen.field("te"), seen.field("cookie")), (Some("trailers"), Some("a=b")));
    for name in ["x-private", "keep-alive", "x-bascule-release", "x_bascule_decision", "x-bascule-decision"] {
        assert_eq!(response.field(name), None, "{name}");
    }
    assert_eq!(response.field("x-kept"), Some("yes"));
}

#[test]
fn forwarding_fields_are_replaced_for_strangers_and_extended_for_trusted_proxies() {
    let origin = Origin::named("blue");
    let matrix: [(&str, &str, &str, &str, &str); 6] = [
        ("10.0.0.0/8", "", "127.0.0.1", "http", HOST),
        (
            "10.0.0.0/8",
            "x-forwarded-for: 203.0.113.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: evil\r\n",
            "127.0.0.1",
            "http",
            HOST,
        ),
        ("127.0.0.0/8", "", "127.0.0.1", "http", HOST),
        ("127.0.0.0/8", "x-forwarded-for: 203.0.113.1\r\n", "203.0.113.1, 127.0.0.1", "http", HOST),
        (
            "127.0.0.0/8",
            "x-forwarded-for: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2, 3.3.3.3\r\n",
            "1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1",
            "http",
            HOST,
        ),
        (
            "127.0.0.0/8",
            "x-forwarded-proto: https\r\nx-forwarded-host: a.example\r\n",
            "127.0.0.1",
            "https",
            "a.example",
        ),
    ];
    for (trusted, fields, expected_for, proto, host) in matrix {
        let world = World::of(&origin.url(), &origin.url())
            .config(|config| config.data.trusted_proxies = vec![trusted.parse().unwrap()])
            .start();
        world.client().get(HOST, "/", fields);
        let seen = origin.last();
        let all = |name: &str| {
            let values = seen.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
            values.collect::<Vec<_>>()
        };
        assert_eq!(all("x-forwarded-for"), [expected_for], "{trusted} {fields}");
        assert_eq!(all("x-forwarded-proto"), [proto], "{trusted} {fields}");
        assert_eq!(all("x-forwarded-host"), [host], "{trusted} {fields}");
    }
}

#[test]
fn the_engine_sees_the_client_address_that_trusted_proxies_vouch_for() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    for (trusted, expected) in [("127.0.0.0/8", "green"), ("10.0.0.0/8", "blue")] {
        let world = World::of(&blue.url(), &green.url())
            .config(|config| config.data.trusted_proxies = vec![trusted.parse().unwrap()])
            .snapshot(|snapshot| {
                snapshot["traffic"]["rules"] = serde_json::json!([
                    {"id": "office", "when": {"attr": "ip", "op": "cidr", "values": ["203.0.113.0/24"]}, "slot": "green"}
                ]);
            })
            .start();
        let response = world.client().get(HOST, "/", "x-forwarded-for: 8.8.8.8, 203.0.113.7\r\n");
        assert_eq!(response.text(), expected, "{trusted}");
    }
}

#[test]
fn request_ids_and_trace_parents_are_taken_when_sane_and_made_otherwise() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).start();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let response = world.client().get(HOST, "/", &format!("x-request-id: abc-1\r\ntraceparent: {trace}\r\n"));
    assert_eq!(response.field("x-request-id"), Some("abc-1"));
    assert_eq!((origin.last().field("x-request-id"), origin.last().field("traceparent")), (Some("abc-1"), Some(trace)));
    for bad in ["", "a b", "<x>", &"a".repeat(129)] {
        let response = world.client().get(HOST, "/", &format!("x-request-id: {bad}\r\ntraceparent: {bad}\r\n"));
        let id = response.field("x-request-id").expect("an id is made").to_owned();
        assert_eq!(id.len(), 36, "{bad}");
        let seen = origin.last();
        assert_eq!(seen.field("x-request-id"), Some(id.as_str()));
        assert_eq!(seen.fields.iter().filter(|(name, _)| name == "traceparent").count(), 1);
        assert!(seen.field("traceparent").is_some_and(|made| made.starts_with("00-") && made.len() == 55));
    }
}

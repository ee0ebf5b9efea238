//! Which fields pass, in which spelling, from whom.

use super::*;

fn peer(is_trusted: bool, is_tls: bool) -> Peer {
    Peer { address: [192, 0, 2, 7].into(), text: "192.0.2.7".into(), is_trusted, is_tls }
}

fn sent(fields: &[(&str, &str)], is_trusted: bool) -> Vec<String> {
    let mut from = HeaderMap::new();
    for (name, value) in fields {
        from.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    let facts = Facts {
        peer: &peer(is_trusted, false),
        host: b"shop.example",
        request_id: b"r1",
        new_traceparent: None,
        country: None,
    };
    let mut out = BytesMut::new();
    forward(&from, &facts, &mut out);
    let mut map = HeaderMap::new();
    forward(&from, &facts, &mut map);
    let lines: Vec<String> = String::from_utf8(out.to_vec()).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), map.len(), "both sinks get the same");
    lines
}

const OURS: [&str; 4] =
    ["x-request-id: r1", "x-forwarded-for: 192.0.2.7", "x-forwarded-proto: http", "x-forwarded-host: shop.example"];

#[track_caller]
fn never_passes(name: &str) {
    assert_eq!(sent(&[(name, "forged"), ("accept", "*/*")], false)[1..], OURS, "{name}");
}

#[test]
fn own_names_never_pass_in_any_spelling() {
    for name in [
        "x-bascule",
        "x-bascule-release",
        "X-Bascule-Slot",
        "X_BASCULE_SLOT",
        "x_bascule-slot",
        "x-bascule_slot",
        "X-BASCULE-FLAGS",
        "x_bascule",
        "x-bascule-",
        "x-bascule-anything_else",
        "X_Bascule_App",
        "x-bascule--slot",
    ] {
        never_passes(name);
    }
    assert_eq!(sent(&[("x-basculex", "1")], false)[0], "x-basculex: 1");
}

#[test]
fn identity_of_proxies_is_believed_only_from_trusted_peers() {
    for name in [
        "forwarded",
        "x-real-ip",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-client-ip",
        "x_forwarded_for",
        "x_real_ip",
        "x-forwarded_host",
    ] {
        never_passes(name);
    }
    let trusted = sent(
        &[
            ("x-forwarded-for", "203.0.113.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.example"),
            ("forwarded", "for=1"),
        ],
        true,
    );
    assert_eq!(
        trusted,
        [
            "x-forwarded-proto: https",
            "x-forwarded-host: a.example",
            "forwarded: for=1",
            "x-request-id: r1",
            "x-forwarded-for: 203.0.113.1, 10.0.0.1, 192.0.2.7"
        ]
    );
}

#[test]
fn hop_by_hop_fields_and_those_that_connection_names_stay() {
    for name in [
        "keep-alive",
        "proxy-connection",
        "upgrade",
        "transfer-encoding",
        "http2-settings",
        "proxy-authorization",
        "x-original-url",
        "x-rewrite-url",
        "x_original_url",
    ] {
        never_passes(name);
    }
    let lines = sent(
        &[
            ("connection", "close, X-Private , cookie"),
            ("x-private", "1"),
            ("cookie", "a=b"),
            ("te", "trailers, deflate"),
        ],
        false,
    );
    assert_eq!(lines[..2], ["cookie: a=b", "te: trailers"]);
    assert_eq!(sent(&[("te", "deflate")], false), OURS);
}

#[test]
fn everything_else_passes_unchanged_and_in_order() {
    let lines =
        sent(&[("accept", "*/*"), ("x-user_id", "7"), ("x-a", "1"), ("x-a", "2"), ("content-length", "3")], false);
    assert_eq!(lines[..5], ["accept: */*", "x-user_id: 7", "x-a: 1", "x-a: 2", "content-length: 3"]);
}

#[test]
fn ids_and_trace_parents_are_checked() {
    for (id, sane) in [("abc-1.2_3:4", true), ("", false), ("a b", false), ("a\"b", false), ("<script>", false)] {
        assert_eq!(is_sane_id(id.as_bytes()), sane, "{id}");
    }
    assert!(!is_sane_id(&[b'a'; 129]));
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert!(is_traceparent(good.as_bytes()));
    assert!(is_traceparent(b"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"));
    for bad in [
        "",
        "00",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
    ] {
        assert!(!is_traceparent(bad.as_bytes()), "{bad}");
    }
}

#[test]
fn response_fields_of_this_hop_and_of_the_gateway_are_dropped() {
    for (name, dropped) in [
        ("x-bascule-release", true),
        ("x_bascule_release", true),
        ("keep-alive", true),
        ("x-request-id", false),
        ("set-cookie", false),
        ("xy", false),
    ] {
        assert_eq!(is_dropped_from_response(name), dropped, "{name}");
    }
}

#[test]
fn a_release_is_named_alike_in_both_versions() {
    let identity = Identity::new("web", "production", "web-1.4.1");
    let (mut head, mut map) = (BytesMut::new(), HeaderMap::new());
    head.identify(&identity);
    map.identify(&identity);
    let expected = "x-bascule-app: web\r\nx-bascule-environment: production\r\nx-bascule-release: web-1.4.1\r\n";
    assert_eq!(head, expected);
    let lines = map.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()));
    assert_eq!(lines.collect::<String>(), expected);
}

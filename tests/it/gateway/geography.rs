//! The client's country: from a header of a trusted proxy, through the context, to a rule and a flag.

use std::net::IpAddr;

use tests::Client;
use tests::world::HOST;

use crate::running::Process;

const MANIFEST: &str = r#"app: web
environments:
  production:
    hosts: [shop.example]
    debug: true
    unit: [header:x-user-id]
    traffic:
      active: blue
      slots: {blue: web-1, green: web-2}
      rules: [{id: alps, when: {attr: geo.country, op: eq, values: [CH]}, slot: green}]
releases:
  web-1: {version: 1.0.0, upstreams: [{url: "BLUE"}]}
  web-2: {version: 2.0.0, upstreams: [{url: "GREEN"}]}
flags:
  prices:
    type: string
    forward: true
    variants: {euro: EUR, franc: CHF}
    offVariant: euro
    environments:
      production:
        rules: [{id: alps, when: {attr: geo.country, op: eq, values: [CH]}, serve: franc}]
        fallthrough: euro
"#;

#[test]
fn the_country_comes_from_a_trusted_proxy_only_and_decides_rules_and_flags() {
    let (blue, green) = (tests::Origin::named("blue"), tests::Origin::named("green"));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bascule.yaml");
    std::fs::write(&file, MANIFEST.replace("BLUE", &blue.url()).replace("GREEN", &green.url())).unwrap();
    let settings = [("COUNTRY_HEADER", "CF-IPCountry"), ("TRUSTED_PROXIES", "127.0.0.2")];
    let process = Process::start(&file, "127.0.0.1:0", &settings);
    let (proxy, anybody): (IpAddr, IpAddr) = ([127, 0, 0, 2].into(), [127, 0, 0, 3].into());
    for (source, fields, release, flag, passed_on) in [
        (proxy, "cf-ipcountry: CH\r\n", "green", "prices=franc", Some("CH")),
        (proxy, "CF-IPCOUNTRY: CH\r\n", "green", "prices=franc", Some("CH")),
        (proxy, "cf-ipcountry: DE\r\n", "blue", "prices=euro", Some("DE")),
        (proxy, "", "blue", "prices=euro", None),
        (proxy, "x-country: CH\r\nx-geo-country: CH\r\n", "blue", "prices=euro", None),
        // A client that comes by itself may say what it likes: neither rules nor upstreams hear of it.
        (anybody, "cf-ipcountry: CH\r\n", "blue", "prices=euro", None),
        (anybody, "cf_ipcountry: CH\r\n", "blue", "prices=euro", None),
        (anybody, "x-forwarded-for: 127.0.0.2\r\ncf-ipcountry: CH\r\n", "blue", "prices=euro", None),
    ] {
        let response = Client::connect_from(source, process.listen).get(HOST, "/", fields);
        assert_eq!((response.status, response.text().as_str()), (200, release), "{source} {fields}");
        let seen = if release == "blue" { blue.last() } else { green.last() };
        assert_eq!(seen.field("x-bascule-flags"), Some(flag), "{source} {fields}");
        assert_eq!(seen.field("cf-ipcountry"), passed_on, "{source} {fields}");
        assert_eq!(seen.field("cf_ipcountry"), None, "{source} {fields}");
    }
}

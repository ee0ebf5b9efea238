use std::net::ToSocketAddrs as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

fn call(url: &str) -> OutCall {
    OutCall {
        method: Method::GET,
        url: OutUrl::parse(url).expect("a URL"),
        fields: Vec::new(),
        body: Bytes::new(),
        timeout: Duration::from_secs(5),
        most_bytes: 8,
    }
}

/// A server that answers one request with this text, and gives what was asked.
async fn answering(text: &'static str) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut seen = vec![0; 4096];
        let count = stream.read(&mut seen).await.expect("a request");
        stream.write_all(text.as_bytes()).await.expect("written");
        // Open until the caller has gone.
        let _ = stream.read(&mut [0]).await;
        String::from_utf8_lossy(&seen[..count]).into_owned()
    });
    (url, served)
}

#[tokio::test]
async fn a_call_is_one_request_and_a_bounded_answer() {
    let (url, served) =
        answering("HTTP/1.1 302 Found\r\nlocation: /other\r\ncontent-length: 20\r\n\r\nan answer with a rest").await;
    let outbound = Outbound::new().expect("it has TLS");
    let answer = outbound.call(call(&format!("{url}/a/path?with=query"))).await.expect("an answer");
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::FOUND, b"an answe".as_slice()), "and no redirect");
    let seen = served.await.expect("served").to_ascii_lowercase();
    assert!(seen.starts_with("get /a/path?with=query http/1.1\r\n"), "{seen}");
    assert_eq!(seen.matches(&format!("host: {}", url.trim_start_matches("http://"))).count(), 1, "{seen}");
}

#[tokio::test]
async fn whoever_hangs_is_given_up_and_whoever_is_gone_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/secret", listener.local_addr().expect("bound"));
    let outbound = Outbound::new().expect("it has TLS");
    let hanging = OutCall { timeout: Duration::from_millis(50), ..call(&url) };
    let late = outbound.call(hanging).await.expect_err("nobody answers");
    assert_eq!(late.to_string(), "no answer within 50 ms");
    drop(listener);
    let gone = outbound.call(call(&url)).await.expect_err("nobody is there");
    assert!(matches!(gone, OutboundError::Connect(_)) && !gone.to_string().contains("secret"), "{gone}");
    let (url, served) = answering("nonsense\r\n\r\n").await;
    assert!(matches!(outbound.call(call(&url)).await, Err(OutboundError::Broken(_))));
    served.abort();
}

#[tokio::test]
async fn no_spelling_of_a_metadata_service_is_called() {
    let outbound = Outbound::new().expect("it has TLS");
    for host in [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:a9fe:a9fe]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
    ] {
        let refused = outbound.call(call(&format!("http://{host}/latest"))).await.expect_err(host);
        assert!(matches!(refused, OutboundError::OffLimits(_)), "{host}: {refused}");
    }
}

#[test]
fn a_metadata_service_is_off_limits_and_what_an_operator_may_name_is_not() {
    let off_limits = |host: &str| {
        let mut addresses = format!("{host}:80").to_socket_addrs().expect("an address");
        addresses.any(|address| is_off_limits(address.ip()))
    };
    for host in ["169.254.169.254", "0251.0376.0251.0376", "169.254.43518", "[::ffff:169.254.170.2]", "0.0.0.0", "[::]"]
    {
        assert!(off_limits(host), "{host}");
    }
    for host in ["127.0.0.1", "10.0.0.1", "192.168.0.1", "[::1]", "[fd00::1]"] {
        assert!(!off_limits(host), "{host}: the operator named it");
    }
}

#[test]
fn of_a_url_only_scheme_and_host_are_shown() {
    let url = OutUrl::parse("https://hooks.example:8443/services/canary?key=canary").expect("a URL");
    assert_eq!(
        (url.to_string(), format!("{url:?}")),
        ("https://hooks.example:8443".into(), "OutUrl(https://hooks.example:8443/…)".into())
    );
    assert_eq!((url.host(), url.port(), url.is_tls()), ("hooks.example", 8443, true));
    assert_eq!(url.with_query("a b", "c&d").target(), "/services/canary?key=canary&a+b=c%26d");
    assert_eq!(OutUrl::parse("http://[::1]").expect("a URL").below("api").target(), "/api");
    assert!(!format!("{:?}", SecretText::new("canary")).contains("canary"));
    for wrong in ["", "x", "ftp://h/", "https://", "https://u:p@h/", "https://h:x/", "https://h/#f", "//h/"] {
        assert!(OutUrl::parse(wrong).is_none(), "{wrong}");
    }
}

//! Active checks against real upstreams, seen in health and metrics.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::live;
use crate::rig::{Rig, Setup, eventually, get, manifest};

/// Answers `/health` with 200 or 503, and remembers the last request it got.
struct Upstream {
    address: SocketAddr,
    is_well: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    last: Arc<std::sync::Mutex<String>>,
}

fn upstream() -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let (is_well, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let last = Arc::new(std::sync::Mutex::new(String::new()));
    let upstream =
        Upstream { address, is_well: Arc::clone(&is_well), asked: Arc::clone(&asked), last: Arc::clone(&last) };
    // It ends with the process: the listener is never closed by anybody else.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 4096];
            let Ok(length) = stream.read(&mut head) else { continue };
            *last.lock().expect("no holder panics") = String::from_utf8_lossy(&head[..length]).into_owned();
            asked.fetch_add(1, Ordering::SeqCst);
            let status = if is_well.load(Ordering::SeqCst) { "204 No Content" } else { "503 Service Unavailable" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    upstream
}

fn checked(upstream: &Upstream) -> String {
    let check = "{path: /health?deep=1, intervalMs: 20, timeoutMs: 2000, unhealthyAfter: 2, healthyAfter: 2}";
    manifest("1.0.0")
        .replace("http://127.0.0.1:7001", &format!("http://{}", upstream.address))
        .replace("    hosts:", &format!("    health: {check}\n    hosts:"))
}

fn state(rig: &Rig, upstream: &Upstream) -> Value {
    let json = rig.health_json();
    json["checks"]["upstreams:web/production/web-1"]["upstreams"][format!("http://{}", upstream.address)].clone()
}

#[test]
fn an_upstream_that_fails_its_checks_is_unhealthy_until_it_passes_again() {
    let upstream = upstream();
    let rig = Setup::new().file("bascule.yaml", Some(&checked(&upstream))).start();
    eventually("it is asked", || upstream.asked.load(Ordering::SeqCst), |asked| *asked > 2);
    assert_eq!(state(&rig, &upstream), "healthy");
    let head = upstream.last.lock().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /health?deep=1 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", upstream.address)), "{head}");

    upstream.is_well.store(false, Ordering::SeqCst);
    eventually("it is unhealthy", || state(&rig, &upstream), |state| state == "unhealthy");
    assert!(!rig.health.list()[0].available(0), "it gets no requests");
    let metrics = rig.get("/metrics").body;
    let series = format!("release=\"web-1\",upstream=\"http://{}\"}} 0\n", upstream.address);
    assert!(metrics.contains(&series), "{metrics}");
    assert_eq!(rig.get("/api/health").status, 200, "the gateway itself is well");

    upstream.is_well.store(true, Ordering::SeqCst);
    eventually("it is healthy again", || state(&rig, &upstream), |state| state == "healthy");
    assert!(rig.health.list()[0].available(0));
}

#[test]
fn an_upstream_that_nobody_listens_on_is_found_dead() {
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("bound")
    };
    let upstream = Upstream { address: gone, ..upstream() };
    let rig = Setup::new().file("bascule.yaml", Some(&checked(&upstream))).start();
    eventually("it is unhealthy", || state(&rig, &upstream), |state| state == "unhealthy");
}

#[test]
fn checks_end_when_the_environment_no_longer_wants_them_and_the_mark_goes() {
    let upstream = upstream();
    upstream.is_well.store(false, Ordering::SeqCst);
    let rig = Setup::new().file("bascule.yaml", Some(&checked(&upstream))).start();
    eventually("it is unhealthy", || state(&rig, &upstream), |state| state == "unhealthy");
    let text = checked(&upstream);
    let without: Vec<_> = text.lines().filter(|line| !line.contains("health:")).collect();
    std::fs::write(rig.path("bascule.yaml"), without.join("\n")).expect("writable");
    eventually("the mark is gone", || state(&rig, &upstream), |state| state == "healthy");
    let asked = || upstream.asked.load(Ordering::SeqCst);
    let before = asked();
    // 50 looks at health are more than 20 ms each way: a probe every 20 ms would show.
    let started = std::time::Instant::now();
    while started.elapsed() < std::time::Duration::from_millis(300) {
        rig.get("/livez");
    }
    assert!(asked() <= before + 1, "{} probes after the end", asked() - before);
}

#[test]
fn five_failures_of_the_candidate_give_its_cohort_to_the_active_release_and_a_trial_gives_it_back() {
    let (blue, green) = (live::Origin::start("blue"), live::Origin::start("green"));
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("bascule.yaml");
    let breaker = "    breaker: {openMs: 3000}\n";
    std::fs::write(&file, live::manifest(blue.address, green.address, "100", breaker)).expect("writable");
    let gateway = live::gateway(&[("FILE", file.display().to_string()), ("WORKERS", "1".to_owned())]);
    let ask = || live::Client::new(gateway.address()).get("user").expect("answered");
    assert_eq!(ask(), (200, "green".to_owned()));

    green.is_sick.store(true, Ordering::SeqCst);
    let answers: Vec<_> = (0..6).map(|_| ask().0).collect();
    assert_eq!(answers, [503, 503, 503, 503, 503, 200], "the sixth is the active release's");
    let health = get(gateway.ops_address(), "/api/health");
    assert_eq!(health.status, 200, "{}", health.body);
    let json: Value = serde_json::from_str(&health.body).expect("JSON");
    assert_eq!(json["checks"]["upstreams:web/production/web-2"]["breaker"], "open");
    let metrics = get(gateway.ops_address(), "/metrics").body;
    for line in [
        "bascule_breaker_open{app=\"web\",environment=\"production\",release=\"web-2\"} 1.0\n",
        "bascule_breaker_opened_total{app=\"web\",environment=\"production\",release=\"web-2\"} 1\n",
        "bascule_http_requests_total{app=\"web\",environment=\"production\",release=\"web-2\",code=\"5xx\"} 5\n",
        "bascule_http_requests_total{app=\"web\",environment=\"production\",release=\"web-1\",code=\"2xx\"} 1\n",
        "bascule_diverted_requests_total{cause=\"breaker\"} 1\n",
        "bascule_upstream_failures_total{app=\"web\",environment=\"production\",release=\"web-2\"} 5\n",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }

    green.is_sick.store(false, Ordering::SeqCst);
    eventually("the candidate has its cohort back", ask, |answer| *answer == (200, "green".to_owned()));
    gateway.stop();
}

/// An upstream that speaks HTTP/2, over TLS when it has a certificate; answers 200 on `/health`.
fn http2_upstream(tls: Option<tokio_rustls::TlsAcceptor>) -> SocketAddr {
    use hyper_util::rt::{TokioExecutor, TokioIo};

    async fn serve(stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) {
        let answer = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async move {
            let is_asked = request.uri().path() == "/health" && request.version() == http::Version::HTTP_2;
            let status = if is_asked { 200 } else { 404 };
            http::Response::builder().status(status).body(http_body_util::Empty::<bytes::Bytes>::new())
        });
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), answer)
            .await;
    }

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    listener.set_nonblocking(true).expect("settable");
    // It ends with the process.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("non-blocking");
            while let Ok((stream, _)) = listener.accept().await {
                match tls.clone() {
                    None => drop(tokio::spawn(serve(stream))),
                    Some(tls) => drop(tokio::spawn(async move {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream).await;
                        }
                    })),
                }
            }
        });
    });
    address
}

fn checked_http2(url: &str) -> String {
    let check = "{path: /health, intervalMs: 20, timeoutMs: 2000, unhealthyAfter: 1, healthyAfter: 1}";
    manifest("1.0.0")
        .replace("{url: \"http://127.0.0.1:7001\"}", &format!("{{url: \"{url}\", protocol: http2}}"))
        .replace("    hosts:", &format!("    health: {check}\n    hosts:"))
}

/// Waits until the checks say so.
#[track_caller]
fn settles_at(rig: &Rig, expected: &str) {
    let look = || {
        let releases = rig.health.list();
        let (_, record) = releases[0].upstreams().next().expect("one upstream");
        (record.availability(0).as_str(), record.checks())
    };
    eventually(&format!("it is {expected}"), look, |(state, checks)| *state == expected && *checks > 0);
}

#[test]
fn an_http2_upstream_is_checked_by_http2() {
    let address = http2_upstream(None);
    let rig = Setup::new().file("bascule.yaml", Some(&checked_http2(&format!("http://{address}")))).start();
    // A path that it answers with 404, then the right one: it can tell the two apart.
    let wrong = checked_http2(&format!("http://{address}")).replace("path: /health", "path: /other");
    std::fs::write(rig.path("bascule.yaml"), wrong).expect("writable");
    settles_at(&rig, "unhealthy");
    std::fs::write(rig.path("bascule.yaml"), checked_http2(&format!("http://{address}"))).expect("writable");
    settles_at(&rig, "healthy");
}

#[test]
fn an_https_upstream_passes_only_with_a_certificate_that_is_trusted() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).expect("a key");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("they fit");
    server.alpn_protocols = vec![b"h2".to_vec()];
    let address = http2_upstream(Some(std::sync::Arc::new(server).into()));
    let text = checked_http2(&format!("https://localhost:{}", address.port()));
    let rig = Setup::new().file("bascule.yaml", Some(&text)).start();
    settles_at(&rig, "unhealthy");
    let mut setup = Setup::new().file("bascule.yaml", Some(&text));
    setup.roots.add(certified.cert.der().clone()).expect("a certificate");
    let rig = setup.start();
    let healthy_after_checks = || {
        let releases = rig.health.list();
        let (_, record) = releases[0].upstreams().next().expect("one upstream");
        (record.availability(0).as_str(), record.checks())
    };
    eventually("checks pass", healthy_after_checks, |(state, checks)| *state == "healthy" && *checks > 2);
}

//! `https` upstreams: by both versions of HTTP, and only with a certificate that is to be trusted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tests::world::{HOST, WorldBuilder};
use tests::{Response, World};

use crate::live;
use crate::running::Process;

/// An authority of the test's own, and its certificate as a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file, folder }
    }

    /// An upstream with a certificate for these names, which speaks these protocols by ALPN.
    fn upstream(&self, names: &[&str], alpn: &[&str]) -> SocketAddr {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        serve(tokio_rustls::TlsAcceptor::from(Arc::new(config)))
    }
}

/// Serves what ALPN has agreed to, until the process ends.
fn serve(acceptor: tokio_rustls::TlsAcceptor) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((tcp, _)) = listener.accept().await {
                let accepting = acceptor.accept(tcp);
                tokio::spawn(async move {
                    let Ok(tls) = accepting.await else { return };
                    let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
                    let (io, service) = (TokioIo::new(tls), service_fn(echo));
                    if is_h2 {
                        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        let _ = builder.serve_connection(io, service).await;
                    } else {
                        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                    }
                });
            }
        });
    });
    address
}

/// Says by which version it was asked and what for.
async fn echo(request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let (version, target) = (request.version(), request.uri().path().to_owned());
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Ok(http::Response::new(Full::new(format!("{version:?} {target} {}", body.len()).into())))
}

fn world(url: &str, protocol: &str, trusted: &Path) -> WorldBuilder {
    World::of(url, url)
        .config(|config| {
            config.workers = 1;
            config.upstream_ca = Some(trusted.to_owned());
        })
        .snapshot(|snapshot| snapshot["releases"]["web-1"]["upstreams"][0]["protocol"] = protocol.into())
}

fn post(world: &World, target: &str) -> Response {
    let mut client = world.client();
    client.send(format!("POST {target} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 5\r\n\r\nhello")).response()
}

#[test]
fn https_upstreams_serve_by_http1_and_by_http2_with_a_certificate_of_their_authority() {
    let authority = Authority::new();
    let both = authority.upstream(&["localhost", "127.0.0.1"], &["h2", "http/1.1"]);
    // Over HTTP/1 ALPN need not be spoken at all.
    let without_alpn = authority.upstream(&["localhost"], &[]);
    for (host, port, protocol, version) in [
        ("localhost", both.port(), "http1", "HTTP/1.1"),
        ("127.0.0.1", both.port(), "http1", "HTTP/1.1"),
        ("localhost", without_alpn.port(), "http1", "HTTP/1.1"),
        ("localhost", both.port(), "http2", "HTTP/2.0"),
        ("127.0.0.1", both.port(), "http2", "HTTP/2.0"),
    ] {
        let world = world(&format!("https://{host}:{port}"), protocol, &authority.file).start();
        for n in 0..3 {
            let response = post(&world, &format!("/{n}"));
            assert_eq!((response.status, response.text()), (200, format!("{version} /{n} 5")), "{host} {protocol}");
        }
    }
}

#[test]
fn what_cannot_be_trusted_gets_no_request_and_the_answer_says_that_it_is_tls() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.upstream(&["localhost"], &["h2", "http/1.1"]);
    let elsewhere = authority.upstream(&["other.example"], &["h2", "http/1.1"]);
    let only_http1 = authority.upstream(&["localhost"], &["http/1.1"]);
    let silent_alpn = authority.upstream(&["localhost"], &[]);
    let plain = tests::Origin::named("plain");
    for (what, port, protocol, trusted) in [
        ("another authority", good.port(), "http1", &other.file),
        ("another authority", good.port(), "http2", &other.file),
        ("a certificate for another name", elsewhere.port(), "http1", &authority.file),
        ("a certificate for another name", elsewhere.port(), "http2", &authority.file),
        ("no common protocol", only_http1.port(), "http2", &authority.file),
        ("no ALPN", silent_alpn.port(), "http2", &authority.file),
        ("no TLS", plain.address().port(), "http1", &authority.file),
    ] {
        let world = world(&format!("https://localhost:{port}"), protocol, trusted).start();
        let response = post(&world, "/");
        assert_eq!((response.status, response.code().as_str()), (502, "upstream_tls"), "{what}, {protocol}");
    }
    assert!(plain.seen().is_empty());
}

/// A manifest whose active release is at this URL.
fn manifest(folder: &tempfile::TempDir, url: &str) -> PathBuf {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let text = live::manifest(nobody, nobody, "0", "").replace("http://127.0.0.1:1", url);
    let file = folder.path().join("bascule.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn without_an_authority_of_its_own_a_gateway_trusts_those_of_the_system() {
    let authority = Authority::new();
    let upstream = authority.upstream(&["localhost"], &["http/1.1"]);
    let file = manifest(&authority.folder, &format!("https://localhost:{}", upstream.port()));
    let trusting = Process::start_as(&file, "127.0.0.1:0", &[], |command| {
        command.env("SSL_CERT_FILE", &authority.file).env_remove("SSL_CERT_DIR");
    });
    let (status, body) = live::Client::new(trusting.listen).get("user").unwrap();
    assert_eq!((status, body.as_str()), (200, "HTTP/1.1 / 0"));
    drop(trusting);

    let wary = Process::start_as(&file, "127.0.0.1:0", &[], |command| {
        command.env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
    });
    let mut client = live::Client::new(wary.listen);
    for _ in 0..3 {
        let (status, body) = client.get("user").unwrap();
        assert_eq!(status, 502);
        assert!(body.contains("\"code\":\"upstream_tls\""), "{body}");
    }
    let warning = wary.logged("cannot connect with an upstream");
    let text = warning.to_string();
    assert_eq!(warning["level"], "warn", "{text}");
    assert!(text.contains("https://localhost:") && text.contains("invalid peer certificate: UnknownIssuer"), "{text}");
    let warnings = wary.log().matches("cannot connect with an upstream").count();
    assert_eq!(warnings, 1, "an upstream that fails each request is not logged each time");
}

//! HTTP/2 on both sides, and TLS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use server::gateway::metrics::Event;
use tests::world::HOST;
use tests::{Origin, World};
use tokio::net::{TcpListener, TcpStream};

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_mins(1), future).await.expect("in time") })
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let tcp = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(target: &str) -> http::request::Builder {
    Request::builder().uri(format!("http://{HOST}{target}"))
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[test]
fn many_streams_share_a_connection() {
    let origin = Origin::scripted(|exchange| {
        let target = exchange.seen.target().to_owned();
        exchange.ok(target)
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    block_on(async {
        let sender = connect(world.address()).await;
        let asking = (0..50).map(|n| {
            let mut sender = sender.clone();
            tokio::spawn(async move {
                let response =
                    sender.send_request(request(&format!("/{n}")).body(Full::default()).unwrap()).await.unwrap();
                assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
                assert!(response.headers().contains_key("x-request-id"));
                assert_eq!(text(response).await, format!("/{n}"));
            })
        });
        for one in asking.collect::<Vec<_>>() {
            one.await.unwrap();
        }
    });
    assert_eq!(origin.last().field("host"), Some(HOST), "the authority becomes the host");
}

#[test]
fn bodies_and_trailers_pass_to_an_http1_upstream() {
    let origin = Origin::scripted(|exchange| {
        let (body, trailers) = (exchange.seen.body.clone(), exchange.seen.trailers.clone());
        assert_eq!(trailers, [("x-check".to_owned(), "7".to_owned())]);
        exchange.write(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n", body.len()))?;
        exchange.write(body)?;
        exchange.write("\r\n0\r\nx-sum: 9\r\n\r\n")
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    block_on(async {
        let tcp = TcpStream::connect(world.address()).await.unwrap();
        let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
        tokio::spawn(connection);
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-check", "7".parse().unwrap());
        trailers.insert("x-bascule-slot", "forged".parse().unwrap());
        let (frames, stream) = tokio::sync::mpsc::channel::<Frame<Bytes>>(4);
        frames.send(Frame::data(Bytes::from_static(b"hello "))).await.unwrap();
        frames.send(Frame::data(Bytes::from_static(b"world"))).await.unwrap();
        frames.send(Frame::trailers(trailers)).await.unwrap();
        drop(frames);
        let body = Frames(stream);
        let response = sender.send_request(request("/").method("POST").body(body).unwrap()).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "9");
        assert_eq!(collected.to_bytes(), "hello world");
    });
}

struct Frames(tokio::sync::mpsc::Receiver<Frame<Bytes>>);

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

#[test]
fn what_http1_refuses_is_refused_over_http2_too() {
    let origin = Origin::named("blue");
    let world = World::of(&origin.url(), &origin.url()).start();
    block_on(async {
        let sender = connect(world.address()).await;
        let long = format!("/{}", "a".repeat(9000));
        let mut many = request("/");
        for n in 0..101 {
            many = many.header(format!("x-{n}"), "y");
        }
        let cases = [
            (request("/").header("host", "other.example"), 400, "host_mismatch"),
            (request(&long), 414, "target_too_long"),
            (many, 431, "head_too_large"),
            (request("/").method("TRACE"), 501, "method_not_supported"),
            (Request::builder().uri("http://unknown.example/"), 404, "host_unknown"),
        ];
        for (builder, status, code) in cases {
            let response = sender.clone().send_request(builder.body(Full::default()).unwrap()).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{code}");
            assert!(text(response).await.contains(&format!("\"code\":\"{code}\"")), "{code}");
        }
    });
    assert!(origin.seen().is_empty());
}

#[test]
fn a_rapid_reset_ends_the_connection_and_nothing_else() {
    let origin = Origin::scripted(|exchange| {
        std::thread::sleep(Duration::from_millis(5));
        exchange.ok("ok")
    });
    let world = World::of(&origin.url(), &origin.url()).start();
    block_on(async {
        let tcp = TcpStream::connect(world.address()).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(tcp).await.unwrap();
        let ended = tokio::spawn(connection);
        for _ in 0..5000 {
            let Ok(ready) = sender.clone().ready().await else { break };
            sender = ready;
            let Ok((_, mut stream)) = sender.send_request(request("/").body(()).unwrap(), false) else { break };
            stream.send_reset(h2::Reason::CANCEL);
        }
        drop(sender);
        let _ = tokio::time::timeout(Duration::from_secs(5), ended).await;
        let mut other = connect(world.address()).await;
        let response = other.send_request(request("/after").body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    });
    assert!(origin.seen().len() < 2500, "{} of 5000 requests were worked on", origin.seen().len());
}

/// An HTTP/2 upstream with prior knowledge that echoes bodies and adds a trailer.
fn h2_origin() -> (SocketAddr, std::thread::JoinHandle<()>, tokio::sync::oneshot::Sender<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let accepting = async {
                loop {
                    let (tcp, _) = listener.accept().await.unwrap();
                    let service = service_fn(|request: Request<Incoming>| async move {
                        let slot = request.headers()["x-bascule-slot"].clone();
                        let target = request.uri().path().to_owned();
                        assert_eq!(request.uri().authority().unwrap(), HOST);
                        let body = request.into_body().collect().await?.to_bytes();
                        let text = format!("{target} {}", body.len());
                        let response = Response::builder().header("x-slot", slot).header("x-bascule-release", "forged");
                        Ok::<_, hyper::Error>(response.body(Full::new(Bytes::from(text))).unwrap())
                    });
                    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    tokio::spawn(builder.serve_connection(TokioIo::new(tcp), service));
                }
            };
            tokio::select! { () = accepting => {}, _ = stopped => {} }
        });
    });
    (address, thread, stop)
}

#[test]
fn an_http2_upstream_serves_clients_of_both_versions() {
    let (address, thread, stop) = h2_origin();
    let url = format!("http://{address}");
    let world = World::of(&url, &url)
        .snapshot(|snapshot| snapshot["releases"]["web-1"]["upstreams"][0]["protocol"] = "http2".into())
        .start();
    let mut client = world.client();
    for n in 0..3 {
        client.send(format!("POST /{n} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 5\r\n\r\nhello"));
        let response = client.response();
        assert_eq!((response.status, response.text()), (200, format!("/{n} 5")));
        assert_eq!((response.field("x-slot"), response.field("x-bascule-release")), (Some("blue"), Some("web-1")));
    }
    block_on(async {
        let mut sender = connect(world.address()).await;
        let body = Full::new(Bytes::from(vec![b'x'; 1 << 20]));
        let response = sender.send_request(request("/big").method("PUT").body(body).unwrap()).await.unwrap();
        assert_eq!(text(response).await, format!("/big {}", 1 << 20));
    });
    drop(world);
    let _ = stop.send(());
    thread.join().unwrap();
}

#[test]
fn a_slow_body_towards_an_http2_upstream_is_the_clients_fault_and_a_long_one_nobodys() {
    let (address, thread, stop) = h2_origin();
    let url = format!("http://{address}");
    let world = World::of(&url, &url)
        .config(|config| config.data.client.body_timeout = Duration::from_secs(1))
        .snapshot(|snapshot| {
            snapshot["releases"]["web-1"]["upstreams"][0]["protocol"] = "http2".into();
            snapshot["edge"]["timeouts"] = serde_json::json!({"readMs": 300});
        })
        .start();
    let head = format!("POST /up HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 20\r\n\r\n");
    let mut long = world.client();
    long.send(&head);
    for _ in 0..20 {
        // All of it takes longer than the upstream may be silent, but it goes on.
        std::thread::sleep(Duration::from_millis(50));
        long.send("x");
    }
    assert_eq!(long.response().text(), "/up 20");
    let mut stopping = world.client();
    let response = stopping.send(&head).send("some").response();
    assert_eq!((response.status, response.code().as_str()), (408, "body_timeout"));
    assert_eq!(world.count(Event::BodyTimeout), 1);
    let metrics = crate::rig::get(world.gateway().ops_address(), "/metrics").body;
    let blamed = metrics.lines().filter(|line| line.starts_with("bascule_upstream_failures_total"));
    assert!(blamed.into_iter().all(|line| line.ends_with(" 0")), "{metrics}");
    drop(world);
    let _ = stop.send(());
    thread.join().unwrap();
}

#[test]
fn tls_speaks_both_versions_by_alpn_and_makes_cookies_secure() {
    let origin = Origin::named("blue");
    let folder = tempfile::tempdir().unwrap();
    let signed = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    let world = World::of(&origin.url(), &origin.url()).weight(500_000).tls(&cert, &key).start();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(signed.cert.der().clone()).unwrap();
    for protocol in ["h2", "http/1.1"] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        block_on(async {
            let tcp = TcpStream::connect(world.address()).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let tls = connector.connect(HOST.try_into().unwrap(), tcp).await.unwrap();
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
            let response = if protocol == "h2" {
                let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
                tokio::spawn(connection);
                let request =
                    Request::builder().uri(format!("https://{HOST}/")).body(Full::<Bytes>::default()).unwrap();
                sender.send_request(request).await.unwrap()
            } else {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
                tokio::spawn(connection);
                let request = Request::builder().uri("/").header("host", HOST).body(Full::<Bytes>::default()).unwrap();
                sender.send_request(request).await.unwrap()
            };
            assert_eq!(response.status(), StatusCode::OK);
            assert!(response.headers()["set-cookie"].to_str().unwrap().ends_with("; Secure"));
            assert_eq!(text(response).await, "blue");
        });
        assert_eq!(origin.last().field("x-forwarded-proto"), Some("https"));
    }
}

//! The same over HTTP/2, where evaluations and streams share a connection.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::*;

type Sender = SendRequest<Full<Bytes>>;

async fn ask(sender: &mut Sender, method: &str, path: &str, body: Vec<u8>) -> http::Response<Incoming> {
    let request = Request::builder().method(method).uri(format!("http://{HOST}{path}"));
    let request = request.header("authorization", format!("Bearer {SERVER}")).body(Full::new(body.into())).unwrap();
    sender.send_request(request).await.unwrap()
}

async fn frame(response: &mut http::Response<Incoming>) -> String {
    let frame = response.body_mut().frame().await.expect("the stream is open").unwrap();
    String::from_utf8(frame.into_data().expect("data").to_vec()).unwrap()
}

#[test]
fn evaluations_and_streams_share_a_connection() {
    let world = world();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let story = async {
        let tcp = tokio::net::TcpStream::connect(world.address()).await.unwrap();
        let (mut sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
        tokio::spawn(connection);
        let mut streams = Vec::new();
        for _ in 0..3 {
            let mut stream = ask(&mut sender, "GET", "/ofrep/v1/events", Vec::new()).await;
            assert_eq!((stream.status().as_u16(), frame(&mut stream).await.as_str()), (200, ": ok\n\n"));
            streams.push(stream);
        }
        let too_large = ask(&mut sender, "POST", BULK, vec![b' '; (256 << 10) + 1]).await;
        assert_eq!(too_large.status(), 413);
        drop(too_large);
        world.publish(|snapshot| snapshot["flags"]["static"]["enabled"] = json!(false));
        for stream in &mut streams {
            assert!(frame(stream).await.contains("refetchEvaluation"));
        }
        let answer = ask(&mut sender, "POST", &format!("{BULK}/static"), b"{}".to_vec()).await;
        assert_eq!(answer.status(), 200);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["value"], json!(false));
    };
    runtime.block_on(async { tokio::time::timeout(Duration::from_mins(1), story).await.expect("in time") });
}

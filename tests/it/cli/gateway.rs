//! `bascule gateway` as a process: arguments, start, end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use serde_json::Value;
use tests::binary;

use super::folder;

#[test]
fn nothing_to_serve_and_wrong_settings_are_usage_errors() {
    let ended = binary::run(["gateway"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    assert_eq!(
        ended.stderr,
        "error: there is nothing to serve\n  help: name a bascule.yaml with --file, or a control plane with --admin\n"
    );
    let ended = binary::run(["gateway", "--file", "x.yaml", "--listen", "nowhere", "--workers", "many"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    for part in ["--listen", "--workers", "help: bascule doctor"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

#[test]
fn it_serves_a_file_and_drains_on_sigterm() {
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a port");
    let yaml = format!(
        "app: web\nenvironments: {{production: {{hosts: [shop.example], traffic: {{slots: {{blue: r1}}}}}}}}\nreleases: {{r1: {{version: 1.0.0, upstreams: [{{url: \"http://{}\"}}]}}}}\n",
        upstream.local_addr().expect("it is bound")
    );
    std::thread::spawn(move || {
        for stream in upstream.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
            let head = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()).count();
            assert!(head > 0);
            let mut stream = stream;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    let folder = folder(&[("web.yaml", &yaml)]);
    let args = [
        "gateway",
        "--file",
        "web.yaml",
        "--listen",
        "127.0.0.1:0",
        "--ops",
        "127.0.0.1:0",
        "--log-format",
        "json",
        "--workers",
        "1",
    ];
    let mut child = binary::command(args).current_dir(folder.path()).spawn().expect("it starts");
    let mut log = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let up = log
        .find_map(|line| {
            serde_json::from_str::<Value>(&line).ok().filter(|record| record["message"] == "the gateway is up")
        })
        .expect("it says that it is up");
    let listen = up["metadata"]["listen"].as_str().expect("an address").trim_matches(['[', ']']).to_owned();
    let mut stream = TcpStream::connect(&listen).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
    let killed = Command::new("kill").arg(child.id().to_string()).status().expect("kill runs");
    assert!(killed.success());
    // The pipe is read to its end, so that the process never waits for us.
    let rest: Vec<String> = log.collect();
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0), "{rest:#?}");
}

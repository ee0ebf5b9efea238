//! The released OpenFeature clients against a whole gateway: what an application sees, not what we send.
//!
//! `cargo xtask setup` installs them into the target folder in the versions of `tests/openfeature`; a machine without
//! them fails these tests.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use server::gateway::metrics::Event;

use super::*;
use crate::rig::eventually;

/// A program with an SDK in it.
struct Sdk {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Sdk {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the clients are installed.
fn installed() -> PathBuf {
    // target/PROFILE/deps/it-HASH
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(3).expect("cargo's layout").join("openfeature")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("openfeature").join(name)
}

fn url(world: &World) -> String {
    format!("http://{}", world.address())
}

impl Sdk {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).env("OPENFEATURE_CLIENTS", installed()).env_remove("NODE_OPTIONS");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; `cargo xtask setup` installs the clients", program.display()));
        let questions = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, questions, answers }
    }

    fn node(world: &World, token: &str) -> Self {
        Self::start(Path::new("node"), &[script("server.mjs").to_str().unwrap(), &url(world), token])
    }

    fn python(world: &World, token: &str) -> Self {
        let python = installed().join("python/bin/python");
        Self::start(&python, &[script("server.py").to_str().unwrap(), &url(world), token])
    }

    fn web(world: &World, token: &str, context: &Value) -> Self {
        let script = script("web.mjs");
        Self::start(Path::new("node"), &[script.to_str().unwrap(), &url(world), token, &context.to_string()])
    }

    fn send(&mut self, question: &Value) {
        writeln!(self.questions, "{question}").unwrap();
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}; are the clients installed?"))
    }

    fn ask(&mut self, kind: &str, key: &str, fallback: Value, context: &Value) -> Value {
        self.send(&json!({"type": kind, "key": key, "fallback": fallback, "context": context}));
        self.next()
    }

    #[track_caller]
    fn check(&mut self, kind: &str, key: &str, fallback: Value, context: &Value, expected: (Value, &str, &str)) {
        let answer = self.ask(kind, key, fallback, context);
        let (value, variant, reason) = expected;
        assert_eq!(answer["value"], value, "{key}: {answer}");
        assert_eq!((answer["variant"].as_str(), answer["reason"].as_str()), (Some(variant), Some(reason)), "{answer}");
        assert!(answer["errorCode"].is_null(), "{answer}");
        assert_eq!(answer["metadata"]["flagSetId"], "web/production", "{answer}");
    }

    #[track_caller]
    fn fails(&mut self, kind: &str, key: &str, fallback: Value, context: &Value, code: &str) {
        let answer = self.ask(kind, key, fallback.clone(), context);
        assert_eq!((&answer["value"], answer["errorCode"].as_str()), (&fallback, Some(code)), "{key}: {answer}");
        assert_eq!(answer["reason"], "ERROR");
    }
}

/// A unit of each half of the split, and the value that the gateway itself answers for it.
fn halves(world: &World) -> [(Value, Value); 2] {
    let of = |wanted: bool| {
        let mut users = (0..100).map(|n| json!({"targetingKey": format!("user-{n}")}));
        let user = users.find(|user| value(world, SERVER, "split", user) == json!(wanted)).unwrap();
        (user, json!(wanted))
    };
    [of(true), of(false)]
}

/// What every client sees alike; `number` names its type of an integer.
fn common(sdk: &mut Sdk, world: &World, number: &str) {
    let none = json!({});
    let staff = json!({"targetingKey": "u1", "email": "a@shop.example"});
    sdk.check("boolean", "static", json!(false), &none, (json!(true), "on", "STATIC"));
    sdk.check("string", "text", json!("x"), &none, (json!("hello"), "on", "STATIC"));
    sdk.check(number, "integer", json!(7), &none, (json!(100), "on", "STATIC"));
    sdk.check("object", "object", json!({}), &none, (json!({"a": {"b": [1, 2]}}), "on", "STATIC"));
    sdk.check("boolean", "path/to:flag", json!(false), &none, (json!(true), "on", "STATIC"));
    sdk.check("boolean", "disabled", json!(true), &none, (json!(false), "off", "DISABLED"));
    sdk.check("boolean", "rule", json!(false), &staff, (json!(true), "on", "TARGETING_MATCH"));
    sdk.check("boolean", "rule", json!(true), &json!({"email": "x"}), (json!(false), "off", "DEFAULT"));
    for (user, value) in halves(world) {
        let (variant, other) = if value == json!(true) { ("on", false) } else { ("off", true) };
        sdk.check("boolean", "split", json!(other), &user, (value, variant, "SPLIT"));
    }
    sdk.fails("boolean", "split", json!(true), &none, "TARGETING_KEY_MISSING");
    sdk.fails("boolean", "nobody", json!(true), &none, "FLAG_NOT_FOUND");
    sdk.fails("string", "static", json!("x"), &none, "TYPE_MISMATCH");
    sdk.fails("boolean", "text", json!(true), &none, "TYPE_MISMATCH");
}

#[test]
fn the_node_client_sees_what_was_decided() {
    let world = world();
    let mut sdk = Sdk::node(&world, SERVER);
    common(&mut sdk, &world, "number");
    sdk.check("number", "float", json!(9.5), &json!({}), (json!(1), "on", "STATIC"));
    world.publish(|snapshot| snapshot["flags"]["static"]["enabled"] = json!(false));
    sdk.check("boolean", "static", json!(true), &json!({}), (json!(false), "off", "DISABLED"));
    sdk.fails("boolean", "static", json!(true), &json!({"now": "soon"}), "INVALID_CONTEXT");
}

#[test]
fn the_python_client_sees_what_was_decided() {
    let world = world();
    let mut sdk = Sdk::python(&world, SERVER);
    common(&mut sdk, &world, "integer");
    // It tells floats and integers apart.
    sdk.check("float", "float", json!(9.5), &json!({}), (json!(1.0), "on", "STATIC"));
    sdk.fails("integer", "float", json!(9), &json!({}), "TYPE_MISMATCH");
    world.publish(|snapshot| snapshot["flags"]["static"]["enabled"] = json!(false));
    sdk.check("boolean", "static", json!(true), &json!({}), (json!(false), "off", "DISABLED"));
    sdk.fails("boolean", "static", json!(true), &json!({"now": "soon"}), "INVALID_CONTEXT");
}

#[test]
fn clients_with_a_wrong_token_serve_their_defaults() {
    let world = world();
    for mut sdk in [Sdk::node(&world, "bsc_wrong"), Sdk::python(&world, "bsc_wrong")] {
        sdk.fails("boolean", "static", json!(false), &json!({}), "GENERAL");
    }
    let mut web = Sdk::web(&world, "bsc_wrong", &json!({}));
    assert_eq!(web.next()["event"], "error");
    let answer = web.ask("boolean", "static", json!(false), &json!({}));
    assert_eq!(answer["value"], false, "{answer}");
}

#[test]
fn the_web_client_sees_what_clients_may_and_follows_its_context() {
    let world = world();
    let [(first, one), (second, other)] = halves(&world);
    let mut sdk = Sdk::web(&world, CLIENT, &first);
    assert_eq!(sdk.next()["event"], "ready");
    let none = json!({});
    sdk.check("boolean", "split", json!(false), &none, (one, "on", "SPLIT"));
    sdk.check("string", "text", json!("x"), &none, (json!("hello"), "on", "STATIC"));
    sdk.check("number", "float", json!(9.5), &none, (json!(1), "on", "STATIC"));
    sdk.check("object", "object", json!({}), &none, (json!({"a": {"b": [1, 2]}}), "on", "STATIC"));
    sdk.check("boolean", "path/to:flag", json!(false), &none, (json!(true), "on", "STATIC"));
    sdk.check("boolean", "disabled", json!(true), &none, (json!(false), "off", "DISABLED"));
    sdk.fails("boolean", "secret", json!(false), &none, "FLAG_NOT_FOUND");
    sdk.fails("boolean", "text", json!(true), &none, "TYPE_MISMATCH");
    sdk.send(&json!({"context": second}));
    assert_eq!(sdk.next()["event"], "context");
    sdk.check("boolean", "split", json!(true), &none, (other, "off", "SPLIT"));
}

#[test]
fn the_web_client_hears_of_a_change_through_the_stream() {
    let world = world();
    let mut sdk = Sdk::web(&world, CLIENT, &json!({"targetingKey": "u1"}));
    assert_eq!(sdk.next()["event"], "ready");
    sdk.check("boolean", "static", json!(false), &json!({}), (json!(true), "on", "STATIC"));
    eventually("the stream is open", || world.count(Event::StreamOpened), |opened| *opened == 1);
    for enabled in [false, true] {
        world.publish(|snapshot| snapshot["flags"]["static"]["enabled"] = json!(enabled));
        let changed = sdk.next();
        assert_eq!(changed["event"], "changed", "{changed}");
        assert!(changed["flags"].as_array().unwrap().contains(&json!("static")), "{changed}");
        let (variant, reason) = if enabled { ("on", "STATIC") } else { ("off", "DISABLED") };
        sdk.check("boolean", "static", json!(!enabled), &json!({}), (json!(enabled), variant, reason));
    }
    assert_eq!(world.count(Event::StreamOpened), 1, "all over one stream");
}

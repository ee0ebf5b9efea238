//! `bascule admin` and `bascule serve` as processes, from their settings on.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use admin::token::TokenText;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tests::binary::{self, Ended};

use super::{SOUND, folder};

const PATIENCE: Duration = Duration::from_secs(20);

/// Writes a certificate for loopback that is its own authority.
fn certificate(folder: &Path) {
    let key = KeyPair::generate().expect("a key");
    let cert = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name").self_signed(&key).expect("a cert");
    std::fs::write(folder.join("cert.pem"), cert.pem()).expect("writable");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("writable");
}

/// A process of ours that is up, told to end when it is dropped.
pub(super) struct Process {
    child: Child,
    pub(super) address: String,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts it and reads its log until it says where the API listens.
    pub(super) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let (send, addresses) = std::sync::mpsc::sync_channel(1);
        let log: Arc<Mutex<String>> = Arc::default();
        let to = Arc::clone(&log);
        // It is read to its end, so that the process never waits for us.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                to.lock().unwrap_or_else(PoisonError::into_inner).extend([line.as_str(), "\n"]);
                let record = serde_json::from_str::<Value>(&line).unwrap_or_default();
                if record["message"] == "the control plane is up" {
                    let _ = send.send(record["metadata"]["listen"].as_str().unwrap_or_default().to_owned());
                }
            }
        });
        let address = addresses.recv_timeout(PATIENCE).expect("it says where it listens");
        Self { child, address, log }
    }

    /// The log so far.
    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn serve_is_set_up_by_one_file_and_its_gateway_follows_behind_tls_too() {
    let token = TokenText::mint();
    let toml = "admin_listen = \"127.0.0.1:0\"\nlisten = \"127.0.0.1:0\"\nops = \"127.0.0.1:0\"\nstate_dir = \"state\"\n\
                workers = 1\n[log]\nformat = \"json\"\n[admin_tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n\
                [admin_limits]\nrate = 500\n[engine]\nkind = \"native\"\n";
    let folder = folder(&[("bascule.toml", toml), ("web.yaml", SOUND), ("token", token.expose())]);
    certificate(folder.path());
    let mut serve = binary::command(["serve", "--config", "bascule.toml"]);
    serve.current_dir(folder.path()).env("BASCULE_BOOTSTRAP_ADMIN_TOKEN_FILE", "token");
    let process = Process::start(serve);
    let run = |args: &[&str]| -> Ended {
        let mut command = binary::command(args);
        command.current_dir(folder.path()).env("BASCULE_URL", format!("https://{}", process.address));
        command.env("BASCULE_TOKEN_FILE", "token").env("BASCULE_CA_FILE", "cert.pem");
        binary::finish(command, "")
    };
    let applied = run(&["apply", "web.yaml", "--yes"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let since = Instant::now();
    loop {
        let edges = run(&["edges", "--json"]);
        let answer: Value = serde_json::from_str(&edges.stdout).unwrap_or_else(|_| panic!("{edges:?}"));
        let runs = answer["items"][0]["environments"].as_array().cloned().unwrap_or_default();
        if runs.iter().filter(|environment| environment["number"] == 1).count() == 2 {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "the gateway beside it has both environments: {answer:#}");
        std::thread::sleep(Duration::from_millis(20));
    }
    let plain = {
        let mut command = binary::command(["edges", "--url", &format!("http://{}", process.address)]);
        command.current_dir(folder.path()).env("BASCULE_TOKEN_FILE", "token");
        binary::finish(command, "")
    };
    assert_eq!(plain.code, 7, "without TLS nobody is answered: {plain:?}");
}

#[test]
fn doctor_shows_the_settings_of_a_control_plane_and_what_its_start_would_do() {
    let folder = folder(&[
        ("bascule.toml", "region = \"eu\"\n[admin_timeouts]\nbody = \"7s\"\n"),
        ("url", "postgres://bascule:canary@127.0.0.1:9/flags\n"),
    ]);
    let doctor = |process: &str, args: &[&str], variables: &[(&str, &str)]| {
        let mut command = binary::command(["doctor", process, "--json", "--config", "bascule.toml"]);
        command.args(args).current_dir(folder.path()).envs(variables.iter().copied());
        let ended = binary::finish(command, "");
        assert!(!ended.stdout.contains("canary"), "{ended:?}");
        (ended.code, serde_json::from_str::<Value>(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}")))
    };
    let setting = |answer: &Value, key: &str| {
        let settings = answer["settings"].as_array().expect("a list");
        settings.iter().find(|setting| setting["key"] == key).cloned()
    };
    let (code, answer) = doctor("admin", &["--listen", "0.0.0.0:0", "--state-dir", "state"], &[]);
    assert_eq!((code, &answer["ok"], &answer["engine"]), (0, &json!(true), &Value::Null), "{answer:#}");
    let body = json!({"key": "admin_timeouts.body", "value": "7s", "origin": "bascule.toml:3"});
    assert_eq!(setting(&answer, "admin_timeouts.body"), Some(body));
    assert_eq!(setting(&answer, "admin_listen").expect("it is one")["origin"], "--listen");
    assert_eq!(setting(&answer, "region"), None, "a gateway's: {answer:#}");
    let warnings = answer["warnings"].to_string();
    assert!(warnings.contains("state/bascule.db is not there yet") && warnings.contains("without TLS"), "{warnings}");
    assert!(!folder.path().join("state").exists(), "it only looks");

    let (code, answer) =
        doctor("serve", &[], &[("BASCULE_DATABASE_FILE", "url"), ("BASCULE_ADMIN_TLS_CERT", "no.pem")]);
    assert_eq!(code, 2, "{answer:#}");
    assert!(answer["problems"].to_string().contains("admin_tls.key is missing"), "{answer:#}");
    assert_eq!(setting(&answer, "region").expect("a gateway's")["value"], "eu");
    let database = setting(&answer, "database").expect("it is one");
    assert_eq!(database["value"], "postgres://127.0.0.1:9/flags");

    let (code, answer) = doctor("admin", &[], &[("BASCULE_DATABASE_FILE", "url")]);
    assert_eq!((code, &answer["problems"][0]["origin"]), (2, &json!("database")), "nobody answers: {answer:#}");
}

#[test]
fn a_control_plane_that_is_told_nonsense_says_everything_at_once() {
    let ended = binary::run(["admin", "--listen", "nowhere", "--tls-cert", "x.pem"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (2, ""));
    for part in ["--listen: admin_listen: `nowhere`", "help: bascule doctor admin"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let ended = binary::run(["serve", "--file", "web.yaml"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("bascule apply FILE"), "{}", ended.stderr);
}

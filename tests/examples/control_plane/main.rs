//! Measures a control plane as it is run, for `cargo xtask bench`: `control_plane BASCULE ROUNDS`.
//!
//! Everything is asked from outside: the release binary is started with a store, gateways and followers connect, and what
//! is measured is what the API answers. Prints one JSON document; says on stderr what it is doing.

mod followers;
mod plane;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use followers::Followers;
use plane::{Gateway, Plane};

/// Gateways that a change is pushed to, and flags of the environment.
const FLEETS: [(usize, usize); 4] = [(1, 20), (1, FLAGS), (100, FLAGS), (1_000, FLAGS)];
/// Edges whose memory is measured.
const CROWD: usize = 2_000;
/// Flags of an environment otherwise, each with a rule and a split.
const FLAGS: usize = 100;
/// A follower that has not heard of a change after this long has lost it.
const PATIENCE: Duration = Duration::from_mins(1);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let program = arguments.next().context("which program?")?;
    let rounds: usize = arguments.next().context("how many rounds?")?.parse()?;
    let mut writes = Vec::new();
    for store in ["SQLite", "PostgreSQL"] {
        for edges in [0, 1] {
            eprintln!("writes on {store} with {edges} edges");
            writes.push(json!({"store": store, "edges": edges, "ms": written(&program, store, edges, 60 * rounds)?}));
        }
    }
    let mut fleets = Vec::new();
    for (edges, flags) in FLEETS {
        eprintln!("rollbacks with {edges} edges and {flags} flags");
        let times = propagated(&program, edges, flags, 40 * rounds)?;
        fleets.push(json!({"edges": edges, "flags": flags, "ms": times}));
    }
    eprintln!("memory with {CROWD} edges");
    let memory = crowd(&program)?;
    println!("{}", json!({"flags": FLAGS, "writes": writes, "fleets": fleets, "crowd": memory}));
    Ok(())
}

/// Milliseconds of each durable, audited write over a kept-alive connection.
fn written(program: &str, store: &str, edges: usize, count: usize) -> Result<Vec<f64>> {
    let plane = Plane::start(program, store, FLAGS)?;
    let _gateway = (edges > 0).then(|| Gateway::start(program, &plane)).transpose()?;
    let mut client = plane.client();
    let mut times = Vec::new();
    for n in 0..count {
        let target = format!("{}/flags/flag-{}", plane::PRODUCTION, n % FLAGS);
        let body = json!({"enabled": true, "fallthrough": {"split": {"on": 1 + n % 99, "off": 99 - n % 99}}});
        let began = Instant::now();
        let answer = client.ask("PUT", &target, Some(&body))?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        ensure!(answer["revision"].is_u64(), "a write was refused: {answer}");
    }
    // The first ones warm caches and connections.
    Ok(times.split_off(times.len() / 10))
}

/// Milliseconds from the commit of each rollback until the last edge's acknowledgement.
fn propagated(program: &str, edges: usize, flags: usize, count: usize) -> Result<Vec<f64>> {
    let plane = Plane::start(program, "SQLite", flags)?;
    let gateway = Gateway::start(program, &plane)?;
    let followers = Followers::start(plane.address(), plane.edge_token(), edges - 1)?;
    let times = (0..count).map(|_| roll_back(&plane, &followers, edges)).collect::<Result<_>>();
    drop(gateway);
    times
}

/// Gives the candidate half of the traffic, waits until everybody has it, and takes it back.
fn roll_back(plane: &Plane, followers: &Followers, edges: usize) -> Result<f64> {
    let mut client = plane.client();
    let traffic = json!({"active": "blue", "slots": {"blue": "web-1", "green": "web-2"}, "candidateWeight": 50});
    client.ask("PUT", &format!("{}/traffic", plane::PRODUCTION), Some(&traffic))?;
    let newest = client.ask("GET", &format!("{}/snapshots?limit=1", plane::PRODUCTION), None)?;
    let number = newest["items"][0]["number"].as_u64().with_context(|| format!("no snapshot: {newest}"))?;
    followers.until(number, PATIENCE)?;
    plane.until_followed(PATIENCE)?;
    let request = json!({"reason": "the benchmark", "waitMs": 30_000});
    let answer = client.ask("POST", &format!("{}/rollback", plane::PRODUCTION), Some(&request))?;
    ensure!(answer["acknowledged"] == edges, "of {edges} edges: {}", without_edges(answer));
    answer["propagatedMs"].as_f64().context("a rollback says how long it took")
}

fn without_edges(mut answer: Value) -> Value {
    answer["edges"] = Value::Null;
    answer
}

fn crowd(program: &str) -> Result<Value> {
    let plane = Plane::start(program, "SQLite", FLAGS)?;
    let before = plane.resident_kib()?;
    let followers = Arc::new(Followers::start(plane.address(), plane.edge_token(), CROWD)?);
    let with = plane.resident_kib()?;
    let times = (0..3).map(|_| roll_back(&plane, &followers, CROWD)).collect::<Result<Vec<_>>>()?;
    let after = plane.resident_kib()?;
    Ok(json!({"edges": CROWD, "beforeKib": before, "withKib": with, "afterKib": after, "ms": times}))
}

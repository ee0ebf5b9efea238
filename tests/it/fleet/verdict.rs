//! The verdict end to end: visitors, real gateways, their reports, and what the control plane makes of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Client, Origin};

use super::{Fleet, PRODUCTION};
use crate::rig::patiently;

/// Visitors at the same time, for each gateway.
const THREADS: usize = 4;
/// How many visitors there are; each comes again and again.
const VISITORS: usize = 4000;

/// How an origin behaves, to be changed while it runs.
#[derive(Default)]
struct Behaviour {
    /// Every so many requests one fails; 0 = none.
    one_in: AtomicU64,
    served: AtomicU64,
    failed: AtomicU64,
    /// Milliseconds that an answer takes.
    slow_ms: AtomicU64,
}

fn origin(behaviour: &Arc<Behaviour>) -> Origin {
    let behaviour = Arc::clone(behaviour);
    Origin::scripted(move |exchange| {
        let number = behaviour.served.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(behaviour.slow_ms.load(Ordering::Relaxed)));
        let one_in = behaviour.one_in.load(Ordering::Relaxed);
        if one_in > 0 && number.is_multiple_of(one_in) {
            behaviour.failed.fetch_add(1, Ordering::Relaxed);
            return exchange.respond("500 Internal Server Error", "", "");
        }
        exchange.respond("200 OK", "", "hello")
    })
}

struct Scene {
    fleet: Fleet,
    stable: Arc<Behaviour>,
    candidate: Arc<Behaviour>,
    began: Instant,
}

impl Scene {
    fn begin() -> Self {
        let (stable, candidate) = (Arc::<Behaviour>::default(), Arc::<Behaviour>::default());
        let fleet = Fleet::of(2, origin(&stable), origin(&candidate));
        let alone = json!({"active": "blue", "slots": {"blue": "web-1"}});
        assert_eq!(fleet.plane.change("PUT", &format!("{PRODUCTION}/traffic"), "*", Some(alone)).status, 200);
        Self { fleet, stable, candidate, began: Instant::now() }
    }

    fn start(&mut self, weight: f64) {
        let steps = json!([{"weight": weight, "holdMs": 3_000}, {"weight": 100, "holdMs": 1_000}]);
        let plan = json!({"bakeMs": 1_000, "keepWarmMs": 1_000, "steps": steps});
        let body = json!({"release": "web-2", "plan": plan, "reason": "a test"});
        self.began = Instant::now();
        let started = self.fleet.plane.ask("POST", &format!("{PRODUCTION}/rollouts"), Some(body));
        assert_eq!((started.status, &started.body["state"]), (201, &json!("step")), "{started:?}");
    }

    fn current(&self) -> Value {
        self.fleet.plane.ask("GET", &format!("{PRODUCTION}/rollouts/current"), None).body
    }

    /// With visitors all the while.
    fn visited<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        let (stop, next) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for address in self.fleet.addresses() {
                for _ in 0..THREADS {
                    let (stop, next) = (&stop, &next);
                    scope.spawn(move || visit(address, next, stop));
                }
            }
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
            stop.store(true, Ordering::Relaxed);
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The rollout when it has come to this state, or to an end.
    fn until(&self, state: &str) -> Value {
        let reached = |rollout: &Value| rollout["state"] == state || rollout["ended"] == true;
        let rollout = patiently(state, || self.current(), reached);
        assert_eq!(rollout["state"], state, "{rollout:#}");
        rollout
    }
}

fn visit(address: SocketAddr, next: &AtomicUsize, stop: &AtomicBool) {
    let mut client = Client::connect(address);
    while !stop.load(Ordering::Relaxed) {
        let visitor = next.fetch_add(1, Ordering::Relaxed) % VISITORS;
        client.get("shop.example", "/", &format!("x-user-id: u{visitor}\r\n"));
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn step<'r>(rollout: &'r Value, to: &str) -> &'r Value {
    let mut transitions = rollout["transitions"].as_array().into_iter().flatten();
    transitions.find(|one| one["to"] == to).unwrap_or_else(|| panic!("{to} in {rollout:#}"))
}

#[test]
fn one_failure_in_twenty_at_a_twentieth_of_the_traffic_is_taken_back_in_seconds() {
    let mut scene = Scene::begin();
    scene.candidate.one_in.store(20, Ordering::Relaxed);
    scene.start(5.0);
    let (ended, took) = scene.visited(|| (scene.until("rolledBack"), scene.began.elapsed()));
    assert!(took < Duration::from_secs(30), "{took:?}");
    let back = step(&ended, "rollingBack");
    let sentence = back["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains("5xx: ") && sentence.contains("units at web-2 against 0"), "{sentence}");
    let failed = scene.candidate.failed.load(Ordering::Relaxed);
    let hurt = back["evidence"]["hurt"].as_u64().unwrap_or_default();
    assert!((3..=failed).contains(&hurt), "{hurt} visitors of {failed} failures");
    assert_eq!(back["evidence"]["verdict"]["verdict"], "rollBack", "{back:#}");
}

#[test]
fn a_good_candidate_is_promoted_while_visitors_come() {
    let mut scene = Scene::begin();
    scene.start(5.0);
    let ended = scene.visited(|| scene.until("promoted"));
    assert_eq!(step(&ended, "keepingWarm")["evidence"]["hurt"], 0);
    assert_eq!(scene.fleet.plane.ask("GET", &format!("{PRODUCTION}/traffic"), None).body["active"], "green");
}

#[test]
fn a_common_outage_rolls_nothing_back() {
    let mut scene = Scene::begin();
    for behaviour in [&scene.stable, &scene.candidate] {
        behaviour.one_in.store(4, Ordering::Relaxed);
    }
    scene.start(50.0);
    let held = scene.visited(|| {
        let held = scene.until("held");
        // Many more requests of both, and nothing but this is said.
        let enough = scene.candidate.served.load(Ordering::Relaxed) + 2000;
        patiently("requests", || scene.candidate.served.load(Ordering::Relaxed), |served| *served > enough);
        assert_eq!(scene.current()["state"], "held");
        held
    });
    let sentence = step(&held, "held")["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains("in trouble too"), "{sentence}");
}

#[test]
fn a_slower_candidate_is_taken_back() {
    let mut scene = Scene::begin();
    scene.candidate.slow_ms.store(150, Ordering::Relaxed);
    scene.start(25.0);
    let ended = scene.visited(|| scene.until("rolledBack"));
    let sentence = step(&ended, "rollingBack")["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains("slower than 100 ms"), "{sentence}");
    assert_eq!(scene.candidate.failed.load(Ordering::Relaxed), 0, "nothing failed");
}

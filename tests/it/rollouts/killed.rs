//! A control plane that is killed as by the loss of power whenever something has just been decided.

use std::path::Path;

use serde_json::{Value, json};
use tests::admin::{Answer, Request};

use crate::api::{PRODUCTION, SHOP};
use crate::running::plane::PlaneProcess;

const STEPS: &str = r#"{"bakeMs": 200, "keepWarmMs": 200, "steps": [
    {"weight": 20, "holdMs": 200, "gates": ["acknowledged"]}, {"weight": 100, "holdMs": 200}]}"#;

struct Story {
    plane: Option<PlaneProcess>,
    edge: String,
    sequence: u64,
}

impl Story {
    fn begin(folder: &Path) -> Self {
        let plane = PlaneProcess::start(folder, "info");
        let mut story = Self { plane: Some(plane), edge: String::new(), sequence: 0 };
        let root = story.plane().root.clone();
        let applied = story.request("PUT", "/api/v1/apply").token(&root).body("application/yaml", SHOP).send();
        assert_eq!(applied.status, 200, "{applied:?}");
        let scopes = json!([{"app": "*", "environment": "*", "role": "edge"}]);
        let token = story.ask("POST", "/api/v1/tokens", Some(json!({"name": "edge", "scopes": scopes})));
        token.body["secret"].as_str().expect("a token").clone_into(&mut story.edge);
        story
    }

    fn plane(&self) -> &PlaneProcess {
        self.plane.as_ref().expect("it runs")
    }

    fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.plane().address, method, path)
    }

    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.request(method, path).token(&self.plane().root).json(body).send()
    }

    fn current(&self) -> Value {
        self.ask("GET", &format!("{PRODUCTION}/rollouts/current"), None).body
    }

    /// An edge's report; one that was not answered is sent again with the next.
    fn report(&mut self, failed: u64) {
        self.sequence += 1;
        let release = |release: &str, errors: u64| json!({"release": release, "requests": 500, "clientErrors": 0, "serverErrors": errors, "transportErrors": 0});
        let unit = |n| format!("{:08x}{n:08x}", self.sequence);
        let bad = |n| json!({"unit": unit(n), "release": "web-2", "isCandidate": true, "weight": 200_000, "failure": "status"});
        let first_bad: Vec<Value> = (0..failed).map(bad).collect();
        let environment = json!({"app": "web", "environment": "production", "firstBad": first_bad,
            "releases": [release("web-2", failed), release("web-1", 0)]});
        let report = json!({"edge": "eu-1", "boot": "b", "sequence": self.sequence, "coversMs": 0,
            "environments": [environment]});
        let taken = self.request("POST", "/edge/v1/reports").token(&self.edge).json(Some(report)).send();
        assert_eq!(taken.status, 200, "{taken:?}");
    }

    /// The power goes, and comes back.
    fn kill(&mut self, folder: &Path) {
        let plane = self.plane.take().expect("it runs");
        let (address, root) = (plane.address.to_string(), plane.root.clone());
        plane.kill();
        self.plane = Some(PlaneProcess::start_at(folder, "info", &address, &root));
    }

    /// To the end, killed after every answer that shows something new.
    fn ride(&mut self, folder: &Path, failed: u64) -> Value {
        let plan: Value = serde_json::from_str(STEPS).expect("a plan");
        let started =
            self.ask("POST", &format!("{PRODUCTION}/rollouts"), Some(json!({"release": "web-2", "plan": plan})));
        assert_eq!(started.status, 201, "{started:?}");
        self.kill(folder);
        let began = std::time::Instant::now();
        let mut known = 1;
        loop {
            self.report(failed);
            let rollout = self.current();
            assert!(began.elapsed().as_secs() < 60, "{rollout}");
            let decided = rollout["transitions"].as_array().map_or(0, Vec::len);
            if decided > known {
                known = decided;
                self.kill(folder);
            }
            if rollout["ended"] == true {
                return self.current();
            }
        }
    }
}

/// What was decided, in order, without a gap.
fn decided(rollout: &Value) -> Vec<String> {
    let transitions = rollout["transitions"].as_array().expect("transitions");
    let numbers: Vec<i64> = transitions.iter().filter_map(|one| one["number"].as_i64()).collect();
    assert_eq!(numbers, (1..=transitions.len()).filter_map(|number| number.try_into().ok()).collect::<Vec<i64>>());
    transitions.iter().map(|one| one["to"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_control_plane_that_is_killed_at_every_decision_goes_on() {
    for (failed, expected) in [
        (0, ["step", "step", "baking", "keepingWarm", "promoted"].as_slice()),
        (50, ["step", "rollingBack", "verifying", "rolledBack"].as_slice()),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut story = Story::begin(folder.path());
        let rollout = story.ride(folder.path(), failed);
        assert_eq!(decided(&rollout), expected, "{rollout}");
        let traffic = story.ask("GET", &format!("{PRODUCTION}/traffic"), None).body;
        let left = if failed == 0 { json!({"green": "web-2"}) } else { json!({"blue": "web-1"}) };
        assert_eq!((&traffic["slots"], &traffic["candidateWeight"]), (&left, &json!(0)));
        assert_eq!(story.ask("GET", "/api/v1/audit/verify", None).body["intact"], true);
        let snapshot = story.ask("GET", &format!("{PRODUCTION}/snapshots?limit=200"), None).body;
        let numbers: Vec<u64> =
            snapshot["items"].as_array().into_iter().flatten().filter_map(|one| one["number"].as_u64()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).rev().collect::<Vec<_>>(), "snapshots without a gap");
        story.plane.take().expect("it runs").end();
    }
}

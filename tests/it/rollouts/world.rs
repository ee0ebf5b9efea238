//! A control plane without listeners whose time and whose reports of edges are the test's.

use std::sync::Arc;

use admin::edges::Hub;
use admin::integrations::Integrations;
use admin::model::{At, Edit};
use admin::principal::{Principal, Role, Scope};
use admin::service::rollouts::Act;
use admin::service::rollouts::drive::Driver;
use admin::service::{Actor, Control, Intent, ServiceError};
use admin::signing::Signer;
use admin::store::{Location, Store};
use admin_api::edge::{self, EnvironmentReport, Failure, FirstBad, ReleaseReport, Report, SplitCount};
use admin_api::rollouts::{Rollout, StartRollout};
use serde_json::{Value, json};

/// After the clock of this machine, which what is not the test's to move would otherwise overtake.
const BEGIN: i64 = 4_000_000_000_000;
/// Requests per report.
const REQUESTS: u64 = 200;
/// Between two reports.
pub(super) const BEAT: i64 = 2_000;
const SCOPE: (&str, &str) = ("web", "production");

/// How many of a release's requests fail.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Failing {
    /// One in so many; 0 = none.
    pub(super) candidate: u64,
    pub(super) stable: u64,
}

pub(super) struct World {
    location: Location,
    integrations: Integrations,
    _folder: Option<tempfile::TempDir>,
    runtime: Arc<tokio::runtime::Runtime>,
    control: Option<Control>,
    driver: Driver,
    pub(super) now: i64,
    sequence: u64,
    served: [u64; 2],
    /// Requests of four broken clients at stable in each report; they fail, and their buckets are even.
    pub(super) noise: u64,
}

pub(super) fn person(name: &str) -> Actor {
    let scope = Scope { app: "*".into(), environment: "*".into(), role: Role::Operator };
    let principal = Principal { id: format!("id-{name}"), name: name.into(), scopes: vec![scope] };
    Actor { principal: Arc::new(principal), request_id: "test".into() }
}

impl World {
    pub(super) fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::on(Location::Sqlite(folder.path().join("bascule.db")), Some(folder), Integrations::default())
    }

    /// On SQLite, with whom it calls.
    pub(super) fn calling(integrations: Integrations) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::on(Location::Sqlite(folder.path().join("bascule.db")), Some(folder), integrations)
    }

    pub(super) fn postgres() -> Self {
        Self::on(Location::Postgres(tests::postgres::database()), None, Integrations::default())
    }

    fn on(location: Location, folder: Option<tempfile::TempDir>, integrations: Integrations) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = Arc::new(runtime.expect("threads"));
        let (driver, now) = (Driver::default(), BEGIN);
        let mut world = Self {
            location,
            integrations,
            _folder: folder,
            runtime,
            control: None,
            driver,
            now,
            sequence: 0,
            served: [0; 2],
            noise: 0,
        };
        world.open();
        world.furnish();
        world
    }

    fn open(&mut self) {
        let control = self.another();
        self.control = Some(control);
    }

    /// Another process on the same store.
    pub(super) fn another(&self) -> Control {
        let store = self.runtime.block_on(Store::open(&self.location)).expect("it opens");
        let signer = Signer::from_seed(&"7".repeat(64)).expect("a key");
        let hub = Arc::new(Hub::new(signer.public_key().clone()));
        Control::new(store, signer, hub).with_integrations(self.integrations.clone())
    }

    fn furnish(&self) {
        let release = |port: u16| json!({"version": "1", "upstreams": [{"url": format!("http://127.0.0.1:{port}")}]});
        let edits = vec![
            Edit::put(At::app(), json!({})),
            Edit::put(At::release("web-1"), release(7001)),
            Edit::put(At::release("web-2"), release(7002)),
            Edit::put(At::release("web-3"), release(7003)),
            Edit::put(At::environment("production"), json!({"hosts": ["shop.example"]})),
            Edit::put(At::traffic("production"), json!({"slots": {"blue": "web-1"}})),
        ];
        let intent = Intent { app: "web".into(), may_create_app: true, is_authorised: true, ..Intent::default() };
        let root = person("root");
        self.runtime.block_on(self.control().change(&root, intent, |_| Ok(edits))).expect("it is made");
    }

    pub(super) fn control(&self) -> &Control {
        self.control.as_ref().expect("it runs")
    }

    pub(super) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// The process ends, and another one takes its place.
    pub(super) fn restart(&mut self) {
        if let Some(control) = self.control.take() {
            self.runtime.block_on(control.store.clone().close());
        }
        self.driver = Driver::default();
        self.open();
    }

    pub(super) fn start(&self, plan: Value) -> Rollout {
        self.try_start("ada", "web-2", plan).expect("it starts")
    }

    pub(super) fn try_start(&self, who: &str, release: &str, plan: Value) -> Result<Rollout, ServiceError> {
        let request = StartRollout { release: release.into(), plan: Some(plan), ..StartRollout::default() };
        self.runtime.block_on(self.control().start_rollout(&person(who), SCOPE, &request, false, self.now))
    }

    /// Stores a template of the environment; the code with which it is refused.
    pub(super) fn put_template(&self, name: &str, template: Value) -> Result<(), &'static str> {
        let at = At::template(SCOPE.1, name);
        let intent = Intent { app: SCOPE.0.into(), is_authorised: true, ..Intent::default() };
        let ada = person("ada");
        let put = self.control().change(&ada, intent, |_| Ok(vec![Edit::put(at, template)]));
        match self.runtime.block_on(put) {
            Ok(_) => Ok(()),
            Err(ServiceError::Faults(faults)) => Err(faults.first().map_or("", |fault| fault.code)),
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn act(&self, who: &str, act: Act) -> Result<Rollout, ServiceError> {
        self.runtime.block_on(self.control().act_on_rollout(&person(who), SCOPE, (act, None), self.now))
    }

    pub(super) fn rollout(&self) -> Rollout {
        self.runtime.block_on(self.control().rollout(SCOPE.0, SCOPE.1, None)).expect("there is one")
    }

    pub(super) fn state(&self) -> String {
        self.rollout().head.state
    }

    pub(super) fn traffic(&self) -> Value {
        let cached = self.runtime.block_on(self.control().app("web")).expect("it is there");
        let entry = cached.app.entry(&At::traffic("production")).expect("it has traffic");
        (*entry.document).clone()
    }

    /// The driver looks.
    pub(super) fn look(&mut self) {
        let control = self.control.as_ref().expect("it runs");
        self.runtime.block_on(control.drive_rollouts(&mut self.driver, self.now)).expect("it drives");
    }

    /// An edge's next report at the weight of the traffic.
    fn report(&mut self, failing: Failing) -> Report {
        let (weight, state) = (self.rollout().head.weight, self.state());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
        let candidate = (REQUESTS as f64 * weight / 100.0) as u64;
        let (mut releases, mut first_bad) = (Vec::new(), Vec::new());
        let shares = [("web-2", candidate, failing.candidate), ("web-1", REQUESTS - candidate, failing.stable)];
        for (index, (release, requests, one_in)) in shares.into_iter().enumerate() {
            let before = self.served[index];
            self.served[index] += requests;
            let failed = |count: u64| count.checked_div(one_in).unwrap_or(0);
            let (from, to) = (failed(before), failed(before + requests));
            let noise = if index == 1 { self.noise } else { 0 };
            let even = (from..to).filter(|n| n % 2 == 0).count() as u64;
            let half = |requests, failed| SplitCount { requests, failed };
            let halves = [half(requests / 2 + noise, even + noise), half(requests - requests / 2, to - from - even)];
            releases.push(ReleaseReport {
                release: release.into(),
                requests: requests + noise,
                server_errors: to - from + noise,
                split: if state == "keepingWarm" || requests == 0 { Vec::new() } else { halves.to_vec() },
                ..ReleaseReport::default()
            });
            // Each failure is of another visitor.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a percentage")]
            let weight = if state == "keepingWarm" { 0 } else { (weight * 10_000.0) as u32 };
            let broken = (0..noise.min(4)).map(|n| 0xffff_0000 + n);
            first_bad.extend((from..to).chain(broken).map(|n| FirstBad {
                unit: format!("{index:08x}{n:08x}"),
                release: release.into(),
                is_candidate: release == "web-2" && weight > 0,
                weight,
                failure: Failure::Status,
                slower_than_ms: None,
            }));
        }
        self.sequence += 1;
        let scope = edge::Scope { app: SCOPE.0.into(), environment: SCOPE.1.into() };
        let environment = EnvironmentReport { scope, releases, first_bad, ..EnvironmentReport::default() };
        Report {
            edge: "eu-1".into(),
            boot: "b".into(),
            sequence: self.sequence,
            covers_ms: BEAT.unsigned_abs(),
            lost: 0,
            environments: vec![environment],
        }
    }

    /// Time goes on, with reports; each of them comes so many times.
    pub(super) fn beat(&mut self, failing: Failing, times: usize) {
        self.now += BEAT;
        let report = self.report(failing);
        for _ in 0..times {
            let control = self.control.as_ref().expect("it runs");
            self.runtime.block_on(control.record_reports(&[&report], self.now)).expect("it is written");
        }
        self.look();
    }

    /// Time goes on without a single request.
    pub(super) fn silence(&mut self, ms: i64) {
        self.now += ms;
        self.look();
    }

    /// Beats until a state is reached; how many.
    pub(super) fn until(&mut self, state: &str, failing: Failing) -> usize {
        for beat in 1..3_000 {
            self.beat(failing, 1);
            if self.state() == state {
                return beat;
            }
        }
        panic!("it is {:?}", self.rollout());
    }

    /// What was decided, without what differs between two runs of the same.
    pub(super) fn story(&self) -> Vec<Value> {
        let text = |it: Rollout| serde_json::to_value(it.transitions).expect("it is written");
        text(self.rollout()).as_array().cloned().unwrap_or_default()
    }
}

/// The code with which something was refused.
pub(super) fn code(refused: Result<Rollout, ServiceError>) -> &'static str {
    match refused.expect_err("it is refused") {
        ServiceError::Refused { code, .. } => code,
        ServiceError::Faults(faults) => faults.first().map_or("", |fault| fault.code),
        error => panic!("{error}"),
    }
}

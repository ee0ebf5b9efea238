//! What must hold for any sequence of events, and single decisions.

mod decisions;
mod hooks;
mod properties;

use verdict::{HoldReason, RollBackReason, Tally, Verdict};

use super::{By, Effect, Event, Grounds, Plan, Refused, State, Template, Transition};

const MINUTE: u64 = 60_000;

fn person(name: &str) -> By {
    By::Person { id: format!("id-{name}"), name: name.into() }
}

fn canary() -> Plan {
    Plan::new("v2", "v1", Template::built_in("canary").expect("it exists"))
}

fn judged(verdict: Verdict) -> Event {
    let grounds = Grounds {
        verdict,
        sentence: "5xx: 12 of 400 requests at v2".into(),
        progress: verdict::Progress::default(),
        batches: 7,
        candidate: Tally { total: 400, bad: 12 },
        stable: Tally { total: 7600, bad: 3 },
        hurt: 0,
        findings: Vec::new(),
        kept: 25.0,
    };
    Event::Judged { grounds }
}

fn good() -> Event {
    judged(Verdict::PromoteReady)
}

fn bad() -> Event {
    judged(Verdict::RollBack(RollBackReason::ObjectiveMissed))
}

fn undecided(reason: HoldReason) -> Event {
    judged(Verdict::Hold(reason))
}

/// A rollout, and what happened to it last.
struct Ride {
    plan: Plan,
    state: State,
    effects: Vec<Effect>,
    last: Option<Transition>,
}

impl Ride {
    fn new(plan: Plan) -> Self {
        assert_eq!(plan.check(), []);
        Self { plan, state: State::new(0), effects: Vec::new(), last: None }
    }

    /// Started by ada.
    fn started(plan: Plan) -> Self {
        let mut ride = Self::new(plan);
        ride.on(Event::Start { by: person("ada"), machine_rollbacks: 0, accepted: false }, 0);
        ride
    }

    fn on(&mut self, event: Event, now: u64) -> &str {
        let (state, effects, transition) = self.state.clone().on(event, now, &self.plan).expect("it may happen");
        (self.state, self.effects, self.last) = (state, effects, Some(transition));
        self.state.phase.name()
    }

    fn refused(&self, event: Event, now: u64) -> Refused {
        self.state.clone().on(event, now, &self.plan).expect_err("it may not happen")
    }

    fn sentence(&self) -> &str {
        self.last.as_ref().map_or("", |last| &last.sentence)
    }

    /// Through all steps by good evidence; answers the time.
    fn baking(plan: Plan) -> (Self, u64) {
        let mut ride = Self::started(plan);
        let mut now = 0;
        while ride.state.phase.name() != "baking" {
            now += 5 * MINUTE;
            ride.on(good(), now);
        }
        (ride, now)
    }
}

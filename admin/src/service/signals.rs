//! What others say of an environment: alerts, what its infrastructure uses, and what happened in its app.

use admin_api::signals::{
    Alert, AlertMeans, AlertTaken, AlertmanagerAlert, AlertmanagerMessage, AlertsTaken, AppEvent, AppEvents,
    AppEventsTaken, InfrastructureUse,
};
use edge_engine::{Bucketer, Domain, parse_rfc3339};
use sha2::{Digest as _, Sha256};
use verdict::{Arm, Event, Measure};

use super::rollouts::Rollout;
use super::rollouts::evidence::{Gathered, is_judged};
use super::rollouts::signals::{ALERT, INFRASTRUCTURE, Use, means, put};
use super::{Cached, Control, ServiceError};
use crate::ids;
use crate::model::{At, Fault};
use crate::store::{UsageDelta, WriteTx};

/// Alerts, or events, of one message.
const MOST: usize = 1000;
/// Shares of one message.
const MOST_VALUES: usize = 16;
/// Characters of a name.
const MOST_NAME: usize = 128;
/// Characters of what an alert says.
const MOST_SUMMARY: usize = 500;
/// Criteria of one environment: names of events, over all releases.
const MOST_CRITERIA: usize = 64;
/// How events of the app are counted.
const EVENT: &str = "event";

impl Control {
    /// Takes what Alertmanager says. The same message again changes nothing.
    pub async fn take_alerts(
        &self,
        scope: (&str, &str),
        message: &AlertmanagerMessage,
        now: i64,
    ) -> Result<AlertsTaken, ServiceError> {
        let (app, environment) = scope;
        self.in_environment(app, environment).await?;
        few(environment, "/alerts", message.alerts.len(), MOST)?;
        let mut tx = self.store.write().await?;
        let rollout = tx.rollout_under_way(app, environment).await?.map(Rollout::read).transpose()?;
        let mut taken = Vec::with_capacity(message.alerts.len());
        for (index, told) in message.alerts.iter().enumerate() {
            let source = source(told);
            let alert = alert(told, now);
            let means = match told.status.as_str() {
                "resolved" => {
                    tx.delete_signal(scope, (ALERT, &source)).await?;
                    AlertMeans::Resolved
                }
                "firing" => {
                    put(&mut tx, scope, (ALERT, &source), &alert, now).await?;
                    let of = |rollout: &Rollout| means(&alert, &rollout.plan, rollout.state.created);
                    rollout.as_ref().map_or(AlertMeans::Told, of)
                }
                _ => {
                    let detail = "the status of an alert is firing or resolved".to_owned();
                    return Err(wrong(environment, &format!("/alerts/{index}/status"), "choice_unknown", detail));
                }
            };
            taken.push(AlertTaken { name: alert.name, means });
        }
        tx.commit().await?;
        self.wake.notify_one();
        Ok(AlertsTaken { alerts: taken })
    }

    /// Takes what the infrastructure uses.
    pub async fn take_use(&self, scope: (&str, &str), used: &InfrastructureUse, now: i64) -> Result<(), ServiceError> {
        let (app, environment) = scope;
        self.in_environment(app, environment).await?;
        few(environment, "/values", used.values.len(), MOST_VALUES)?;
        for (name, value) in &used.values {
            let pointer = format!("/values/{}", name.replace('~', "~0").replace('/', "~1"));
            named(environment, &pointer, name)?;
            if !(0.0..=1.0).contains(value) {
                let detail = format!("{name} is a share from 0 to 1, for 80 % write 0.8");
                return Err(wrong(environment, &pointer, "out_of_range", detail));
            }
        }
        let mut tx = self.store.write().await?;
        for (name, value) in &used.values {
            put(&mut tx, scope, (INFRASTRUCTURE, name), &Use { value: *value }, now).await?;
        }
        tx.commit().await?;
        for (name, value) in &used.values {
            self.releases.used((app.to_owned(), environment.to_owned(), name.clone()), *value, now);
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Takes what happened in an app: counts it, and what has a unit is evidence of the rollout under way.
    pub async fn take_events(
        &self,
        (app, environment): (&str, &str),
        events: &AppEvents,
        now: i64,
    ) -> Result<AppEventsTaken, ServiceError> {
        let cached = self.in_environment(app, environment).await?;
        few(environment, "/events", events.events.len(), MOST)?;
        for (index, event) in events.events.iter().enumerate() {
            let pointer = |field: &str| format!("/events/{index}/{field}");
            named(environment, &pointer("criterion"), &event.criterion)?;
            if cached.app.release(&event.release).is_none() {
                let detail = format!("there is no release \"{}\"", printable(&event.release, MOST_NAME));
                return Err(wrong(environment, &pointer("release"), "release_unknown", detail));
            }
        }
        let mut tx = self.store.write().await?;
        check_criteria(&mut tx, (app, environment), events).await?;
        let counts = events.events.iter().map(|event| UsageDelta {
            app: app.to_owned(),
            environment: environment.to_owned(),
            kind: EVENT.to_owned(),
            key: event.release.clone(),
            variant: event.criterion.clone(),
            count: i64::from(event.count.unwrap_or(1)),
        });
        let counts: Vec<UsageDelta> = counts.collect();
        tx.add_usage(&counts, now).await?;
        let mut gathered = Gathered::begin(&mut tx).await?;
        let scope = admin_api::edge::Scope { app: app.to_owned(), environment: environment.to_owned() };
        let evidence = match gathered.rollout(&scope) {
            Some(rollout) => evidence(&cached, environment, rollout, &events.events),
            None => Vec::new(),
        };
        let taken = AppEventsTaken { counted: counted(&events.events), evidence: evidence.len() as u64 };
        gathered.add_events(&scope, evidence);
        let is_evidence = gathered.write(&mut tx, now).await?;
        tx.commit().await?;
        for event in &events.events {
            let name = (app.to_owned(), environment.to_owned(), event.release.clone());
            self.releases.event(name, &event.criterion, event.count.unwrap_or(1).into(), now);
        }
        if is_evidence {
            self.wake.notify_one();
        }
        Ok(taken)
    }

    async fn in_environment(&self, app: &str, environment: &str) -> Result<std::sync::Arc<Cached>, ServiceError> {
        let cached = self.existing(app).await?;
        match cached.app.environment(environment) {
            Some(_) => Ok(cached),
            None => Err(ServiceError::not_found("environment", environment)),
        }
    }
}

/// Events whose unit the split sent to one of the two releases, where the policy asks for them.
fn evidence(cached: &Cached, environment: &str, rollout: &Rollout, events: &[AppEvent]) -> Vec<Event> {
    let (Some(parts), Some((_, key))) = (cached.app.environment(environment), cached.keys.get(environment)) else {
        return Vec::new();
    };
    let traffic = &parts.traffic;
    // Where regions have weights of their own, it is not known which one the unit met.
    let is_one_weight = traffic.regions.values().all(|region| region.candidate_weight == traffic.candidate_weight);
    if !is_judged(&rollout.state.phase) || !is_one_weight {
        return Vec::new();
    }
    let custom = &rollout.plan.template.verdict.custom;
    let asked = events.iter().filter(|event| custom.iter().any(|custom| custom.name == event.criterion));
    asked
        .filter_map(|event| {
            let unit = event.unit.as_ref()?;
            let arm = match event.release.as_str() {
                release if release == rollout.plan.release => Arm::Candidate,
                release if release == rollout.plan.stable => Arm::Stable,
                _ => return None,
            };
            let unit = Bucketer::new(key, Domain::Report, &traffic.salt, &unit.source).hash(unit.value.as_bytes());
            let measure = Measure::Custom(event.criterion.clone());
            Some(Event { measure, unit, arm, weight: traffic.candidate_weight })
        })
        .collect()
}

fn counted(events: &[AppEvent]) -> u64 {
    events.iter().map(|event| u64::from(event.count.unwrap_or(1))).sum()
}

/// Names are kept for good, so there is a bound for them.
async fn check_criteria(
    tx: &mut WriteTx,
    (app, environment): (&str, &str),
    events: &AppEvents,
) -> Result<(), ServiceError> {
    let usage = tx.usage(app, environment).await?;
    let mut known: std::collections::BTreeSet<&str> =
        usage.iter().filter(|row| row.kind == EVENT).map(|row| row.variant.as_str()).collect();
    for (index, event) in events.events.iter().enumerate() {
        if known.insert(&event.criterion) && known.len() > MOST_CRITERIA {
            let detail = format!("an environment has at most {MOST_CRITERIA} criteria of its own");
            return Err(wrong(environment, &format!("/events/{index}/criterion"), "limit_exceeded", detail));
        }
    }
    Ok(())
}

fn alert(told: &AlertmanagerAlert, now: i64) -> Alert {
    let label = |name: &str| told.labels.get(name).map(|label| printable(label, MOST_NAME));
    let annotation = |name: &str| told.annotations.get(name).map(|text| printable(text, MOST_SUMMARY));
    Alert {
        name: label("alertname").unwrap_or_else(|| "without a name".to_owned()),
        summary: annotation("summary").or_else(|| annotation("description")).unwrap_or_default(),
        release: label("release"),
        severity: label("severity"),
        starts_at_ms: parse_rfc3339(&told.starts_at).unwrap_or(now),
    }
}

/// What names an alert: its fingerprint, or else its labels.
fn source(told: &AlertmanagerAlert) -> String {
    let is_print = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_print(&told.fingerprint) {
        return told.fingerprint.clone();
    }
    let mut digest = Sha256::new();
    for (name, value) in &told.labels {
        for text in [name, value] {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text.as_bytes());
        }
    }
    ids::hex(&digest.finalize()[..8])
}

/// A text from outside as people and stores can have it.
fn printable(text: &str, most: usize) -> String {
    text.chars().filter(|char| !char.is_control()).take(most).collect()
}

fn few(environment: &str, pointer: &str, count: usize, most: usize) -> Result<(), ServiceError> {
    let detail = || format!("at most {most} of them in one message");
    if count > most { Err(wrong(environment, pointer, "limit_exceeded", detail())) } else { Ok(()) }
}

fn named(environment: &str, pointer: &str, name: &str) -> Result<(), ServiceError> {
    let is_name = (1..=MOST_NAME).contains(&name.len()) && edge_engine::FlagKey::new(name).is_ok();
    let detail = "a name has 1 to 128 letters, digits and . _ - / : +".to_owned();
    if is_name { Ok(()) } else { Err(wrong(environment, pointer, "key_invalid", detail)) }
}

fn wrong(environment: &str, pointer: &str, code: &'static str, detail: String) -> ServiceError {
    let fault = Fault::whole(At::traffic(environment), code, detail);
    ServiceError::Faults(vec![Fault { pointer: pointer.to_owned(), ..fault }])
}

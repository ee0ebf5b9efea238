//! Flags that could go: on or off for everybody for a long time, or never evaluated.

use std::collections::BTreeMap;

use admin_api::answers::StaleFlag;
use edge_engine::wire::FlagWire;

use super::{Control, ServiceError};
use crate::ids;
use crate::model::At;
use crate::store::Kind;

const DAY_MS: i64 = 86_400_000;

impl Control {
    /// The flags of an app that did not change for so many days and serve one variant to everybody, or that no edge
    /// has evaluated since they were made.
    pub async fn stale(&self, app: &str, days: u32) -> Result<Vec<StaleFlag>, ServiceError> {
        let cached = self.existing(app).await?;
        let before = ids::now_ms().saturating_sub(i64::from(days).saturating_mul(DAY_MS));
        let mut stale = Vec::new();
        let mut tx = self.store.read().await?;
        for (environment, _) in cached.app.environments() {
            let usage = tx.usage(app, environment.as_str()).await?;
            let mut last: BTreeMap<&str, i64> = BTreeMap::new();
            for row in usage.iter().filter(|row| row.kind == "flag") {
                let at = last.entry(&row.key).or_default();
                *at = row.last_at.max(*at);
            }
            for (at, definition) in cached.app.entries_of(Kind::Flag) {
                let Some(flag) = cached.app.flag(&at.key) else { continue };
                let targeting = cached.app.entry(&At::targeting(environment.as_str(), &at.key));
                let since = targeting.map_or(definition.updated_at, |entry| entry.updated_at);
                let evaluated = last.get(at.key.as_str()).copied();
                let serves_all = why(&flag.wire(environment)).filter(|_| targeting.is_some());
                // Only forwarded flags are evaluated for every request; of the others an edge hears when somebody asks.
                let why = serves_all.or((evaluated.is_none()).then_some("neverEvaluated"));
                if let Some(why) = why.filter(|_| since <= before) {
                    stale.push(StaleFlag {
                        flag: at.key.clone(),
                        environment: environment.as_str().to_owned(),
                        why: why.to_owned(),
                        since: ids::rfc3339(since),
                        last_evaluated: evaluated.map(ids::rfc3339),
                    });
                }
            }
        }
        Ok(stale)
    }
}

/// Whether everybody gets the same.
fn why(flag: &FlagWire) -> Option<&'static str> {
    if !flag.enabled {
        return Some("fullyOff");
    }
    if !flag.rules.is_empty() || !flag.prerequisites.is_empty() {
        return None;
    }
    let whole = |split: &Vec<edge_engine::wire::RangeWire>| match split.as_slice() {
        [only] => Some(only.variant.clone()),
        _ => None,
    };
    let served = flag.fallthrough.serve.clone().or_else(|| flag.fallthrough.split.as_ref().and_then(whole))?;
    Some(if served == flag.off_variant { "fullyOff" } else { "fullyOn" })
}

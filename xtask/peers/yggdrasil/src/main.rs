//! Unleash's engine on the flag decision of the comparison: 100 flags, `country in (US, DE, FR)`, a sticky 10 %.
//! Prints `yggdrasil_flag NANOSECONDS`.

#[path = "../../timing.rs"]
mod timing;

use std::hint::black_box;

use serde_json::json;
use unleash_types::client_features::{ClientFeatures, Context};
use unleash_yggdrasil::EngineState;

const FLAGS: usize = 100;
/// Decided, like `flag-0050` on our side.
const FLAG: &str = "flag-0050";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let features: Vec<_> = (0..FLAGS)
        .map(|number| {
            json!({"name": format!("flag-{number:04}"), "enabled": true, "strategies": [{
                "name": "flexibleRollout",
                "parameters": {"rollout": "10", "stickiness": "userId", "groupId": format!("flag-{number:04}")},
                "constraints": [{"contextName": "country", "operator": "IN", "values": ["US", "DE", "FR"]}],
            }]})
        })
        .collect();
    let features: ClientFeatures = serde_json::from_value(json!({"version": 2, "features": features}))?;
    let engine = EngineState::default();
    if let Some(warnings) = engine.apply_client_features(features) {
        return Err(format!("{} flags did not compile", warnings.len()).into());
    }
    let contexts: Vec<Context> = (0..1000)
        .map(|user| serde_json::from_value(json!({"userId": format!("user-{user}"), "properties": {"country": "DE"}})))
        .collect::<Result<_, _>>()?;
    // Preflight: a decision that always says no would be fast too.
    let on = contexts.iter().filter(|context| engine.is_enabled(FLAG, context, &None)).count();
    if !(60..=140).contains(&on) {
        return Err(format!("{on} of 1000 users have the flag instead of about 100").into());
    }
    let context = &contexts[42];
    let ns = timing::ns_per_call(|| {
        black_box(engine.is_enabled(black_box(FLAG), black_box(context), &None));
    });
    println!("yggdrasil_flag {ns:.2}");
    Ok(())
}

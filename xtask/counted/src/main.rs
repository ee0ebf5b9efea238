//! Runs an engine scenario a given number of times: `counted SCENARIO SNAPSHOT.json CONTEXT.json TIMES`.
//!
//! `cargo xtask callgrind` runs it with two different numbers and divides the difference of the instruction counts, so
//! that start-up, reading and loading cancel out. Not an example of the engine crate: that crate must not even name a
//! file; and not part of `server`: counting must not need a compiled wasmtime. A member of the workspace, so that the
//! dependencies whose instructions are counted are those that are shipped.

use std::error::Error;
use std::hint::black_box;

use edge_engine::{BucketingKey, Decision, Evaluation, JsonContext, Snapshot, check, decide, fall_back, parse};

/// Any key will do; it must only stay the same.
const KEY: [u8; 16] = *b"bascule-bench-16";
/// 2026-01-01T00:00:00Z.
const NOW_MS: i64 = 1_767_225_600_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [scenario, snapshot, context, times] = arguments.as_slice() else {
        return Err("usage: counted SCENARIO SNAPSHOT.json CONTEXT.json TIMES".into());
    };
    let (document, times) = (std::fs::read(snapshot)?, times.parse::<u32>()?);
    if scenario == "load" {
        for _ in 0..times {
            black_box(load(black_box(&document))?);
        }
        return Ok(());
    }
    let snapshot = load(&document)?;
    let context = JsonContext::parse(&std::fs::read(context)?)?;
    let lists = context.lists(&snapshot);
    let values = context.values(&snapshot, &lists);
    let request = context.request(&values, NOW_MS);
    match scenario.as_str() {
        "flag" => {
            let key =
                snapshot.forwarded().first().and_then(|index| snapshot.flag(*index)).ok_or("no forwarded flag")?;
            let key = key.key().as_str();
            for _ in 0..times {
                let index = snapshot.flag_index(black_box(key)).ok_or("the flag is gone")?;
                black_box(Evaluation::new(black_box(&snapshot), black_box(&request)).flag(index));
            }
        }
        "route" => {
            let mut decision = empty(&snapshot);
            for _ in 0..times {
                decide(black_box(&snapshot), black_box(&request), &mut decision);
                black_box(&decision);
            }
        }
        other => return Err(format!("there is no scenario `{other}`").into()),
    }
    Ok(())
}

fn load(document: &[u8]) -> Result<Snapshot, Box<dyn Error>> {
    let wire = parse(document).map_err(|problems| format!("{problems:?}"))?;
    Ok(check(wire, &BucketingKey::new(KEY)).map_err(|problems| format!("{problems:?}"))?)
}

fn empty(snapshot: &Snapshot) -> Decision {
    let nothing = edge_engine::RequestContext { values: &[], now_ms: NOW_MS };
    let mut decision = Decision { route: Evaluation::new(snapshot, &nothing).route(), flags: Vec::new() };
    fall_back(snapshot, &mut decision);
    decision
}

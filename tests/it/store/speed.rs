//! How long an audited write takes, so that nobody makes it slow unnoticed.

use std::time::{Duration, Instant};

use tests::store::commit;

use super::{Place, run};

/// The median of many commits: an object, an audit entry and a snapshot of 32 KiB each.
async fn median(place: &Place) -> Duration {
    let store = place.open().await;
    let mut times = Vec::new();
    for _ in 0..200 {
        let begun = Instant::now();
        commit(&store).await.expect("committed");
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    println!("audited write: p50 {:?}, p90 {:?}, p99 {:?}", times[100], times[180], times[198]);
    times[100]
}

#[test]
fn an_audited_write_takes_no_time_that_anybody_notices() {
    // An order of magnitude above what is usual here: this is a test of the design, not of the machine.
    run(Place::sqlite(), async |place: &Place| assert!(median(place).await < Duration::from_millis(50)));
    run(Place::postgres(), async |place: &Place| assert!(median(place).await < Duration::from_millis(100)));
}

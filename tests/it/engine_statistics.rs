//! The statistics of `siphash24-v1`, with fixed units and keys: every number here is reproducible.
//!
//! Rates of single flags are right in nearly every flag system; what fails elsewhere is their joint
//! distribution. So pairs are tested: of flags, of flag and traffic, of two environments.

use edge_engine::{
    BUCKETS, Bucketer, BucketingKey, Decision, Domain, JsonContext, ReleaseIndex, RequestContext, Route, RouteReason,
    Slot, Snapshot, Value, VariantIndex, check, decide, parse,
};
use serde_json::{Value as Json, json};

const SOURCE: &str = "header:x-user-id";
const KEY: [u8; 16] = *b"statistics tests";

/// Ids as databases count them.
fn sequential(n: u64) -> String {
    format!("{}", 1_000_000 + n)
}

/// Ids as clients make them: UUIDs of version 4, from a generator with a fixed seed.
fn uuid(n: u64) -> String {
    // splitmix64: neighbouring seeds give unrelated numbers.
    let mix = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let (high, low) = (mix(n.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15)), mix(n.wrapping_mul(2) + 1));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48 & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}

fn bucketer(domain: Domain, salt: &str) -> Bucketer {
    Bucketer::new(&BucketingKey::new(KEY), domain, salt, SOURCE)
}

/// How far the counts are from equal, in standard deviations of chi-square.
fn chi_square_z(counts: &[u32]) -> f64 {
    let total: f64 = counts.iter().map(|count| f64::from(*count)).sum();
    let expected = total / counts.len() as f64;
    let chi: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    let freedom = counts.len() as f64 - 1.0;
    (chi - freedom) / (2.0 * freedom).sqrt()
}

#[track_caller]
fn assert_uniform(salt: &str, id: impl Fn(u64) -> String) {
    const UNITS: u64 = 1_000_000;
    const BINS: u32 = 1_000;
    let bucketer = bucketer(Domain::Flag, salt);
    let mut counts = vec![0; BINS as usize];
    let mut edges = [0_u32; 2];
    for n in 0..UNITS {
        let bucket = bucketer.bucket(id(n).as_bytes());
        assert!(bucket < BUCKETS);
        counts[(bucket / (BUCKETS / BINS)) as usize] += 1;
        edges[0] += u32::from(bucket < 50);
        edges[1] += u32::from(bucket >= BUCKETS - 50);
    }
    let z = chi_square_z(&counts);
    // Too even would be as suspicious as too uneven.
    assert!(z.abs() < 4.0, "salt {salt:?}: chi-square is {z:.2} standard deviations off");
    // Fifty buckets at each end: fifty units expected.
    assert!(edges.iter().all(|count| (20..=85).contains(count)), "salt {salt:?}: {edges:?} at the ends");
}

#[test]
fn a_million_sequential_units_spread_evenly() {
    for salt in ["new-checkout", "", "web-2.0.0"] {
        assert_uniform(salt, sequential);
    }
}

#[test]
fn a_million_random_units_spread_evenly() {
    for salt in ["new-checkout", "", "web-2.0.0"] {
        assert_uniform(salt, uuid);
    }
}

/// z of the number of units in both of two cohorts, were the cohorts independent.
fn joint_z(a: &[bool], b: &[bool]) -> f64 {
    let total = a.len() as f64;
    let count = |cohort: &[bool]| cohort.iter().filter(|member| **member).count() as f64;
    let (in_a, in_b) = (count(a), count(b));
    let both = a.iter().zip(b).filter(|(a, b)| **a && **b).count() as f64;
    let variance = in_a * in_b * (total - in_a) * (total - in_b) / (total * total * (total - 1.0));
    (both - in_a * in_b / total) / variance.sqrt()
}

fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt()
}

const FLAGS: [&str; 14] = [
    "new-checkout",
    "new-checkout-2",
    "dark-mode",
    "search",
    "search-v2",
    "a",
    "b",
    "aa",
    "ab",
    "ba",
    "checkout",
    "promo-2026",
    "promo-2027",
    "recommendations",
];

fn split(parts: &[(&str, u32)]) -> Json {
    let mut from = 0;
    let ranges = parts.iter().map(|(variant, share)| {
        let range = json!({"variant": variant, "from": from, "to": from + share});
        from += share;
        range
    });
    Json::Array(ranges.collect())
}

fn flag(key: &str, parts: &[(&str, u32)]) -> Json {
    let variants: Vec<Json> = parts.iter().map(|(key, _)| json!({"key": key, "value": key})).collect();
    json!({"id": key, "type": "string", "variants": variants, "offVariant": parts[0].0, "enabled": true,
        "forward": true, "fallthrough": {"split": split(parts)}})
}

/// Flags in the order of their keys, which is the order of decisions.
fn snapshot(flags: &[(&str, Json)], weight: u32, key: [u8; 16]) -> Snapshot {
    let flags: serde_json::Map<String, Json> =
        flags.iter().map(|(key, flag)| ((*key).to_owned(), flag.clone())).collect();
    let release = json!({"version": "1", "upstreams": [{"url": "http://127.0.0.1:1"}]});
    let document = json!({"format": "v1", "app": "web", "environment": "production", "number": 1,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k", "unit": [SOURCE],
        "traffic": {"active": "blue", "slots": {"blue": "r1", "green": "r2"}, "candidateWeight": weight, "salt": "new-checkout"},
        "releases": {"r1": release, "r2": release}, "flags": flags});
    check(parse(document.to_string().as_bytes()).unwrap(), &BucketingKey::new(key)).unwrap()
}

/// Decides for every unit; `row` keeps what is of interest.
fn survey<T>(snapshot: &Snapshot, units: u64, id: impl Fn(u64) -> String, row: impl Fn(&Decision) -> T) -> Vec<T> {
    let position = snapshot.needs().iter().position(|attribute| attribute.name() == "header.x-user-id").unwrap();
    let route = Route {
        slot: Slot::Blue,
        release: ReleaseIndex(0),
        reason: RouteReason::Active,
        rule: None,
        bucket: None,
        unit: None,
        renew_pin: false,
    };
    let mut decision = Decision { route, flags: Vec::new() };
    let decided = (0..units).map(|n| {
        let unit = id(n);
        let mut values = vec![Value::Missing; snapshot.needs().len()];
        values[position] = Value::from(unit.as_str());
        decide(snapshot, &RequestContext { values: &values, now_ms: 0 }, &mut decision);
        row(&decision)
    });
    decided.collect()
}

#[track_caller]
fn assert_pairs_are_independent(id: impl Fn(u64) -> String) {
    let flags: Vec<(&str, Json)> =
        FLAGS.iter().map(|key| (*key, flag(key, &[("on", 100_000), ("off", 900_000)]))).collect();
    let snapshot = snapshot(&flags, 0, KEY);
    let rows = survey(&snapshot, 100_000, id, |decision| {
        std::array::from_fn::<bool, 14, _>(|i| decision.flags[i].variant == VariantIndex(0))
    });
    let cohorts: Vec<Vec<bool>> = (0..14).map(|i| rows.iter().map(|row| row[i]).collect()).collect();
    for (key, cohort) in FLAGS.iter().zip(&cohorts) {
        let share = cohort.iter().filter(|member| **member).count();
        assert!((9_600..=10_400).contains(&share), "{key}: {share} of 100 000 units are in a cohort of 10 %");
    }
    let pairs = (0..14).flat_map(|a| (a + 1..14).map(move |b| (a, b)));
    let z: Vec<f64> = pairs.map(|(a, b)| joint_z(&cohorts[a], &cohorts[b])).collect();
    assert_eq!(z.len(), 91);
    assert!(rms(&z) < 1.5, "rms z is {:.2}", rms(&z));
    let worst = z.iter().fold(0.0_f64, |worst, z| worst.max(z.abs()));
    assert!(worst < 4.5, "the worst pair has z = {worst:.2}");
}

#[test]
fn all_pairs_of_fourteen_flags_are_independent_for_sequential_units() {
    assert_pairs_are_independent(sequential);
}

#[test]
fn all_pairs_of_fourteen_flags_are_independent_for_random_units() {
    assert_pairs_are_independent(uuid);
}

/// A rollout decides who is in, a second flag that requires it decides what they see.
#[test]
fn a_rollout_does_not_skew_the_variants_inside_it() {
    let variants = [("red", 250_000), ("green", 250_000), ("blue", 250_000), ("none", 250_000)];
    let mut inner = flag("variants", &variants);
    inner["prerequisites"] = json!([{"flag": "rollout", "is": ["on"]}]);
    inner["variants"].as_array_mut().unwrap().push(json!({"key": "off", "value": "off"}));
    inner["offVariant"] = json!("off");
    let flags = [("rollout", flag("rollout", &[("on", 100_000), ("off", 900_000)])), ("variants", inner)];
    for id in [sequential, uuid] {
        let seen = survey(&snapshot(&flags, 0, KEY), 200_000, id, |decision| decision.flags[1].variant);
        let counts: Vec<u32> =
            (0..4).map(|variant| seen.iter().filter(|seen| seen.0 == variant).map(|_| 1).sum()).collect();
        assert!((19_000..=21_000).contains(&counts.iter().sum::<u32>()), "{counts:?} of 200 000");
        assert!(chi_square_z(&counts) < 4.0, "{counts:?}");
    }
}

/// The same salt on purpose: the domains alone keep them apart.
#[test]
fn a_flag_and_the_traffic_with_one_salt_are_independent() {
    let flags = [("new-checkout", flag("new-checkout", &[("on", 100_000), ("off", 900_000)]))];
    for id in [sequential, uuid] {
        let rows = survey(&snapshot(&flags, 100_000, KEY), 100_000, id, |decision| {
            (decision.flags[0].variant == VariantIndex(0), decision.route.slot == Slot::Green)
        });
        let (flagged, routed): (Vec<bool>, Vec<bool>) = rows.into_iter().unzip();
        let z = joint_z(&flagged, &routed);
        assert!(z.abs() < 4.0, "z = {z:.2}");
    }
}

#[test]
fn the_cohorts_of_two_environments_are_independent() {
    let flags = [("new-checkout", flag("new-checkout", &[("on", 100_000), ("off", 900_000)]))];
    let mut other = KEY;
    other[15] ^= 1;
    let cohorts = |key| {
        survey(&snapshot(&flags, 100_000, key), 100_000, sequential, |decision| {
            (decision.flags[0].variant == VariantIndex(0), decision.route.slot == Slot::Green)
        })
    };
    let (here, there) = (cohorts(KEY), cohorts(other));
    let flagged = |rows: &[(bool, bool)]| rows.iter().map(|row| row.0).collect::<Vec<_>>();
    let routed = |rows: &[(bool, bool)]| rows.iter().map(|row| row.1).collect::<Vec<_>>();
    for z in [joint_z(&flagged(&here), &flagged(&there)), joint_z(&routed(&here), &routed(&there))] {
        assert!(z.abs() < 4.0, "z = {z:.2}");
    }
}

/// Cookies that clients make up are worth nothing: the split does not see them.
#[test]
fn forged_cookies_do_not_change_the_statistics() {
    let release = json!({"version": "1", "upstreams": [{"url": "http://127.0.0.1:1"}]});
    let document = json!({"format": "v1", "app": "web", "environment": "production", "number": 1,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k", "unit": [SOURCE],
        "traffic": {"active": "blue", "slots": {"blue": "r1", "green": "r2"}, "candidateWeight": 100_000, "salt": "s",
            "pin": {"maxAgeSeconds": 600}, "override": {"cookie": "bsc_override"}},
        "releases": {"r1": release, "r2": release}});
    let snapshot = check(parse(document.to_string().as_bytes()).unwrap(), &BucketingKey::new(KEY)).unwrap();
    let mac = "0123456789abcdef0123456789abcdef";
    let slot = |n: u64, cookies: Json| {
        let mut context = json!({"header": {"x-user-id": sequential(n)}});
        context["cookie"] = cookies;
        let context = JsonContext::parse(context.to_string().as_bytes()).unwrap();
        let lists = context.lists(&snapshot);
        let values = context.values(&snapshot, &lists);
        edge_engine::Evaluation::new(&snapshot, &context.request(&values, 0)).route().slot
    };
    for n in 0..20_000 {
        let forged = json!({"bsc_pin": format!("p1.c.r2.300.{mac}"), "bsc_override": format!("o1.green.300.{mac}")});
        assert_eq!(slot(n, forged), slot(n, json!({})));
    }
}

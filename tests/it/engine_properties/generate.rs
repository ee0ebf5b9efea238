//! Snapshots, contexts and mutations from a seed. A failing seed is printed by proptest and replays.

use edge_engine::Value;
use serde_json::{Map, Value as Json, json};

/// splitmix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `0 ≤ n < bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

const ATTRIBUTES: [&str; 9] =
    ["plan", "user.email", "http.path", "header.x-a", "cookie.uid", "ip", "region", "groups", "version"];
const TEXTS: [&str; 12] =
    ["", "a", "gold", "10", "1.0", "1.2.3-rc.1", "10.1.2.3", "::1", "2026-01-01T00:00:00Z", "é日", "eu", "/a/b"];

fn scalar(random: &mut Random) -> Json {
    match random.below(5) {
        0 => json!(random.below(20)),
        1 => json!(random.below(1000) as f64 / 8.0 - 20.0),
        2 => json!(random.chance(50)),
        _ => json!(random.pick(&TEXTS)),
    }
}

fn test(random: &mut Random) -> Json {
    let attr = *random.pick(&ATTRIBUTES);
    let op = *random.pick(&edge_engine::OPERATORS);
    // More than eight values are hashed; patterns and needles are dear.
    let many = random.below(if ["matches", "contains"].contains(&op) { 3 } else { 12 });
    let values = |random: &mut Random, make: &dyn Fn(&mut Random) -> Json| (0..many).map(|_| make(random)).collect();
    let values: Vec<Json> = match op {
        "exists" => Vec::new(),
        "lt" | "lte" | "gt" | "gte" => values(random, &|random| json!(random.below(40) as f64 / 4.0)),
        "before" | "after" => {
            let attr = if random.chance(50) { "now" } else { attr };
            return json!({"attr": attr, "op": op, "values": ["2026-01-01T00:00:00Z"]});
        }
        "matches" => values(random, &|random| json!(random.pick(&["^a", "[0-9]+", "g.ld$", "(?i)GOLD", "", "é"]))),
        "cidr" => values(random, &|random| json!(random.pick(&["10.0.0.0/8", "::/0", "10.1.2.3"]))),
        op if op.starts_with("semver") => values(random, &|random| json!(random.pick(&["1.2.3", "1", "v2.0-beta"]))),
        _ => values(random, &scalar),
    };
    json!({"attr": attr, "op": op, "values": values})
}

/// A condition that may refer to segments and flags below these numbers.
fn condition(random: &mut Random, depth: usize, segments: usize, flags: usize) -> Json {
    let inner = |random: &mut Random| {
        let parts = random.below(4);
        (0..parts).map(|_| condition(random, depth + 1, segments, flags)).collect::<Vec<_>>()
    };
    match random.below(if depth > 3 { 4 } else { 9 }) {
        4 | 5 => json!({"all": inner(random)}),
        6 | 7 => json!({"any": inner(random)}),
        8 => json!({"not": condition(random, depth + 1, segments, flags)}),
        2 if segments > 0 => json!({"segment": format!("s{}", random.below(segments))}),
        3 if flags > 0 => json!({"flag": format!("f{}", random.below(flags)), "is": [random.pick(&["a", "b", "c"])]}),
        _ => test(random),
    }
}

fn split(random: &mut Random) -> Json {
    let mut cuts: Vec<usize> = (0..random.below(6)).map(|_| 1 + random.below(999_999)).collect();
    cuts.push(1_000_000);
    cuts.sort_unstable();
    cuts.dedup();
    let mut from = 0;
    let ranges = cuts.into_iter().map(|to| {
        let range = json!({"variant": random.pick(&["a", "b", "c"]), "from": from, "to": to});
        from = to;
        range
    });
    Json::Array(ranges.collect())
}

fn serve(random: &mut Random) -> (&'static str, Json) {
    if random.chance(50) { ("split", split(random)) } else { ("serve", json!(random.pick(&["a", "b", "c"]))) }
}

fn flag(random: &mut Random, index: usize, segments: usize) -> Json {
    let rules: Vec<Json> = (0..random.below(4))
        .map(|i| {
            let (form, what) = serve(random);
            json!({"id": format!("r{i}"), "when": condition(random, 0, segments, index), form: what})
        })
        .collect();
    let (form, what) = serve(random);
    let mut flag = json!({"id": format!("id-{index}"), "type": "string", "offVariant": random.pick(&["a", "b", "c"]),
        "variants": [{"key": "a", "value": "A"}, {"key": "b", "value": "\"B\"\n"}, {"key": "c", "value": "é"}],
        "enabled": random.chance(85), "forward": random.chance(60), "rules": rules, "fallthrough": {form: what}});
    if index > 0 && random.chance(30) {
        flag["prerequisites"] = json!([{"flag": format!("f{}", random.below(index)), "is": ["a", "b"]}]);
    }
    if random.chance(20) {
        flag["unit"] = json!(["attribute:user.email", "cookie:uid"]);
    }
    flag
}

/// A snapshot that is well formed, and cheap enough nearly always.
pub(super) fn snapshot(random: &mut Random) -> Json {
    let (segments, flags) = (random.below(4), random.below(7));
    let release = json!({"version": "1", "upstreams": [{"url": "http://127.0.0.1:1"}]});
    let all: Map<String, Json> =
        (0..segments).map(|i| (format!("s{i}"), json!({"when": condition(random, 0, i, 0)}))).collect();
    let flags_of: Map<String, Json> = (0..flags).map(|i| (format!("f{i}"), flag(random, i, segments))).collect();
    let rules: Vec<Json> = (0..random.below(3))
        .map(|i| {
            let slot = random.pick(&["blue", "green"]);
            json!({"id": format!("r{i}"), "when": condition(random, 0, segments, flags), "slot": slot})
        })
        .collect();
    let mut traffic = json!({"active": random.pick(&["blue", "green"]), "slots": {"blue": "r1", "green": "r2"},
        "candidateWeight": *random.pick(&[0, 1, 250_000, 500_000, 999_999, 1_000_000]), "salt": "t", "rules": rules});
    if random.chance(50) {
        traffic["pin"] = json!({"maxAgeSeconds": 600});
    }
    if random.chance(50) {
        traffic["override"] = json!({"header": "x-o", "cookie": "o"});
    }
    if random.chance(50) {
        traffic["regions"] = json!({"eu": {"candidateWeight": random.below(1_000_001)}});
    }
    if random.chance(20) {
        traffic["rolledBack"] = json!([random.pick(&["r1", "r2"])]);
    }
    json!({"format": "v1", "app": "web", "environment": "production", "number": 1,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k", "unit": ["header:u", "attribute:user.id"],
        "traffic": traffic, "releases": {"r1": release, "r2": release}, "segments": all, "flags": flags_of})
}

/// A context that knows some of the attributes, in one of the two ways to write them.
pub(super) fn context(random: &mut Random) -> Json {
    let mut context = json!({});
    for name in ATTRIBUTES.iter().chain(&["header.u", "user.id", "targetingKey", "header.x-o", "cookie.bsc_pin"]) {
        if random.chance(40) {
            continue;
        }
        let value = match random.below(8) {
            0 => Json::Null,
            1 => (0..random.below(4)).map(|_| scalar(random)).collect(),
            _ => scalar(random),
        };
        match name.split_once('.') {
            Some((outer, inner)) if random.chance(60) && context.get(outer).is_none_or(Json::is_object) => {
                context[outer][inner] = value;
            }
            _ => context[*name] = value,
        }
    }
    if random.chance(30) {
        context["now"] = json!("2026-06-01T00:00:00Z");
    }
    context
}

/// Any value a host could pass, well-formed or not.
pub(super) fn any_value<'a>(random: &mut Random, bytes: &'a [u8], lists: &'a [Value<'a>]) -> Value<'a> {
    match random.below(8) {
        0 => Value::Missing,
        1 => Value::Bool(random.chance(50)),
        2 => Value::Number(f64::from_bits(random.next())),
        3 => Value::Number(*random.pick(&[
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            f64::MAX,
            f64::MIN_POSITIVE,
            1e21,
        ])),
        4 => Value::List(&lists[..random.below(lists.len() + 1)]),
        5 => Value::Text(random.pick(&TEXTS).as_bytes()),
        _ => {
            let from = random.below(bytes.len() + 1);
            Value::Text(&bytes[from..from + random.below(bytes.len() - from + 1)])
        }
    }
}

/// Changes one place of a document: another value, a missing or an additional one, or a moved one.
pub(super) fn mutate(document: &mut Json, random: &mut Random) {
    let mut at = &mut *document;
    loop {
        let inside = match at {
            Json::Object(object) => object.len(),
            Json::Array(list) => list.len(),
            _ => 0,
        };
        if inside == 0 || random.chance(15) {
            break;
        }
        let step = random.below(inside);
        at = match at {
            Json::Object(object) => object.values_mut().nth(step).unwrap(),
            Json::Array(list) => &mut list[step],
            _ => unreachable!("scalars have nothing inside"),
        };
    }
    let strange = || {
        vec![
            Json::Null,
            json!(""),
            json!(-1),
            json!(0),
            json!(1_000_001),
            json!(1e300),
            json!([]),
            json!({}),
            json!(true),
            json!("f0"),
            json!("s0"),
            json!("a"),
            json!("\u{0}"),
            json!("x".repeat(300)),
            json!({"flag": "f0", "is": ["a"]}),
            json!({"segment": "s0"}),
            json!({"not": {"all": []}}),
            json!(["a", 1, null]),
            json!("2026-01-01T00:00:00Z"),
        ]
    };
    match (random.below(4), &mut *at) {
        (0, Json::Object(object)) if !object.is_empty() => {
            let key = object.keys().nth(random.below(object.len())).unwrap().clone();
            object.remove(&key);
        }
        (1, Json::Object(object)) => {
            let key = *random.pick(&["f0", "s0", "when", "is", "flag", "segment", "values", "zz", "split"]);
            object.insert(key.to_owned(), random.pick(&strange()).clone());
        }
        (2, Json::Array(list)) if !list.is_empty() => {
            let copy = random.pick(list).clone();
            list.push(copy);
        }
        _ => *at = random.pick(&strange()).clone(),
    }
}

/// The document as text, the members of each object in random order.
pub(super) fn shuffled(json: &Json, random: &mut Random, out: &mut String) {
    match json {
        Json::Object(object) => {
            let mut members: Vec<_> = object.iter().collect();
            for i in (1..members.len()).rev() {
                members.swap(i, random.below(i + 1));
            }
            out.push('{');
            for (i, (key, value)) in members.into_iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                out.push_str(&json!(key).to_string());
                out.push(':');
                shuffled(value, random, out);
            }
            out.push('}');
        }
        Json::Array(list) => {
            out.push('[');
            for (i, value) in list.iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                shuffled(value, random, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

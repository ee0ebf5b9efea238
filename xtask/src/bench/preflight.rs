//! Before anything is timed: proof that every proxy does the same work for the same clients.

use anyhow::{Context as _, Result, bail, ensure};

use super::client::{Answer, Client, header};
use super::documents::HOST;
use super::load::USERS;
use super::stage::{self, ECHO, Running};
use crate::process::say;

/// How far a tenth of the users may be from a tenth: a fair hash misses it by three standard deviations (9.5) once in
/// 400 times, and these hashes give the same every time.
const SHARE: std::ops::RangeInclusive<usize> = 70..=130;

/// The same bodies, the same two arms, the same users for all; a tenth of them, each always the same way; and the same
/// fields added.
pub(super) fn check(proxies: &[Running]) -> Result<()> {
    for proxy in proxies {
        let name = proxy.peer.name();
        let check = || -> Result<usize> {
            let first = arms(&mut Client::connect(proxy.address)?)?;
            let again = arms(&mut Client::connect(proxy.address)?)?;
            ensure!(first == again, "some users went another way the second time");
            let users = first.iter().filter(|green| **green).count();
            ensure!(SHARE.contains(&users), "{users} of {USERS} users went to the second origin");
            added(&Client::connect(proxy.address)?.ask_at(ECHO, 0)?)?;
            Ok(users)
        };
        let users = check().with_context(|| format!("preflight: {name} is not comparable"))?;
        say(format_args!("preflight: {name}: {users} of {USERS} users to the second origin, each the same way twice"));
    }
    Ok(())
}

/// Of each user, whether the second origin answered.
fn arms(client: &mut Client) -> Result<Vec<bool>> {
    let [blue, green] = stage::bodies();
    let arm = |user| {
        let answer = client.ask(user)?;
        ensure!(answer.status == 200, "the answer was {}", answer.status);
        ensure!(header(&answer.head, "x-request-id").is_some(), "the answer has no x-request-id");
        match answer.body {
            body if body == green => Ok(true),
            body if body == blue => Ok(false),
            body => bail!("the answer was neither body: {}", String::from_utf8_lossy(&body)),
        }
    };
    (0..USERS).map(arm).collect()
}

/// The fields that a proxy has to add, as the origin saw them.
fn added(answer: &Answer) -> Result<()> {
    let text = String::from_utf8_lossy(&answer.body);
    let fields: Vec<&str> = text.split(' ').collect();
    let [id, client, scheme, host, trace] = fields[..] else { bail!("the origin saw the fields `{text}`") };
    ensure!(id.len() >= 16, "the origin saw the x-request-id `{id}`");
    ensure!((client, scheme, host) == ("127.0.0.1", "http", HOST), "the origin saw x-forwarded-* of `{text}`");
    ensure!(is_trace(trace), "the origin saw the traceparent `{trace}`");
    Ok(())
}

fn is_trace(value: &str) -> bool {
    let lengths: Vec<usize> = value.split('-').map(str::len).collect();
    lengths == [2, 32, 16, 2] && value.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::{added, is_trace};
    use crate::bench::client::Answer;

    fn saw(body: &str) -> anyhow::Result<()> {
        added(&Answer { status: 200, head: String::new(), body: body.as_bytes().to_vec() })
    }

    #[test]
    fn a_proxy_that_adds_less_is_found() {
        let trace = format!("00-{}-{}-01", "a".repeat(32), "b".repeat(16));
        saw(&format!("0123456789abcdef 127.0.0.1 http bench.example {trace}")).unwrap();
        saw(&format!("0123456789abcdef 127.0.0.1  bench.example {trace}")).unwrap_err();
        saw("0123456789abcdef 127.0.0.1 http bench.example ").unwrap_err();
        assert!(!is_trace("00-a-b-01"));
    }
}

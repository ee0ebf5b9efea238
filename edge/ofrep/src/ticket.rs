//! Tickets: how an `EventSource`, which cannot send headers, proves in its URL that it has a token.
//!
//! A bulk answer names the stream with a ticket in the query: the fingerprint of the token that asked and an expiry,
//! signed with a key that is derived from the environment's secret, so that every edge of the environment takes it. It
//! opens the stream, which carries no values, and nothing else. Whoever serves it treats the URL as a secret.
//!
//! The expiry moves in steps: within a step the same token gets the same URL, so that answers stay equal and keep their
//! `ETag`, and a client that fetches again after it gets a fresh ticket because the `ETag` has changed with it.

use edge_engine::{BucketingKey, TokenKey};

use crate::credentials::Fingerprint;

/// The query parameter.
pub const TICKET_PARAMETER: &str = "ticket";
/// A ticket is good for one to two of these.
pub const TICKET_STEP_SECONDS: i64 = 30 * 60;
const KIND: &str = "e1";

/// Signs and verifies the tickets of one environment.
#[derive(Debug, Clone)]
pub struct Tickets(TokenKey);

impl Tickets {
    /// The tickets of an environment under its secret.
    pub fn new(secret: &BucketingKey, app: &str, environment: &str) -> Self {
        Self(TokenKey::new(secret, KIND, app, environment))
    }

    /// When a ticket of now expires, seconds since 1970: whoever keeps URLs makes a new one when this changes.
    pub fn expiry(now_ms: i64) -> i64 {
        (now_ms.div_euclid(1000).div_euclid(TICKET_STEP_SECONDS).saturating_add(2)).saturating_mul(TICKET_STEP_SECONDS)
    }

    /// The request URI of the stream for whoever has this token, until [`Self::expiry`].
    pub fn stream_uri(&self, token: &Fingerprint, expiry: i64) -> String {
        format!("/ofrep/v1/events?{TICKET_PARAMETER}={}", self.0.sign(&token.hex(), expiry))
    }

    /// Whose ticket it claims to be: how to find its environment. Proves nothing.
    pub fn claimed(ticket: &str) -> Option<Fingerprint> {
        Fingerprint::parse(ticket.strip_prefix(KIND)?.strip_prefix('.')?.split('.').next()?)
    }

    /// The token whose ticket it is, when it is ours and still good.
    pub fn verify(&self, ticket: &str, now_ms: i64) -> Option<Fingerprint> {
        let (subject, expiry) = self.0.verify(ticket.as_bytes())?;
        Fingerprint::parse(subject).filter(|_| now_ms.div_euclid(1000) < expiry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(environment: &str) -> Tickets {
        Tickets::new(&BucketingKey::new([3; 16]), "web", environment)
    }

    fn ticket(uri: &str) -> &str {
        uri.strip_prefix("/ofrep/v1/events?ticket=").unwrap()
    }

    #[test]
    fn a_ticket_opens_the_stream_of_its_environment_until_it_expires() {
        let token = Fingerprint::of("bsc_a");
        let now_ms = 1_800_000_001_000;
        let expiry = Tickets::expiry(now_ms);
        let uri = tickets("production").stream_uri(&token, expiry);
        assert_eq!(Tickets::claimed(ticket(&uri)), Some(token));
        assert_eq!(tickets("production").verify(ticket(&uri), now_ms), Some(token));
        assert_eq!(tickets("production").verify(ticket(&uri), expiry * 1000 - 1), Some(token));
        assert_eq!(tickets("production").verify(ticket(&uri), expiry * 1000), None);
        assert_eq!(tickets("staging").verify(ticket(&uri), now_ms), None);
        assert_eq!(tickets("production").verify("e1.x.9.0", now_ms), None);
    }

    #[test]
    fn a_ticket_stays_the_same_within_a_step_and_lives_at_least_one() {
        let step = TICKET_STEP_SECONDS * 1000;
        for now_ms in [0, 1, step - 1] {
            assert_eq!(Tickets::expiry(now_ms), 2 * TICKET_STEP_SECONDS);
        }
        assert_eq!(Tickets::expiry(step), 3 * TICKET_STEP_SECONDS);
        let _ = (Tickets::expiry(i64::MAX), Tickets::expiry(i64::MIN));
    }

    #[test]
    fn an_override_of_the_engine_is_no_ticket() {
        assert_eq!(Tickets::claimed("o1.green.1800000000.00"), None);
        assert_eq!(Tickets::claimed(""), None);
    }
}

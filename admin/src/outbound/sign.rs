//! Signatures of webhooks as Standard Webhooks has them (version 1): HMAC-SHA256 over `id.timestamp.body`.
//!
//! A receiver takes what one of its secrets signed; with two secrets there are two signatures, so that a secret can be
//! turned without a gap.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use ring::hmac;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// How a secret begins.
const PREFIX: &str = "whsec_";
/// Bytes of a secret, as the standard wants them.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// Secrets that sign.
pub struct Signers(Vec<hmac::Key>);

impl std::fmt::Debug for Signers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signers({})", self.0.len())
    }
}

/// A text that is no secret of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret is {PREFIX} and 24 to 64 bytes in base64, as `echo whsec_$(openssl rand -base64 32)` prints one")]
pub struct InvalidSecret;

impl Signers {
    /// One secret on each line, the newest first.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let keys: Option<Vec<_>> = text.split_ascii_whitespace().map(key).collect();
        keys.filter(|keys| !keys.is_empty()).map(Self).ok_or(InvalidSecret)
    }

    /// The fields of a message. `id` stays the same when it is sent again.
    pub fn fields(&self, id: &str, unix_seconds: i64, body: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
        let mut signed = format!("{id}.{unix_seconds}.").into_bytes();
        signed.extend_from_slice(body);
        let signatures: Vec<String> =
            self.0.iter().map(|key| format!("v1,{}", STANDARD.encode(hmac::sign(key, &signed)))).collect();
        let fields = [(ID, id.to_owned()), (TIMESTAMP, unix_seconds.to_string()), (SIGNATURE, signatures.join(" "))];
        fields.into_iter().filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))).collect()
    }
}

fn key(text: &str) -> Option<hmac::Key> {
    let bytes = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
    LENGTHS.contains(&bytes.len()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the standard's own reference implementations.
    #[test]
    fn the_standards_example_has_its_signature() {
        let signers = Signers::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let body = br#"{"test": 2432232314}"#;
        let fields = signers.fields("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        let signature = fields.iter().find(|(name, _)| *name == SIGNATURE).map(|(_, value)| value.as_bytes());
        assert_eq!(signature, Some(&b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="[..]));
    }

    #[test]
    fn two_secrets_sign_twice_and_what_is_none_is_refused() {
        let two = format!("whsec_{}\nwhsec_{}\n", STANDARD.encode([1; 32]), STANDARD.encode([2; 32]));
        let fields = Signers::parse(&two).expect("two secrets").fields("id", 1, b"{}");
        let signature = fields.iter().find(|(name, _)| *name == SIGNATURE).expect("signed").1.to_str().expect("text");
        assert_eq!(signature.split(' ').count(), 2);
        for bad in ["", "canary", "whsec_", "whsec_AAAA", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_!"] {
            assert_eq!(Signers::parse(bad).map(|_| ()), Err(InvalidSecret), "{bad}");
        }
    }
}

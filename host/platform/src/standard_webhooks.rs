//! Standard Webhooks, the receiver's side: verifies the sender and the time of a message.
//!
//! `webhook-signature` holds one or more `v1,BASE64`, each the HMAC-SHA256 of `ID.SECONDS.BODY` under a secret that both
//! sides know. During a rotation, two secrets are valid. Repeated messages are not detected here: their items take effect only
//! once.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use larder_model::time::Millis;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// How much the sender's clock may differ from ours.
const TOLERANCE_MS: Millis = 5 * 60 * 1_000;
const PREFIX: &str = "whsec_";
const SECRET_BYTES: usize = 32;
/// The size of a secret that the sender chose, by the specification.
const GIVEN_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Signatures of one message that are checked.
const SIGNATURES_MAX: usize = 16;

/// A secret of a push endpoint.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// `whsec_` and base64.
    pub text: String,
    /// When it expires; `None`: it is valid until it is replaced.
    pub until_ms: Option<Millis>,
}

impl Secret {
    pub fn generate() -> Secret {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        Secret { text: format!("{PREFIX}{}", BASE64_STANDARD.encode(bytes)), until_ms: None }
    }

    /// A secret that the sender chose: base64 of 24 to 64 bytes, with or without the prefix `whsec_`.
    pub fn given(text: &str) -> Result<Secret, InvalidSecret> {
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        let bytes = BASE64_STANDARD.decode(text).map(|bytes| bytes.len());
        match bytes.is_ok_and(|bytes| GIVEN_BYTES.contains(&bytes)) {
            true => Ok(Secret { text: format!("{PREFIX}{text}"), until_ms: None }),
            false => Err(InvalidSecret),
        }
    }

    fn key(&self) -> Option<hmac::Key> {
        let bytes = BASE64_STANDARD.decode(self.text.strip_prefix(PREFIX)?).ok()?;
        Some(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }
}

/// A text is no secret of Standard Webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be base64 of 24 to 64 bytes, with or without whsec_ in front (Standard Webhooks)")]
pub struct InvalidSecret;

/// Why a message is refused. Senders get the same answer for all reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    #[error("webhook-id, webhook-timestamp or webhook-signature is missing or malformed")]
    Headers,
    #[error("webhook-timestamp is more than 5 minutes from now")]
    Time,
    #[error("no signature is under a secret of this feed")]
    Signature,
}

/// The signature headers of a message, whose timestamp is recent enough.
pub struct Signed<'a> {
    id: &'a str,
    seconds: &'a str,
    signatures: Vec<Vec<u8>>,
}

impl<'a> Signed<'a> {
    /// Checks what needs no secret.
    pub fn read(headers: &'a HeaderMap, now: Millis) -> Result<Signed<'a>, Forged> {
        let header = |name: &str| {
            let mut all = headers.get_all(name).iter();
            let only = all.next().and_then(|value| value.to_str().ok()).ok_or(Forged::Headers)?;
            if all.next().is_some() { Err(Forged::Headers) } else { Ok(only) }
        };
        let (id, seconds) = (header("webhook-id")?, header("webhook-timestamp")?);
        let at: Millis = match seconds.bytes().all(|b| b.is_ascii_digit()) {
            true => seconds.parse::<i64>().ok().and_then(|at| at.checked_mul(1_000)).ok_or(Forged::Headers)?,
            false => return Err(Forged::Headers),
        };
        if now.abs_diff(at) > TOLERANCE_MS.unsigned_abs() {
            return Err(Forged::Time);
        }
        let v1 = header("webhook-signature")?.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
        let signatures = v1.filter_map(|text| BASE64_STANDARD.decode(text).ok()).take(SIGNATURES_MAX).collect();
        Ok(Signed { id, seconds, signatures })
    }

    /// Verifies that one of the signatures was made with one of the secrets, in constant time.
    pub fn verify(&self, body: &[u8], secrets: &[Secret], now: Millis) -> Result<(), Forged> {
        let message = [self.id.as_bytes(), b".", self.seconds.as_bytes(), b".", body].concat();
        let good = secrets.iter().filter(|secret| secret.until_ms.is_none_or(|until| now < until));
        for key in good.filter_map(Secret::key) {
            if self.signatures.iter().any(|signature| hmac::verify(&key, &message, signature).is_ok()) {
                return Ok(());
            }
        }
        Err(Forged::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_614_265_330_000;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn secret(text: &str, until_ms: Option<Millis>) -> Secret {
        Secret { text: text.into(), until_ms }
    }

    /// The example of the Standard Webhooks libraries.
    fn example() -> (Secret, Vec<(&'static str, &'static str)>) {
        let headers = vec![
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        (secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None), headers)
    }

    fn check(headers: &[(&'static str, &str)], body: &[u8], secrets: &[Secret], now: Millis) -> Result<(), Forged> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Signed::read(&map, now)?.verify(body, secrets, now)
    }

    #[test]
    fn the_example_of_the_specification_verifies_and_variations_do_not() {
        let (key, headers) = example();
        let keys = std::slice::from_ref(&key);
        assert_eq!(check(&headers, BODY, keys, NOW), Ok(()));
        assert_eq!(check(&headers, &BODY[1..], keys, NOW), Err(Forged::Signature));
        assert_eq!(check(&headers, BODY, &[], NOW), Err(Forged::Signature));
        assert_eq!(check(&headers, BODY, &[Secret::generate()], NOW), Err(Forged::Signature));
        for (at, value, why) in [
            (0, "msg_other", Forged::Signature),
            (1, "1614265331", Forged::Signature),
            (1, "+1614265330", Forged::Headers),
            (1, "99999999999999999999", Forged::Headers),
            (2, "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", Forged::Signature),
            (2, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA=", Forged::Signature),
            (2, "v1,", Forged::Signature),
            (2, "", Forged::Signature),
        ] {
            let mut changed = headers.clone();
            changed[at].1 = value;
            assert_eq!(check(&changed, BODY, keys, NOW), Err(why), "{value}");
        }
        for missing in 0..3 {
            let mut fewer = headers.clone();
            let gone = fewer.remove(missing);
            assert_eq!(check(&fewer, BODY, keys, NOW), Err(Forged::Headers));
            fewer.extend([gone, gone]);
            assert_eq!(check(&fewer, BODY, keys, NOW), Err(Forged::Headers), "twice");
        }
    }

    #[test]
    fn a_senders_own_secret_must_be_well_formed() {
        let (key, headers) = example();
        let bare = key.text.strip_prefix(PREFIX).unwrap();
        for text in [&key.text[..], bare] {
            let given = Secret::given(text).expect("it is one");
            assert_eq!(given.text, key.text);
            assert_eq!(check(&headers, BODY, &[given], NOW), Ok(()));
        }
        for bad in ["", "whsec_", "whsec_c2hvcnQ=", "not base64 at all, but long enough", &"A".repeat(88)] {
            assert!(Secret::given(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn clocks_may_differ_by_five_minutes() {
        let (key, headers) = example();
        let keys = std::slice::from_ref(&key);
        for (offset, expected) in
            [(300_000, Ok(())), (-300_000, Ok(())), (300_001, Err(Forged::Time)), (-300_001, Err(Forged::Time))]
        {
            assert_eq!(check(&headers, BODY, keys, NOW + offset), expected, "{offset}");
        }
    }

    #[test]
    fn several_secrets_are_valid_until_they_expire() {
        let (key, headers) = example();
        let (new, old) = (Secret::generate(), secret(&key.text, Some(NOW + 1)));
        assert_eq!(check(&headers, BODY, &[new.clone(), old.clone()], NOW), Ok(()));
        assert_eq!(check(&headers, BODY, &[new, old], NOW + 1), Err(Forged::Signature));
        let mut several = headers.clone();
        let both = format!("v1,AAAA v2,x {}", headers[2].1);
        several[2].1 = &both;
        assert_eq!(check(&several, BODY, &[key], NOW), Ok(()));
    }
}

//! Certificates of the installation's names, made by an ACME authority (RFC 8555).

use crate::time::Millis;

/// A name that needs a certificate, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub name: String,
    /// When the authority is asked next: for the first certificate, again after a failure, or for a renewal.
    pub due_at_ms: Millis,
    /// Failures in a row.
    pub failures: u32,
    /// Why the last attempt failed; empty if it did not.
    pub error: String,
    /// Of the newest certificate.
    pub not_after_ms: Option<Millis>,
}

/// A certificate with its private key.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    pub name: String,
    /// From the leaf to the last intermediate, in PEM.
    pub chain: String,
    pub sealed_key: Vec<u8>,
    pub not_before_ms: Millis,
    pub not_after_ms: Millis,
    pub changed_at_ms: Millis,
}

/// How an authority finds out whether a name is ours.
#[derive(Clone, Copy, Debug, serde::Deserialize, PartialEq, Eq)]
pub enum ChallengeKind {
    /// By HTTP at port 80 (RFC 8555, section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// By TLS at port 443 (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl ChallengeKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ChallengeKind::Http01 => "http-01",
            ChallengeKind::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

/// What a challenge is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    pub name: String,
    pub kind: ChallengeKind,
    pub token: String,
    /// The key authorization (RFC 8555, section 8.1).
    pub answer: String,
    pub expires_at_ms: Millis,
}

/// Orders of a partner are counted for so long.
pub const COUNTED_MS: Millis = 7 * 24 * 3_600_000;

/// When a certificate is renewed that its authority suggests no time for: at two thirds of its lifetime.
pub fn renew_at_ms(not_before_ms: Millis, not_after_ms: Millis) -> Millis {
    not_before_ms + (not_after_ms - not_before_ms) / 3 * 2
}

/// When a name is tried again that failed so often in a row: soon at first, then at growing intervals up to a day. As long as
/// it has a certificate it is tried at least four times in what remains of that.
pub fn retry_at_ms(now: Millis, failures: u32, not_after_ms: Option<Millis>) -> Millis {
    const FIRST_MS: Millis = 30_000;
    const DAY_MS: Millis = 24 * 3_600_000;
    let growing = FIRST_MS.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(DAY_MS);
    let remaining = not_after_ms.map_or(DAY_MS, |end| ((end - now) / 4).max(5_000));
    now + growing.min(remaining)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewals_and_retries_leave_time() {
        const DAY: Millis = 24 * 3_600_000;
        assert_eq!(renew_at_ms(0, 90 * DAY), 60 * DAY);
        assert_eq!(renew_at_ms(1_000_000, 1_120_000), 1_080_000);
        assert_eq!(retry_at_ms(0, 1, None), 30_000);
        assert_eq!(retry_at_ms(0, 4, None), 240_000);
        assert_eq!(retry_at_ms(0, 40, None), DAY);
        // 40 s before the end of a certificate of two minutes.
        assert_eq!(retry_at_ms(80_000, 1, Some(120_000)), 90_000);
        assert_eq!(retry_at_ms(119_000, 3, Some(120_000)), 124_000);
        assert_eq!(retry_at_ms(0, 9, Some(30 * DAY)), 128 * 60_000);
    }
}

//! Named outside HTTP services: how they are reached, what they are protected by, and what is kept of their answers.
//!
//! The JSON form of [`UpstreamSettings`] is what the API speaks and what is stored. What the credential's text is stands
//! nowhere in it: that is sealed beside, bound by [`Upstream::place`] to the one origin that it may be sent to.

use std::time::Duration;

use http::Uri;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::PartnerId;
use crate::time::Millis;

/// Shorter ones would be found by chance in answers, from which they are scrubbed.
pub const SECRET_BYTES_MIN: usize = 8;
pub const SECRET_BYTES_MAX: usize = 4_096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `None`: the operator's, for every partner's functions that are granted it.
    pub owner: Option<PartnerId>,
    /// A DNS label: guests call `http://NAME.upstream/path`.
    pub name: String,
    pub settings: UpstreamSettings,
    /// The credential's text; see `secrets`.
    pub sealed: Option<Vec<u8>>,
    /// Another one for each text that was given.
    pub secret_revision: String,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

impl Upstream {
    /// What the credential is sealed for. An upstream that is moved to another origin needs its credential anew, so whoever
    /// may only change where it points cannot have the credential sent to themselves.
    pub fn place(&self) -> [String; 5] {
        let owner = self.owner.as_ref().map_or(String::new(), ToString::to_string);
        let settings = &self.settings;
        ["upstream".into(), owner, self.name.clone(), settings.origin(), settings.credential.word().into()]
    }
}

impl Upstream {
    /// The names of what differs.
    pub fn changes(&self, new: &Upstream) -> Vec<String> {
        let members = |upstream: &Upstream| match serde_json::to_value(&upstream.settings) {
            Ok(serde_json::Value::Object(members)) => members,
            _ => serde_json::Map::new(),
        };
        let (old_members, new_members) = (members(self), members(new));
        let mut names: Vec<String> = old_members.keys().chain(new_members.keys()).cloned().collect();
        names.retain(|name| old_members.get(name) != new_members.get(name));
        names.extend((self.secret_revision != new.secret_revision).then(|| "secret".into()));
        names.dedup();
        names
    }
}

/// Is this a name of an upstream?
pub fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamSettings {
    /// `https://api.example/v2`. Functions reach what lies at and below its path.
    pub url: String,
    /// How the credential goes with each request.
    #[serde(default)]
    pub credential: CredentialKind,
    /// Until there is a connection.
    #[serde(default = "UpstreamSettings::connect_ms")]
    pub connect_ms: u64,
    /// Until the head of the answer, and between parts of its body.
    #[serde(default = "UpstreamSettings::answer_ms")]
    pub answer_ms: u64,
    /// Until the answer is whole, waiting for a turn included.
    #[serde(default = "UpstreamSettings::total_ms")]
    pub total_ms: u64,
    /// Requests in a minute, over all processes as far as Redis tells. 0: as many as are made.
    #[serde(default)]
    pub rate_per_minute: u64,
    /// Requests at once, in each process.
    #[serde(default = "UpstreamSettings::concurrency")]
    pub concurrency: u32,
    /// How long a request may wait for its turn under the rate and the concurrency.
    #[serde(default = "UpstreamSettings::wait_ms")]
    pub wait_ms: u64,
    /// Of an answer's body.
    #[serde(default = "UpstreamSettings::bytes_max")]
    pub bytes_max: u64,
    /// The private networks (CIDR) in which it may lie, which the operator's `egress.private_networks` must contain.
    #[serde(default)]
    pub networks: Vec<String>,
    #[serde(default)]
    pub cache: CacheSettings,
    #[serde(default)]
    pub breaker: BreakerSettings,
}

/// Whether answers are kept (RFC 9111).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CacheSettings {
    /// By what the headers of requests and answers say; `false`: never.
    pub enabled: bool,
    /// Of a body; larger answers are not kept.
    pub bytes_max: u64,
    /// Answers are fresh for so long, whatever freshness they state. `no-store` and `private` are obeyed all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u32>,
}

/// When an upstream that fails is left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BreakerSettings {
    /// Opens after so many failures within the window, if they are at least half of its requests. 0: never.
    pub failures: u32,
    pub window_ms: u64,
    /// How long it stays open before one request may try.
    pub rest_ms: u64,
}

/// How the credential goes with each request. It is added by the host, after everything that a function controls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", tag = "kind", deny_unknown_fields)]
pub enum CredentialKind {
    #[default]
    None,
    /// In this header, in place of `{secret}` in the template.
    Header {
        name: String,
        #[serde(default = "CredentialKind::template")]
        template: String,
    },
    /// As the password of this user (RFC 7617).
    Basic { user: String },
    /// As this parameter of the query.
    Query { name: String },
    /// Not at all: it is the key with which functions sign (HMAC-SHA256).
    Hmac {
        #[serde(default)]
        encoding: KeyEncoding,
    },
}

/// How the text of a signing key becomes bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyEncoding {
    /// Its own.
    #[default]
    Text,
    /// What it encodes; a `whsec_` in front is left out (Standard Webhooks).
    Base64,
}

/// A base URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub tls: bool,
    /// In lower case; an IPv6 address has its brackets.
    pub host: String,
    pub port: u16,
    /// Without a slash at its end; empty for the root.
    pub path: String,
}

impl Base {
    pub fn parse(url: &str) -> Result<Base, String> {
        let uri: Uri = url.parse().map_err(|err| format!("is not a URL: {err}"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("must begin with https:// or http://".into()),
        };
        let authority = uri.authority().ok_or("has no host")?;
        if authority.as_str().contains('@') {
            return Err("must not have a user: the credential is given by itself".into());
        }
        if uri.query().is_some() || url.contains('#') {
            return Err("must not have a query or a fragment".into());
        }
        let path = uri.path().trim_end_matches('/');
        let plain = |segment: &str| {
            !segment.is_empty()
                && !matches!(segment, "." | "..")
                && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b))
        };
        if !path.split('/').skip(1).all(plain) {
            return Err("must have a path of plain segments: no //, /../ or percent-encoding".into());
        }
        Ok(Base {
            tls,
            host: authority.host().to_ascii_lowercase(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: path.to_owned(),
        })
    }

    /// `https://api.example:443`.
    pub fn origin(&self) -> String {
        format!("{}://{}:{}", if self.tls { "https" } else { "http" }, self.host, self.port)
    }
}

impl UpstreamSettings {
    pub fn new(url: &str) -> UpstreamSettings {
        UpstreamSettings {
            url: url.to_owned(),
            credential: CredentialKind::None,
            connect_ms: Self::connect_ms(),
            answer_ms: Self::answer_ms(),
            total_ms: Self::total_ms(),
            rate_per_minute: 0,
            concurrency: Self::concurrency(),
            wait_ms: Self::wait_ms(),
            bytes_max: Self::bytes_max(),
            networks: vec![],
            cache: CacheSettings::default(),
            breaker: BreakerSettings::default(),
        }
    }

    fn connect_ms() -> u64 {
        2_000
    }

    fn answer_ms() -> u64 {
        5_000
    }

    fn total_ms() -> u64 {
        10_000
    }

    fn concurrency() -> u32 {
        16
    }

    fn wait_ms() -> u64 {
        1_000
    }

    fn bytes_max() -> u64 {
        1 << 20
    }

    /// `https://api.example:443/v2`; the URL as it stands if it was never checked.
    pub fn base(&self) -> String {
        Base::parse(&self.url).map_or_else(|_| self.url.clone(), |base| format!("{}{}", base.origin(), base.path))
    }

    /// `https://api.example:443`; empty for a URL that was never checked.
    pub fn origin(&self) -> String {
        Base::parse(&self.url).map(|base| base.origin()).unwrap_or_default()
    }

    pub fn total(&self) -> Duration {
        Duration::from_millis(self.total_ms)
    }

    /// Names the first setting that cannot be, and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        Base::parse(&self.url).map_err(|why| ("url", why))?;
        self.credential.check()?;
        for (name, value, least, most) in [
            ("connectMs", self.connect_ms, 1, 30_000),
            ("answerMs", self.answer_ms, 1, 120_000),
            ("totalMs", self.total_ms, 1, 300_000),
            ("ratePerMinute", self.rate_per_minute, 0, 1_000_000),
            ("concurrency", self.concurrency.into(), 1, 1_000),
            ("waitMs", self.wait_ms, 0, 60_000),
            ("bytesMax", self.bytes_max, 1, 32 << 20),
            ("cache.bytesMax", self.cache.bytes_max, 1, 1 << 20),
            ("cache.maxAgeSeconds", self.cache.max_age_seconds.unwrap_or(1).into(), 1, 31_536_000),
            ("breaker.failures", self.breaker.failures.into(), 0, 1_000),
            ("breaker.windowMs", self.breaker.window_ms, 100, 3_600_000),
            ("breaker.restMs", self.breaker.rest_ms, 100, 3_600_000),
        ] {
            if !(least..=most).contains(&value) {
                return Err((name, format!("must be {least} to {most}, not {value}")));
            }
        }
        if self.networks.len() > 16 {
            return Err(("networks", "may have at most 16".into()));
        }
        Ok(())
    }
}

impl Default for CacheSettings {
    fn default() -> CacheSettings {
        CacheSettings { enabled: false, bytes_max: 64 << 10, max_age_seconds: None }
    }
}

impl Default for BreakerSettings {
    fn default() -> BreakerSettings {
        BreakerSettings { failures: 5, window_ms: 30_000, rest_ms: 10_000 }
    }
}

impl CredentialKind {
    /// Headers that belong to the host or to the message itself.
    const TAKEN: [&str; 11] = [
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "idempotency-key",
        "te",
        "traceparent",
        "transfer-encoding",
        "upgrade",
    ];

    fn template() -> String {
        "Bearer {secret}".into()
    }

    pub fn word(&self) -> &'static str {
        match self {
            CredentialKind::None => "none",
            CredentialKind::Header { .. } => "header",
            CredentialKind::Basic { .. } => "basic",
            CredentialKind::Query { .. } => "query",
            CredentialKind::Hmac { .. } => "hmac",
        }
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        match self {
            CredentialKind::None | CredentialKind::Hmac { .. } => Ok(()),
            CredentialKind::Header { name, template } => {
                let known = name.parse::<http::HeaderName>();
                if !known.is_ok_and(|name| !Self::TAKEN.contains(&name.as_str())) {
                    return Err(("credential.name", format!("{name:?} is not a header that a credential can be in")));
                }
                if template.matches("{secret}").count() != 1 || http::HeaderValue::from_str(template).is_err() {
                    return Err(("credential.template", "must have {secret} once and be printable".into()));
                }
                Ok(())
            }
            CredentialKind::Basic { user } => match user.is_empty() || user.contains(':') || !printable(user) {
                true => Err(("credential.user", "must be printable ASCII without a colon".into())),
                false => Ok(()),
            },
            CredentialKind::Query { name } => match name.is_empty() || !printable(name) {
                true => Err(("credential.name", "must be printable ASCII".into())),
                false => Ok(()),
            },
        }
    }

    /// What of a secret's text cannot be, for this kind of credential; the text itself is not told.
    pub fn check_secret(&self, secret: &str) -> Result<(), String> {
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
            return Err(format!("must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"));
        }
        if !printable(secret) {
            return Err("must be printable ASCII without spaces at its ends".into());
        }
        match self {
            CredentialKind::None => Err("belongs to a `credential` of a kind, and this upstream has none".into()),
            CredentialKind::Hmac { encoding: KeyEncoding::Base64 } if signing_key(secret).is_none() => {
                Err("is not base64, with or without whsec_ in front".into())
            }
            _ => Ok(()),
        }
    }

    /// The bytes of a signing key.
    pub fn key(&self, secret: &str) -> Option<Vec<u8>> {
        match self {
            CredentialKind::Hmac { encoding: KeyEncoding::Text } => Some(secret.as_bytes().to_vec()),
            CredentialKind::Hmac { encoding: KeyEncoding::Base64 } => signing_key(secret),
            _ => None,
        }
    }
}

fn signing_key(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    let text = text.strip_prefix("whsec_").unwrap_or(text);
    base64::engine::general_purpose::STANDARD.decode(text).ok().filter(|key| !key.is_empty())
}

fn printable(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') && text.trim_ascii() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for (name, expected) in [
            ("aggregator", true),
            ("a-1", true),
            ("", false),
            ("A", false),
            ("-a", false),
            ("a-", false),
            ("a.b", false),
        ] {
            assert_eq!(is_name(name), expected, "{name}");
        }
        assert!(!is_name(&"a".repeat(64)));
    }

    #[test]
    fn base_urls() {
        let base = Base::parse("https://API.Example/v2/").unwrap();
        assert_eq!(base, Base { tls: true, host: "api.example".into(), port: 443, path: "/v2".into() });
        assert_eq!(Base::parse("http://10.0.0.5:8080").unwrap().origin(), "http://10.0.0.5:8080");
        for bad in [
            "api.example",
            "ftp://api.example",
            "https://user:secret@api.example",
            "https://api.example/?a=b",
            "https://api.example/a#b",
            "https://api.example/a/../b",
            "https://api.example//a",
            "https://api.example/%2e%2e/a",
            "https:///a",
        ] {
            assert!(Base::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_name_what_is_wrong() {
        let fine = UpstreamSettings::new("https://api.example");
        assert_eq!(fine.check(), Ok(()));
        let named = |change: &dyn Fn(&mut UpstreamSettings)| {
            let mut settings = fine.clone();
            change(&mut settings);
            settings.check().unwrap_err().0
        };
        assert_eq!(named(&|s| s.url = "x".into()), "url");
        assert_eq!(named(&|s| s.connect_ms = 0), "connectMs");
        assert_eq!(named(&|s| s.concurrency = 0), "concurrency");
        assert_eq!(named(&|s| s.breaker.window_ms = 1), "breaker.windowMs");
        let header =
            |name: &str, template: &str| CredentialKind::Header { name: name.into(), template: template.into() };
        assert_eq!(named(&|s| s.credential = header("Host", "{secret}")), "credential.name");
        assert_eq!(named(&|s| s.credential = header("a b", "{secret}")), "credential.name");
        assert_eq!(named(&|s| s.credential = header("X-Key", "secret")), "credential.template");
        assert_eq!(named(&|s| s.credential = CredentialKind::Basic { user: "a:b".into() }), "credential.user");
    }

    #[test]
    fn secrets_fit_their_kind_and_signing_keys_are_bytes() {
        let text = CredentialKind::Hmac { encoding: KeyEncoding::Text };
        let base64 = CredentialKind::Hmac { encoding: KeyEncoding::Base64 };
        assert!(text.check_secret("short").is_err());
        assert!(text.check_secret("long enough\n").is_err());
        assert!(CredentialKind::None.check_secret("long enough").is_err());
        assert!(base64.check_secret("not base64!").is_err());
        assert_eq!(text.key("c2VjcmV0"), Some(b"c2VjcmV0".to_vec()));
        assert_eq!(base64.key("whsec_c2VjcmV0"), Some(b"secret".to_vec()));
        assert_eq!(CredentialKind::Query { name: "k".into() }.key("c2VjcmV0"), None);
    }

    #[test]
    fn a_credential_belongs_to_one_origin() {
        let upstream = |url: &str| Upstream {
            owner: None,
            name: "a".into(),
            settings: UpstreamSettings::new(url),
            sealed: None,
            secret_revision: String::new(),
            created_at_ms: 0,
            updated_at_ms: 0,
        };
        assert_eq!(upstream("https://a.example/x").place(), upstream("https://A.example:443/y").place());
        assert_ne!(upstream("https://a.example").place(), upstream("http://a.example:443").place());
        assert_ne!(upstream("https://a.example").place(), upstream("https://b.example").place());
    }
}

//! Webhooks: where a partner wants to be told of events. Nothing is delivered yet.

use serde::{Deserialize, Serialize};

use crate::ids::{PartnerId, WebhookId};
use crate::time::Millis;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub partner: PartnerId,
    pub id: WebhookId,
    pub name: String,
    pub url: String,
    /// Patterns ([`check_event`]).
    pub events: Vec<String>,
    pub enabled: bool,
    /// The certificate of the other side is checked.
    pub tls: bool,
    pub auth_username: String,
    /// Its [`WebhookSecrets`], sealed.
    pub sealed: Vec<u8>,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

/// What is told nobody again. As JSON it is sealed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSecrets {
    /// Signs what is sent.
    pub secret: String,
    pub auth_password: String,
}

impl Webhook {
    /// What its secrets are sealed for.
    pub fn place(&self) -> [&str; 3] {
        ["webhook", self.partner.as_str(), self.id.as_str()]
    }
}

/// What events are about.
const KINDS: [&str; 17] = [
    "users",
    "databases",
    "tablesdb",
    "documentsdb",
    "vectorsdb",
    "buckets",
    "teams",
    "sites",
    "functions",
    "messages",
    "topics",
    "providers",
    "schedules",
    "rules",
    "reports",
    "variables",
    "webhooks",
];

/// A pattern of 2 to 7 words between dots: what it is about, an id or `*`, and so on.
pub fn check_event(pattern: &str) -> Result<(), &'static str> {
    let words: Vec<&str> = pattern.split('.').collect();
    if !(2..=7).contains(&words.len()) {
        return Err("must have 2 to 7 words with dots between them");
    }
    if !KINDS.contains(&words[0]) {
        return Err("is about nothing that has events");
    }
    let is_word = |word: &&str| {
        *word == "*"
            || ((1..=36).contains(&word.len())
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)))
    };
    if words.iter().all(is_word) { Ok(()) } else { Err("has a word that is neither an id nor *") }
}

/// An absolute URL with http or https, and without credentials, which have members of their own.
pub fn check_url(url: &str) -> Result<(), &'static str> {
    if url.len() > 2_048 {
        return Err("must have at most 2048 characters");
    }
    let uri: http::Uri = url.parse().map_err(|_| "is no URL")?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("must begin with http:// or https://");
    }
    let authority = uri.authority().ok_or("names no host")?;
    if authority.as_str().contains('@') {
        return Err("must not have credentials: use `authUsername` and `authPassword`");
    }
    if url.contains('#') {
        return Err("must not have a fragment");
    }
    authority.as_str().parse::<crate::net::authority::Authority>().map(drop).map_err(|_| "has no host of one meaning")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_about_something() {
        for pattern in ["functions.*", "functions.f.executions.*.update", "rules.r.create", "users.*.sessions.*.delete"]
        {
            assert_eq!(check_event(pattern), Ok(()), "{pattern}");
        }
        for pattern in ["functions", "", "*.*", "cards.*", "functions..x", "functions.a b", "functions.*.a.b.c.d.e.f"] {
            assert!(check_event(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn urls_have_one_meaning() {
        for url in ["https://hooks.bank.example/a?b=1", "http://10.0.0.1:8080/"] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for url in
            ["", "/a", "ftp://x.example", "https://", "https://a@x.example", "https://x.example/#a", "https://127.1/"]
        {
            assert!(check_url(url).is_err(), "{url}");
        }
    }
}

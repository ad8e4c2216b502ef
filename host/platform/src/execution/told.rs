//! What the platform tells a guest of `wasi:http` about its run, in headers. Guests may rely on them: nobody else can send them
//! (`server/web/head`).
//!
//! Each has the name that functions of the replaced platform know. Those that mean something here have one of Larder's beside it.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use larder_model::ids::ExecutionId;
use larder_model::{EndUser, Trigger};

/// Names that begin alike: the known one, and Larder's.
type Names = [HeaderName; 2];

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $end:literal;)*) => {$(
        $(#[$doc])*
        const $name: Names = [
            HeaderName::from_static(concat!("x-appwrite-", $end)),
            HeaderName::from_static(concat!("x-larder-", $end)),
        ];
    )*};
}

names! {
    TRIGGER = "trigger";
    EVENT = "event";
    EXECUTION = "execution-id";
    CLIENT = "client-ip";
    KEY = "key";
    USER = "user-id";
}

/// In the record of a request, too.
pub const CLIENT_IP: HeaderName = HeaderName::from_static("x-appwrite-client-ip");
/// In the record of a request of an end user, too.
pub const USER_ID: HeaderName = HeaderName::from_static("x-appwrite-user-id");
const USER_JWT: HeaderName = HeaderName::from_static("x-appwrite-user-jwt");
const COUNTRY: HeaderName = HeaderName::from_static("x-appwrite-country-code");
const CONTINENT: HeaderName = HeaderName::from_static("x-appwrite-continent-code");
const EU: HeaderName = HeaderName::from_static("x-appwrite-continent-eu");
const NOTHING: HeaderValue = HeaderValue::from_static("");
/// All of these.
const COUNT: usize = 16;

/// A run, as far as headers tell of it.
pub struct Told<'a> {
    pub trigger: Trigger,
    pub execution: &'a ExecutionId,
    pub client: Option<IpAddr>,
    /// The type of the event that triggered it. `None`: it is not told at all, as of a call that somebody waits for.
    pub event: Option<&'a str>,
    /// Who calls. `None`: whom the request's record names, if anybody.
    pub user: Option<User<'a>>,
}

/// An end user who calls.
pub struct User<'a> {
    pub id: &'a str,
    /// The token that the user sent.
    pub jwt: &'a str,
}

/// The id of an end user as headers have it: what they cannot carry is percent-encoded.
pub fn user_id(user: &EndUser) -> String {
    let mut text = String::with_capacity(user.id.len());
    for byte in user.id.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

impl Told<'_> {
    pub fn put(&self, headers: &mut HeaderMap) {
        headers.reserve(COUNT);
        put(headers, TRIGGER, HeaderValue::from_static(self.trigger.word()));
        put_text(headers, EXECUTION, self.execution.as_str());
        if let Some(client) = self.client {
            put_text(headers, CLIENT, &client.to_string());
        } else if let Some(client) = headers.get(CLIENT_IP).cloned() {
            put(headers, CLIENT, client);
        }
        if let Some(event) = self.event {
            put_text(headers, EVENT, event);
        }
        let recorded = headers.get(USER_ID).cloned().unwrap_or(NOTHING);
        let user = self.user.as_ref().and_then(|user| HeaderValue::from_str(user.id).ok()).unwrap_or(recorded);
        put(headers, USER, user);
        let jwt = self.user.as_ref().and_then(|user| HeaderValue::from_str(user.jwt).ok());
        headers.insert(USER_JWT, jwt.unwrap_or(NOTHING));
        headers.insert(COUNTRY, NOTHING);
        headers.insert(CONTINENT, NOTHING);
        headers.insert(EU, HeaderValue::from_static("false"));
    }
}

/// Gives a request the key of its run.
pub fn put_key(headers: &mut HeaderMap, key: &str) {
    put_text(headers, KEY, key);
}

fn put_text(headers: &mut HeaderMap, names: Names, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        put(headers, names, value);
    }
}

fn put(headers: &mut HeaderMap, [known, own]: Names, value: HeaderValue) {
    headers.insert(known, value.clone());
    headers.insert(own, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_by_both_names() {
        let mut headers: HeaderMap = [(USER_ID, HeaderValue::from_static("anna"))].into_iter().collect();
        let execution: ExecutionId = "e1".parse().unwrap();
        let told =
            Told { trigger: Trigger::Event, execution: &execution, client: None, event: Some("card.x"), user: None };
        told.put(&mut headers);
        put_key(&mut headers, "ephemeral_e1");
        for prefix in ["x-appwrite", "x-larder"] {
            for (name, value) in [
                ("trigger", "event"),
                ("event", "card.x"),
                ("execution-id", "e1"),
                ("user-id", "anna"),
                ("key", "ephemeral_e1"),
            ] {
                assert_eq!(headers[format!("{prefix}-{name}")], value);
            }
        }
        assert_eq!(
            (&headers["x-appwrite-user-jwt"], &headers["x-appwrite-continent-eu"]),
            (&NOTHING, &"false".parse().unwrap())
        );
        assert!(!headers.contains_key("x-appwrite-client-ip"));
        assert!(headers.len() <= COUNT);
    }
}

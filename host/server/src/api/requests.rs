//! What all resources use to read requests: ids, datetimes, bodies, path parameters, lists.
//!
//! Bodies and path parameters are checked by the handlers, after they asked whether the caller may: the order of checks
//! is project, key, scope, parameters, existence, state.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use larder_model::ids::BadId;
use larder_model::time::Clock;
use larder_platform::bodies;
use larder_wire::UNIQUE;
use serde::de::DeserializeOwned;
use serde::{Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::api::by_name::ByName;
use crate::problem::Problem;

/// Bytes of a JSON body, where the resource says nothing else.
pub const BODY_MAX: usize = 1 << 20;

/// ISO 8601 with an offset.
pub fn parse_datetime(name: &str, text: &str) -> Result<DateTime<Utc>, Problem> {
    DateTime::parse_from_rfc3339(text.trim())
        .map(|at| at.to_utc())
        .map_err(|err| Problem::argument(name, format!("must be an ISO 8601 datetime with an offset ({err})")))
}

/// An id that the caller gives, by the name of its parameter.
pub fn id<T: FromStr<Err = BadId>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|err| Problem::argument(name, err))
}

/// An id for something new: the caller's choice, or `unique()`.
pub fn new_id<T: FromStr<Err = BadId>>(name: &str, text: &str, clock: &Clock) -> Result<T, Problem> {
    if text == UNIQUE { id(name, &unique(clock)) } else { id(name, text) }
}

/// As the clients make them: 20 lower-case hex digits, seconds first.
fn unique(clock: &Clock) -> String {
    let now = clock.now_ms();
    let mut random = [0; 4];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    format!("{:08x}{:05x}{:07x}", now / 1_000, now % 1_000, u32::from_le_bytes(random) >> 4)
}

/// A parameter that must be there.
pub fn required<T>(name: &str, value: Option<T>) -> Result<T, Problem> {
    value.ok_or_else(|| Problem::argument(name, "is required"))
}

/// A text of so many characters that people read.
pub fn text(name: &str, value: String, chars: RangeInclusive<usize>) -> Result<String, Problem> {
    let text = self::chars(name, value, chars)?;
    larder_model::text::check(&text).map_err(|why| Problem::argument(name, why))?;
    Ok(text)
}

/// So many characters, whatever they are.
pub fn chars(name: &str, value: String, chars: RangeInclusive<usize>) -> Result<String, Problem> {
    if chars.contains(&value.chars().count()) {
        return Ok(value);
    }
    Err(Problem::argument(name, format!("must have {} to {} characters", chars.start(), chars.end())))
}

/// The whole body, read no further than its bound.
pub async fn bytes(body: Body, max: usize) -> Result<Bytes, Problem> {
    Ok(bodies::whole(body, max).await?)
}

/// A JSON body. Nothing at all is as good as `{}`, and members that nobody asks for are ignored.
pub async fn json<T: DeserializeOwned>(body: Body, max: usize) -> Result<T, Problem> {
    parse_json(&bytes(body, max).await?)
}

/// The same for a body that was read already.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = typed(&mut reader)?;
    reader.end().map_err(|err| Problem::argument("body", err))?;
    Ok(value)
}

/// Members of a JSON object as what they must be. An array is no object.
pub fn typed<'de, T: DeserializeOwned, D: Deserializer<'de>>(from: D) -> Result<T, Problem>
where
    D::Error: Display,
{
    serde_path_to_error::deserialize(ByName(from)).map_err(|err| {
        let path = err.path().to_string();
        let name = if path == "." { "body" } else { &path };
        Problem::argument(name, err.inner())
    })
}

/// Replaces what is given; what is not stays.
pub fn patched<T: Serialize + DeserializeOwned>(old: &T, given: Map<String, Value>) -> Result<T, Problem> {
    let Ok(Value::Object(mut whole)) = serde_json::to_value(old) else {
        return Err(Problem::internal("only objects are patched"));
    };
    whole.extend(given);
    typed(Value::Object(whole))
}

/// The parameters of the path, not yet checked.
pub struct Ids(Vec<(String, String)>);

impl Ids {
    pub fn get<T: FromStr<Err = BadId>>(&self, name: &'static str) -> Result<T, Problem> {
        id(name, self.text(name)?)
    }

    /// Does the path have this parameter?
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    pub fn text(&self, name: &'static str) -> Result<&str, Problem> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, text)| text.as_str()).ok_or_else(|| Problem::internal(format!("no path parameter {name}")))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Ids {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Ids, Problem> {
        let raw = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::argument("path", "is not UTF-8 behind its percent-encoding"))?;
        Ok(Ids(raw.iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()))
    }
}

/// 204. Its content type must not be JSON, or clients parse the body that is not there.
#[derive(Clone, Copy, Debug)]
pub struct Deleted;

impl IntoResponse for Deleted {
    fn into_response(self) -> Response {
        (StatusCode::NO_CONTENT, [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))]).into_response()
    }
}

#[cfg(test)]
mod tests {
    use larder_model::ids::FunctionId;

    use super::*;
    use crate::problem::Kind;

    #[test]
    fn datetimes_are_as_the_clients_read_them() {
        assert_eq!(larder_wire::datetime(1_762_335_000_000), "2025-11-05T09:30:00.000+00:00");
        let at = parse_datetime("scheduledAt", "2025-11-05T10:30:00.000+01:00").unwrap();
        assert_eq!(at.timestamp_millis(), 1_762_335_000_000);
        for text in ["", "tomorrow", "2025-11-05", "2025-11-05T10:30:00"] {
            let problem = parse_datetime("scheduledAt", text).unwrap_err();
            assert!(problem.message.contains("scheduledAt"), "{problem}");
        }
    }

    #[test]
    fn ids_are_chosen_or_made() {
        let clock = Clock::manual(1_762_335_000_123);
        let made: FunctionId = new_id("functionId", "unique()", &clock).unwrap();
        assert_eq!(made.as_str().len(), 20);
        assert!(made.as_str().starts_with("690b19180007b"), "{made}");
        let chosen: FunctionId = new_id("functionId", "my.fn-1_x", &clock).unwrap();
        assert_eq!(chosen.as_str(), "my.fn-1_x");
        for text in ["", "-a", "a/b", "ä", &"a".repeat(37)] {
            let problem = new_id::<FunctionId>("functionId", text, &clock).unwrap_err();
            assert_eq!(problem.kind, Kind::ArgumentInvalid);
            assert!(problem.message.contains("functionId"), "{problem}");
        }
    }

    #[test]
    fn a_wrong_body_names_its_member() {
        #[derive(Debug, serde::Deserialize)]
        struct Body {
            #[serde(default)]
            timeout: Option<u32>,
        }
        assert_eq!(parse_json::<Body>(b" ").unwrap().timeout, None);
        assert_eq!(parse_json::<Body>(br#"{"timeout":3,"other":1}"#).unwrap().timeout, Some(3));
        for (body, name) in [
            (&br#"{"timeout":"3"}"#[..], "`timeout`"),
            (br#"{"timeout":-1}"#, "`timeout`"),
            (b"[", "`body`"),
            (b"[]", "`body`"),
            (b"[3]", "`body`"),
            (b"null", "`body`"),
            (b"3", "`body`"),
            (b"{} x", "`body`"),
            (b"not json", "`body`"),
        ] {
            let problem = parse_json::<Body>(body).unwrap_err();
            assert!(problem.message.contains(name), "{problem}");
        }
    }
}

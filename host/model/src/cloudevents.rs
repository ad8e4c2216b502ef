//! CloudEvents 1.0 in: a request's headers and body → events, by the HTTP binding's three modes.
//!
//! * binary: attributes in `ce-*` headers, the body is the data.
//! * structured: `application/cloudevents+json`, one envelope. * batched: `application/cloudevents-batch+json`.
//!
//! A JSON envelope's data is stored byte for byte: an amount that was sent as `12.10` stays `12.10`. Attributes that have no
//! place of their own, `dataschema` and extensions, are stored by name, and go wherever the event goes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use http::{HeaderMap, header};
use serde_json::value::RawValue;

use crate::{StoredEvent, attributes};

/// Events of one batch.
pub const BATCH_MAX: usize = 1_000;

const JSON: &str = "application/json";
/// Of the headers that carry attributes.
pub const PREFIX: &str = "ce-";

/// An event as it came in, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEvent {
    pub id: String,
    pub source: String,
    pub kind: String,
    pub subject: Option<String>,
    /// RFC 3339, UTC.
    pub time: String,
    pub data_content_type: String,
    pub data: Vec<u8>,
    /// The others, by name: `dataschema` and extensions.
    pub attributes: BTreeMap<String, String>,
}

/// What is wrong with a request's events, by attribute and, in a batch, position from 0.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    pub position: Option<usize>,
    pub attribute: String,
    pub why: String,
}

impl Invalid {
    /// `source`, or in a batch `events[3].source`.
    pub fn name(&self) -> String {
        self.position.map_or_else(|| self.attribute.clone(), |at| format!("events[{at}].{}", self.attribute))
    }
}

fn invalid(attribute: &str, why: impl Into<String>) -> Invalid {
    Invalid { position: None, attribute: attribute.to_owned(), why: why.into() }
}

/// Reads the events of a request; `now` is the time of those that tell none.
pub fn parse(headers: &HeaderMap, body: &[u8], now: DateTime<Utc>) -> Result<Vec<CloudEvent>, Invalid> {
    let content_type = match headers.get(header::CONTENT_TYPE) {
        Some(value) => value.to_str().map_err(|_| invalid("content-type", "is not text"))?.trim(),
        None => "",
    };
    match media_type(content_type).as_str() {
        "application/cloudevents+json" => {
            let envelope: &RawValue = json(body)?;
            Ok(vec![structured(envelope, now)?])
        }
        "application/cloudevents-batch+json" => {
            let envelopes: Vec<&RawValue> = json(body)?;
            if envelopes.len() > BATCH_MAX {
                let why = format!("has {} events; a batch may have {BATCH_MAX}", envelopes.len());
                return Err(invalid("body", why));
            }
            let at =
                |(at, envelope)| structured(envelope, now).map_err(|wrong| Invalid { position: Some(at), ..wrong });
            envelopes.into_iter().enumerate().map(at).collect()
        }
        other if other.starts_with("application/cloudevents") => {
            Err(invalid("content-type", format!("{other} is not taken; the JSON formats of CloudEvents are")))
        }
        _ => Ok(vec![binary(headers, content_type, body, now)?]),
    }
}

/// Reads an event that was accepted before, as [`written`] gives it, or as it was sent. It may be one of a function's.
pub fn recorded(envelope: &[u8], now: DateTime<Utc>) -> Result<CloudEvent, Invalid> {
    let (attributes, content_type, data) = members(json(envelope)?)?;
    let without_data = content_type.is_none() && data.is_empty();
    let mut event = attributes.complete(content_type, data, now)?;
    if without_data {
        event.data_content_type.clear();
    }
    Ok(event)
}

/// An accepted event in structured mode, with its data as they were sent.
pub fn written(event: &StoredEvent) -> String {
    let text = |text: &str| RawValue::from_string(serde_json::Value::from(text).to_string()).expect("a string is JSON");
    let attributes = [
        ("specversion", Some("1.0")),
        ("id", Some(&*event.id)),
        ("source", Some(&*event.source)),
        ("type", Some(&*event.kind)),
        ("subject", event.subject.as_deref()),
        ("time", Some(&*event.time)),
        ("datacontenttype", Some(&*event.data_content_type).filter(|of| !of.is_empty())),
    ];
    let known = attributes.into_iter().filter_map(|(name, value)| Some((name, text(value?))));
    let others = event.attributes.iter().map(|(name, value)| (&**name, text(value)));
    let is_json = is_json(&event.data_content_type);
    let raw = || serde_json::from_slice::<&RawValue>(&event.data).ok().map(ToOwned::to_owned);
    let plain = || std::str::from_utf8(&event.data).ok().map(text);
    let data = match if is_json { raw() } else { plain() } {
        _ if event.data.is_empty() => None,
        Some(data) => Some(("data", data)),
        None => Some(("data_base64", text(&BASE64_STANDARD.encode(&event.data)))),
    };
    let members = known.chain(others).chain(data);
    let members: Vec<String> = members.map(|(name, value)| format!("{}:{value}", text(name))).collect();
    format!("{{{}}}", members.join(","))
}

fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn json<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Invalid> {
    serde_json::from_slice(body)
        .map_err(|err| invalid("body", format!("is not the JSON that its content type says: {err}")))
}

/// The attributes of an event before they are checked.
#[derive(Default)]
struct Attributes(BTreeMap<String, String>);

impl Attributes {
    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Of an event from outside.
    fn finish(self, content_type: Option<String>, data: Vec<u8>, now: DateTime<Utc>) -> Result<CloudEvent, Invalid> {
        let event = self.complete(content_type, data, now)?;
        if !is_reserved(&event.source) {
            return Ok(event);
        }
        Err(invalid("source", "is reserved: what begins with /functions names what functions of Larder emit"))
    }

    fn complete(
        mut self,
        data_content_type: Option<String>,
        data: Vec<u8>,
        now: DateTime<Utc>,
    ) -> Result<CloudEvent, Invalid> {
        let version = required("specversion", self.take("specversion"), 8)?;
        if version != "1.0" {
            return Err(invalid("specversion", format!("must be 1.0, not {version:?}")));
        }
        let source = required("source", self.take("source"), 1_024)?;
        if source.contains(|c: char| c.is_whitespace() || "<>\"{}|\\^`".contains(c)) {
            return Err(invalid("source", "is not a URI reference"));
        }
        let time = match self.take("time") {
            None => now,
            Some(text) => DateTime::parse_from_rfc3339(&text)
                .map_err(|err| invalid("time", format!("must be RFC 3339 ({err})")))?
                .to_utc(),
        };
        let event = CloudEvent {
            id: required("id", self.take("id"), 255)?,
            source,
            kind: kind(required("type", self.take("type"), 255)?)?,
            subject: self.take("subject").map(|subject| bounded("subject", subject, 255)).transpose()?,
            time: time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            data_content_type: bounded("datacontenttype", data_content_type.unwrap_or_else(|| JSON.into()), 255)?,
            data,
            attributes: BTreeMap::new(),
        };
        attributes::check(&self.0).map_err(|(name, why)| invalid(&name, why))?;
        Ok(CloudEvent { attributes: self.0, ..event })
    }
}

/// Does it name a function of Larder, however it is written? Only the ledger and the scheduler make such events.
pub fn is_reserved(source: &str) -> bool {
    if !source.starts_with(['/', '.', '%']) {
        return false;
    }
    let path = source.split(['?', '#']).next().unwrap_or_default();
    let mut segments: Vec<String> = Vec::new();
    for segment in path.split('/') {
        let segment = unescape(segment.as_bytes()).unwrap_or_default();
        let segment = String::from_utf8_lossy(&segment).to_ascii_lowercase();
        match segment.as_str() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    // An escaped slash within a segment ends it all the same for whoever unescapes first.
    segments.first().is_some_and(|first| first.split('/').find(|part| !part.is_empty()) == Some("functions"))
}

/// What Larder itself says, nobody else does.
fn kind(kind: String) -> Result<String, Invalid> {
    match crate::grants::reserved_type(&kind) {
        Some(why) => Err(invalid("type", why)),
        None => Ok(kind),
    }
}

/// An event of these attributes, if they are those of one.
pub fn checked(
    attributes: impl IntoIterator<Item = (String, String)>,
    data_content_type: Option<String>,
    data: Vec<u8>,
    now: DateTime<Utc>,
) -> Result<CloudEvent, Invalid> {
    Attributes(attributes.into_iter().collect()).finish(data_content_type, data, now)
}

fn required(name: &str, value: Option<String>, max: usize) -> Result<String, Invalid> {
    bounded(name, value.ok_or_else(|| invalid(name, "is required"))?, max)
}

fn bounded(name: &str, value: String, max: usize) -> Result<String, Invalid> {
    if !(1..=max).contains(&value.chars().count()) {
        return Err(invalid(name, format!("must have 1 to {max} characters")));
    }
    check_chars(name, &value)?;
    Ok(value)
}

/// People read attributes.
fn check_chars(name: &str, value: &str) -> Result<(), Invalid> {
    crate::text::check(value).map_err(|why| invalid(name, why))
}

fn binary(headers: &HeaderMap, content_type: &str, body: &[u8], now: DateTime<Utc>) -> Result<CloudEvent, Invalid> {
    if !headers.keys().any(|name| name.as_str().starts_with(PREFIX)) {
        let why = "is not of CloudEvents, and there are no ce- headers: send one of the two";
        return Err(invalid("content-type", why));
    }
    let mut attributes = Attributes::default();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(PREFIX) else { continue };
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| invalid(name, "is not UTF-8"))?;
        let text = decode(text).ok_or_else(|| invalid(name, "is not percent-encoded UTF-8"))?;
        if attributes.0.insert(name.to_owned(), text).is_some() {
            return Err(invalid(name, "is there twice"));
        }
    }
    if attributes.take("datacontenttype").is_some() {
        return Err(invalid("datacontenttype", "is the content-type header in binary mode"));
    }
    let content_type = (!content_type.is_empty()).then(|| content_type.to_owned());
    attributes.finish(content_type, body.to_vec(), now)
}

/// The value of a `ce-` header: unquoted, then percent-decoded (HTTP binding, section 3.1.3.2).
fn decode(text: &str) -> Option<String> {
    let text = match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => {
            let mut plain = String::with_capacity(quoted.len());
            let mut chars = quoted.chars();
            while let Some(c) = chars.next() {
                plain.push(if c == '\\' { chars.next()? } else { c });
            }
            Cow::Owned(plain)
        }
        None => Cow::Borrowed(text),
    };
    String::from_utf8(unescape(text.as_bytes())?).ok()
}

/// The bytes that percent-encoded ones stand for.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%' {
            let (pair, behind) = behind.split_at_checked(2)?;
            let digit = |b: u8| (b as char).to_digit(16);
            bytes.push((digit(pair[0])? * 16 + digit(pair[1])?) as u8);
            rest = behind;
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    Some(bytes)
}

fn structured(envelope: &RawValue, now: DateTime<Utc>) -> Result<CloudEvent, Invalid> {
    let (attributes, content_type, data) = members(envelope)?;
    attributes.finish(content_type, data, now)
}

/// Attributes, content type and data.
fn members(envelope: &RawValue) -> Result<(Attributes, Option<String>, Vec<u8>), Invalid> {
    let mut members: BTreeMap<String, &RawValue> =
        serde_json::from_str(envelope.get()).map_err(|_| invalid("body", "is not an object"))?;
    let data = members.remove("data");
    let encoded = members.remove("data_base64");
    let mut attributes = Attributes::default();
    for (name, value) in members {
        // null is as good as absent.
        if let Some(text) = attribute(value.get()).map_err(|why| invalid(&name, why))? {
            attributes.0.insert(name, text);
        }
    }
    let content_type = attributes.take("datacontenttype");
    let data = match (data, encoded) {
        (Some(_), Some(_)) => return Err(invalid("data_base64", "and data are both there")),
        (None, None) => vec![],
        (Some(data), None) => match content_type.as_deref() {
            Some(other) if !is_json(other) => match serde_json::from_str::<String>(data.get()) {
                Ok(text) => text.into_bytes(),
                Err(_) => data.get().as_bytes().to_vec(),
            },
            _ => data.get().as_bytes().to_vec(),
        },
        (None, Some(encoded)) => {
            let text: Option<String> = serde_json::from_str(encoded.get()).ok();
            text.and_then(|text| BASE64_STANDARD.decode(text).ok())
                .ok_or_else(|| invalid("data_base64", "is not base64"))?
        }
    };
    Ok((attributes, content_type, data))
}

/// An attribute's value as text: strings, booleans and integers are the types that the JSON format has.
fn attribute(json: &str) -> Result<Option<String>, &'static str> {
    match serde_json::from_str(json) {
        Ok(serde_json::Value::Null) => Ok(None),
        Ok(serde_json::Value::String(text)) => Ok(Some(text)),
        Ok(serde_json::Value::Bool(flag)) => Ok(Some(flag.to_string())),
        Ok(serde_json::Value::Number(number)) if number.is_i64() => Ok(Some(number.to_string())),
        _ => Err("must be a string, a boolean or an integer"),
    }
}

pub(crate) fn is_json(content_type: &str) -> bool {
    let media_type = media_type(content_type);
    media_type.ends_with("/json") || media_type.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::instant;

    fn send(headers: &[(&str, &str)], body: &str) -> Result<Vec<CloudEvent>, Invalid> {
        let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let _: bool = map.append::<http::HeaderName>(name, value);
        }
        parse(&map, body.as_bytes(), instant(1_762_335_000_000))
    }

    fn structured(body: &str) -> Result<CloudEvent, Invalid> {
        send(&[("content-type", "application/cloudevents+json; charset=utf-8")], body).map(|mut all| all.remove(0))
    }

    const CE: [(&str, &str); 4] =
        [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/bank"), ("ce-type", "goal.scored")];

    fn with(extra: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        let mut headers = CE.to_vec();
        for (name, value) in extra {
            headers.retain(|(known, _)| known != name);
            headers.push((name, value));
        }
        headers
    }

    #[test]
    fn binary_mode() {
        let headers = with(&[
            ("content-type", "text/xml"),
            ("ce-subject", "team%20%E2%82%AC"),
            ("ce-time", "2025-11-05T10:30:00.25+01:00"),
            ("ce-traceparent", "00-1"),
        ]);
        let event = CloudEvent {
            id: "1".into(),
            source: "/bank".into(),
            kind: "goal.scored".into(),
            subject: Some("team €".into()),
            time: "2025-11-05T09:30:00.250Z".into(),
            data_content_type: "text/xml".into(),
            data: b"<a/>".to_vec(),
            attributes: [("traceparent".to_owned(), "00-1".to_owned())].into(),
        };
        assert_eq!(send(&headers, "<a/>"), Ok(vec![event]));
        let plain = send(&CE, "").unwrap().remove(0);
        assert_eq!((plain.time.as_str(), plain.data_content_type.as_str()), ("2025-11-05T09:30:00Z", JSON));
        assert_eq!(plain.data, b"");
    }

    #[test]
    fn header_values_are_unquoted_and_decoded() {
        for (text, expected) in [
            ("plain", Some("plain")),
            ("a%2Fb", Some("a/b")),
            (r#""a \"b\" %63""#, Some("a \"b\" c")),
            ("ä", Some("ä")),
            ("100%", None),
            ("%zz", None),
            ("%ff", None),
            (r#""a\""#, None),
        ] {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn structured_mode_keeps_the_data_as_it_was_sent() {
        let base = r#""specversion":"1.0","id":"1","source":"urn:bank:x","type":"t""#;
        let data =
            |rest: &str| structured(&format!("{{{base},{rest}}}")).map(|event| (event.data_content_type, event.data));
        let is = |kind: &str, data: &[u8]| Ok((kind.to_owned(), data.to_vec()));
        assert_eq!(data(r#""data":{"amount": 12.10}"#), is(JSON, br#"{"amount": 12.10}"#));
        assert_eq!(data(r#""data":"text""#), is(JSON, br#""text""#));
        assert_eq!(data(r#""datacontenttype":"text/plain","data":"te\nxt""#), is("text/plain", b"te\nxt"));
        assert_eq!(data(r#""datacontenttype":"application/x+json","data":"t""#), is("application/x+json", br#""t""#));
        assert_eq!(data(r#""datacontenttype":"image/png","data_base64":"AAH/""#), is("image/png", &[0, 1, 255]));
        assert_eq!(data(r#""subject":null,"count":3,"flag":true"#), is(JSON, b""));
        let other =
            super::tests::structured(&format!(r#"{{{base},"count":3,"flag":true,"none":null,"dataschema":"/s"}}"#));
        let expected = [("count", "3"), ("dataschema", "/s"), ("flag", "true")];
        assert_eq!(other.unwrap().attributes, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_written_event_is_read_as_it_was() {
        let now = instant(1_767_323_045_000);
        for (content_type, data, member) in [
            (JSON, &br#"{"amount": 12.10,  "big": 98765432109876543210987}"#[..], r#""data":{"amount": 12.10,  "big""#),
            (JSON, b"not JSON", "data_base64"),
            (JSON, b"", "\"datacontenttype\""),
            ("", b"", "\"time\""),
            ("text/plain", "p\u{e5}se \"x\"\n".as_bytes(), r#""data":"p"#),
            ("image/png", &[0, 159, 146, 150], r#""data_base64":"AJ+Slg==""#),
            ("application/x+json", b"[1]", r#""data":[1]"#),
        ] {
            let event = StoredEvent {
                partner: "demo".parse().unwrap(),
                row: "01KB9M6QX5T4Z1R0A3C7D8E9FG".parse().unwrap(),
                id: "1 \"\u{e5}\"".into(),
                source: "/functions/round-up".into(),
                kind: "card.purchase".into(),
                subject: Some("anna".into()),
                time: "2026-01-02T03:04:05Z".into(),
                data_content_type: content_type.into(),
                data: data.to_vec().into(),
                attributes: [("traceparent".into(), "00-1".into())].into(),
                depth: 1,
                root: None,
                created_at_ms: 1,
            };
            let text = written(&event);
            assert!(text.contains(member), "{text}");
            let read = recorded(text.as_bytes(), now).unwrap();
            assert_eq!((&read.id, &read.source, &read.kind), (&event.id, &event.source, &event.kind));
            assert_eq!((&read.subject, &read.time), (&event.subject, &event.time));
            assert_eq!((&read.data_content_type[..], &read.data[..]), (content_type, data));
            assert_eq!(read.attributes, event.attributes);
            // From outside it is no function's.
            let headers = [("content-type", "application/cloudevents+json")];
            assert_eq!(send(&headers, &text).unwrap_err().attribute, "source");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |headers: &[(&str, &str)]| send(headers, "").unwrap_err().name();
        assert_eq!(wrong(&[]), "content-type");
        assert_eq!(wrong(&[("content-type", "application/cloudevents+avro")]), "content-type");
        let avro = send(&with(&[("content-type", "application/cloudevents+avro")]), "").unwrap_err();
        assert!(avro.why.starts_with("application/cloudevents+avro is not taken"), "{}", avro.why);
        for missing in CE {
            let rest: Vec<_> = CE.into_iter().filter(|header| *header != missing).collect();
            assert_eq!(format!("ce-{}", wrong(&rest)), missing.0);
        }
        assert_eq!(wrong(&with(&[("ce-specversion", "0.3")])), "specversion");
        assert_eq!(wrong(&with(&[("ce-time", "yesterday")])), "time");
        assert_eq!(wrong(&with(&[("ce-time", "2025-11-05T10:30:00")])), "time");
        assert_eq!(wrong(&with(&[("ce-source", "a b")])), "source");
        assert_eq!(wrong(&with(&[("ce-id", "")])), "id");
        assert_eq!(wrong(&with(&[("ce-subject", "%00")])), "subject");
        assert_eq!(wrong(&with(&[("ce-my_ext", "1")])), "my_ext");
        assert_eq!(wrong(&with(&[("ce-data", "1")])), "data");
        assert_eq!(wrong(&with(&[("ce-datacontenttype", "a/b")])), "datacontenttype");
        assert_eq!(wrong(&[CE[0], CE[1], CE[1], CE[2], CE[3]]), "id");
        for (body, name) in [
            ("[]", "body"),
            ("{", "body"),
            ("{}", "specversion"),
            (r#"{"specversion":1.0}"#, "specversion"),
            (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":1,"data_base64":"AA=="}"#, "data_base64"),
            (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data_base64":"?"}"#, "data_base64"),
            (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","Ext":"x"}"#, "Ext"),
            (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","ext":{}}"#, "ext"),
        ] {
            assert_eq!(structured(body).unwrap_err().name(), name, "{body}");
        }
    }

    #[test]
    fn a_batch_is_all_or_nothing_and_tells_the_position() {
        let batch = |body: &str| send(&[("content-type", "application/cloudevents-batch+json")], body);
        let one = r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#;
        assert_eq!(batch(&format!("[{one},{one}]")).unwrap().len(), 2);
        assert_eq!(batch("[]"), Ok(vec![]));
        let wrong = batch(&format!(r#"[{one},{{"specversion":"1.0","id":"2","type":"t"}}]"#)).unwrap_err();
        assert_eq!((wrong.name().as_str(), wrong.why.as_str()), ("events[1].source", "is required"));
        assert_eq!(batch(&format!("[{one},7]")).unwrap_err().name(), "events[1].body");
        assert_eq!(batch(one).unwrap_err().name(), "body");
        let many = format!("[{}]", vec![one; BATCH_MAX + 1].join(","));
        assert!(batch(&many).unwrap_err().why.contains("1001"));
    }

    #[test]
    fn a_source_may_not_name_a_function_however_it_is_written() {
        for source in [
            "/functions",
            "/functions/f",
            "/Functions/f",
            "//functions/f",
            "/./functions/f",
            "/a/../functions/f",
            "./functions",
            "../functions",
            "%2ffunctions/f",
            "/%66unctions/f",
            "/functions?x",
            "/functions#x",
        ] {
            assert!(is_reserved(source), "{source}");
        }
        for source in [
            "/bank",
            "functions/f",
            "/bank/functions",
            "/functionsx",
            "/functions/..",
            "https://a.example/functions",
            "/",
            "/?/functions",
        ] {
            assert!(!is_reserved(source), "{source}");
        }
    }

    #[test]
    fn attributes_have_bounds_that_are_inclusive_and_count_characters() {
        let base = |name: &str, value: &str| {
            let mut all: BTreeMap<String, String> =
                CE.map(|(name, value)| (name[3..].to_owned(), value.to_owned())).into();
            all.insert(name.to_owned(), value.to_owned());
            checked(all, None, vec![], instant(0)).map_err(|wrong| wrong.name())
        };
        for (name, most) in [("id", 255), ("source", 1_024), ("type", 255), ("subject", 255)] {
            assert!(base(name, &"ä".repeat(most)).is_ok(), "{name}");
            assert_eq!(base(name, &"ä".repeat(most + 1)), Err(name.to_owned()));
        }
        assert_eq!(base("type", "larder.x"), Err("type".to_owned()));
        for source in ["a<b", "a>b", "a\"b", "a{b", "a}b", "a|b", "a\\b", "a^b", "a`b", "a b"] {
            assert_eq!(base("source", source), Err("source".to_owned()), "{source}");
        }
        let one = r#"{"specversion":"1.0","id":"1","source":"s","type":"t"}"#;
        let many = format!("[{}]", vec![one; BATCH_MAX].join(","));
        let all = send(&[("content-type", "application/cloudevents-batch+json")], &many);
        assert_eq!(all.map(|all| all.len()), Ok(BATCH_MAX));
    }
}

//! Items of a feed → CloudEvents.
//!
//! A page is JSON: at `items` it has an array of items, or one item. Each attribute of an item's event is a [`Template`]:
//! text in which `{/pointer}` (RFC 6901) stands for a string or whole number of the item, with all its digits. The event's data is the item,
//! byte for byte.
//!
//! The rule: **what is wrong with one item is reported and stops no other**, and what is wrong with the page stops it whole.
//!
//! An event's key is forgotten with the event, after the retention. An item that was published before that could be taken
//! for a new one when it is sent again, so every item has a time, and old ones are left out.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::cloudevents::{self, CloudEvent};
use crate::time::{Millis, instant};

const CURSOR_BYTES_MAX: usize = 1_024;
const JSON: &str = "application/json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mapping {
    /// Where in a page the items are; empty: the page is the items, or the item.
    #[serde(default)]
    #[schema(value_type = String)]
    pub items: Pointer,
    /// Unique for its source, and another for each thing that is told: `{/goal}-{/revision}`.
    #[schema(value_type = String)]
    pub id: Template,
    #[schema(value_type = String)]
    pub source: Template,
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Template,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub subject: Option<Template>,
    /// When the item was published: RFC 3339, or whole seconds or milliseconds since 1970.
    #[schema(value_type = String)]
    pub time: Template,
}

/// A JSON pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pointer(String);

impl TryFrom<String> for Pointer {
    type Error = String;
    fn try_from(text: String) -> Result<Pointer, String> {
        if text.is_empty() || text.starts_with('/') {
            return Ok(Pointer(text));
        }
        Err(format!("{text:?} is not a JSON pointer: it is empty or begins with /"))
    }
}

impl From<Pointer> for String {
    fn from(pointer: Pointer) -> String {
        pointer.0
    }
}

/// Text in which `{/pointer}` stands for a value of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    text: String,
    /// What stands before each pointer, and it; the last has none.
    parts: Vec<(String, Option<Pointer>)>,
}

impl TryFrom<String> for Template {
    type Error = String;
    fn try_from(text: String) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, behind)) = rest.split_once('{') {
            let (pointer, behind) = behind.split_once('}').ok_or_else(|| format!("{text:?} has a {{ without a }}"))?;
            parts.push((before.to_owned(), Some(pointer.to_owned().try_into()?)));
            rest = behind;
        }
        parts.push((rest.to_owned(), None));
        if text.is_empty() || parts.iter().any(|(text, _)| text.contains('}')) {
            return Err(format!("{text:?} is not a text with {{/pointers}} into an item"));
        }
        Ok(Template { text, parts })
    }
}

impl From<Template> for String {
    fn from(template: Template) -> String {
        template.text
    }
}

impl Template {
    /// The text for this item, or which pointer finds nothing that could stand in it.
    fn fill(&self, item: &RawValue) -> Result<String, String> {
        let mut filled = String::new();
        for (text, pointer) in &self.parts {
            filled.push_str(text);
            let Some(pointer) = pointer else { continue };
            let Some(found) = at(item, pointer) else { return Err(format!("{pointer} is not there")) };
            match scalar(found) {
                Some(Scalar::Text(text)) => filled.push_str(&text),
                Some(Scalar::Number(digits)) if is_whole(digits) => filled.push_str(digits),
                _ => return Err(format!("{pointer} is neither a string nor a whole number")),
            }
        }
        Ok(filled)
    }
}

/// What a page contained.
#[derive(Debug, Default, PartialEq)]
pub struct Page {
    pub events: Vec<CloudEvent>,
    /// How many items could not be events, and what was wrong with the last of them.
    pub refused: u64,
    pub last_refused: Option<String>,
    pub newest_at_ms: Option<Millis>,
    /// Where the next page begins; `None`: the page says nothing of it.
    pub next: Option<String>,
}

/// Reads a page of up to `items_max` items; those whose time does not lie within `times` are refused.
pub fn page(
    body: &[u8],
    mapping: &Mapping,
    next: Option<&Pointer>,
    items_max: usize,
    times: RangeInclusive<Millis>,
) -> Result<Page, String> {
    let page: &RawValue = serde_json::from_slice(body).map_err(|err| format!("the page is not JSON: {err}"))?;
    let found = at(page, &mapping.items).ok_or_else(|| format!("the page has no items at {}", mapping.items))?;
    let items: Vec<&RawValue> = if found.get().starts_with('[') {
        serde_json::from_str(found.get()).map_err(|err| format!("the items are not an array: {err}"))?
    } else {
        vec![found]
    };
    if items.len() > items_max {
        return Err(format!("the page has {} items, up to {items_max} are taken", items.len()));
    }
    let mut read = Page::default();
    for (position, item) in items.into_iter().enumerate() {
        match event(item, mapping, &times) {
            Ok((event, at)) => {
                read.newest_at_ms = read.newest_at_ms.max(Some(at));
                read.events.push(event);
            }
            Err(why) => {
                read.refused += 1;
                read.last_refused = Some(format!("items[{position}]: {why}"));
            }
        }
    }
    if let Some(next) = next {
        read.next = match at(page, next).map(|found| (found, scalar(found))) {
            None => None,
            Some((found, None)) if found.get() == "null" => None,
            Some((_, Some(Scalar::Text(text)))) if text.len() <= CURSOR_BYTES_MAX => {
                Some(text).filter(|text| !text.is_empty())
            }
            Some((_, Some(Scalar::Number(digits)))) if digits.len() <= CURSOR_BYTES_MAX => Some(digits.to_owned()),
            Some(_) => {
                return Err(format!(
                    "the cursor at {next} is not a string of up to {CURSOR_BYTES_MAX} bytes or a number"
                ));
            }
        };
    }
    Ok(read)
}

/// What a pointer leads to, as it was sent.
fn at<'a>(from: &'a RawValue, pointer: &Pointer) -> Option<&'a RawValue> {
    let mut here = from;
    for step in pointer.0.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        here = match here.get().as_bytes().first()? {
            b'{' => serde_json::from_str::<BTreeMap<String, &RawValue>>(here.get()).ok()?.remove(&step)?,
            b'[' => {
                // RFC 6901, section 4: no sign, and no zero in front.
                let at = step.parse().ok().filter(|at: &usize| at.to_string() == step)?;
                serde_json::from_str::<Vec<&RawValue>>(here.get()).ok()?.get(at).copied()?
            }
            _ => return None,
        };
    }
    Some(here)
}

enum Scalar<'a> {
    Text(String),
    /// As it was written.
    Number(&'a str),
}

fn scalar(raw: &RawValue) -> Option<Scalar<'_>> {
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok().map(Scalar::Text),
        b'-' | b'0'..=b'9' => Some(Scalar::Number(raw.get())),
        _ => None,
    }
}

fn is_whole(digits: &str) -> bool {
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn event(raw: &RawValue, mapping: &Mapping, times: &RangeInclusive<Millis>) -> Result<(CloudEvent, Millis), String> {
    if !raw.get().starts_with('{') {
        return Err("it is not an object".into());
    }
    let mut attributes = vec![("specversion".to_owned(), "1.0".to_owned())];
    for (name, template) in [
        ("id", Some(&mapping.id)),
        ("source", Some(&mapping.source)),
        ("type", Some(&mapping.kind)),
        ("subject", mapping.subject.as_ref()),
        ("time", Some(&mapping.time)),
    ] {
        let Some(template) = template else { continue };
        let mut text = template.fill(raw).map_err(|why| format!("its {name}: {why}"))?;
        if name == "time" && is_whole(&text) {
            text = of_epoch(&text).ok_or_else(|| format!("its time: {text} is no time since 1970"))?;
        }
        attributes.push((name.to_owned(), text));
    }
    let event =
        cloudevents::checked(attributes, Some(JSON.into()), raw.get().as_bytes().to_vec(), instant(*times.end()))
            .map_err(|wrong| format!("its {}: {}", wrong.name(), wrong.why))?;
    let at = DateTime::parse_from_rfc3339(&event.time).map_err(|err| format!("its time: {err}"))?.timestamp_millis();
    match at {
        at if at < *times.start() => Err(format!("it is too old: {}", event.time)),
        at if at > *times.end() => Err(format!("its time is yet to come: {}", event.time)),
        at => Ok((event, at)),
    }
}

/// Seconds since 1970, or milliseconds: as seconds these would lie thousands of years ahead.
fn of_epoch(digits: &str) -> Option<String> {
    const SECONDS_MAX: i64 = 100_000_000_000;
    // The last year that RFC 3339 can write.
    const MS_MAX: i64 = 253_402_300_799_999;
    let number: i64 = digits.parse().ok()?;
    let ms = if number.abs() < SECONDS_MAX { number.checked_mul(1_000)? } else { number };
    Some(
        DateTime::from_timestamp_millis(Some(ms).filter(|ms| ms.abs() <= MS_MAX)?)?
            .to_rfc3339_opts(SecondsFormat::AutoSi, true),
    )
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 2026-11-21T12:00:00Z.
    const NOON: Millis = 1_795_262_400_000;
    const DAY: Millis = 86_400_000;

    fn mapping() -> Mapping {
        serde_json::from_value(json!({
            "items": "/data/items", "id": "{/goal}-{/revision}", "source": "/matches", "type": "match.goal",
            "subject": "{/by/team}", "time": "{/published}",
        }))
        .unwrap()
    }

    fn read(body: &str) -> Result<Page, String> {
        page(body.as_bytes(), &mapping(), Some(&Pointer("/next".into())), 4, NOON - 13 * DAY..=NOON + DAY)
    }

    fn goal(revision: u32) -> String {
        format!(
            r#"{{"goal": "g-1", "revision":{revision}, "by":{{"team":"AIK"}},"odds":1.10,"published":"2026-11-21T13:00:00+01:00"}}"#
        )
    }

    #[test]
    fn an_item_becomes_an_event_with_the_item_as_it_was_sent() {
        let item = goal(2);
        let page = read(&format!(r#"{{"data": {{"items": [{item}]}}, "next": "c-2"}}"#)).unwrap();
        let event = &page.events[0];
        assert_eq!(
            (event.id.as_str(), event.source.as_str(), event.kind.as_str()),
            ("g-1-2", "/matches", "match.goal")
        );
        assert_eq!((event.subject.as_deref(), event.time.as_str()), (Some("AIK"), "2026-11-21T12:00:00Z"));
        assert_eq!((event.data_content_type.as_str(), event.data.as_slice()), (JSON, item.as_bytes()));
        assert_eq!((page.refused, page.newest_at_ms, page.next.as_deref()), (0, Some(NOON), Some("c-2")));
    }

    #[test]
    fn what_is_wrong_with_one_item_is_told_and_stops_no_other() {
        for (bad, why) in [
            ("7", "not an object"),
            ("{}", "its id: \"/goal\" is not there"),
            (&goal(2).replace("\"g-1\"", "[1]"), "\"/goal\" is neither a string nor a whole number"),
            (&goal(2).replace("2026-11-21", "yesterday "), "its time: must be RFC 3339"),
            (&goal(2).replace("2026-11-21", "2026-11-07"), "too old"),
            (&goal(2).replace("2026-11-21", "2026-11-23"), "yet to come"),
            (&goal(2).replace("AIK", ""), "its subject: must have 1 to 255"),
            (&goal(2).replace("AIK", "A\\u0000"), "control character"),
        ] {
            let page = read(&format!(r#"{{"data":{{"items":[{},{bad},{}]}}}}"#, goal(1), goal(3))).unwrap();
            assert_eq!((page.events.len(), page.refused), (2, 1), "{bad}");
            let told = page.last_refused.unwrap();
            assert!(told.starts_with("items[1]: ") && told.contains(why), "{bad}: {told}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_page_stops_it_whole() {
        let five = vec![goal(1); 5].join(",");
        for (bad, why) in [
            ("", "not JSON"),
            ("{\"data\":", "not JSON"),
            ("[]", "no items at"),
            ("{}", "no items at"),
            (&format!(r#"{{"data":{{"items":[{five}]}}}}"#), "5 items, up to 4"),
            (r#"{"data":{"items":[]},"next":{"page":2}}"#, "the cursor at \"/next\""),
            (&format!(r#"{{"data":{{"items":[]}},"next":"{}"}}"#, "x".repeat(1_025)), "the cursor at"),
        ] {
            let told = read(bad).unwrap_err();
            assert!(told.contains(why), "{bad}: {told}");
        }
    }

    #[test]
    fn a_page_may_be_the_items_or_one_item_and_its_cursor_a_number_or_nothing() {
        let mapping = Mapping { items: Pointer::default(), ..mapping() };
        let read = |body: &str| page(body.as_bytes(), &mapping, None, 4, 0..=NOON + DAY).unwrap();
        assert_eq!(read(&goal(1)).events.len(), 1);
        assert_eq!(read(&format!("[{},{}]", goal(1), goal(2))).events.len(), 2);
        for (next, expected) in [("17", Some("17")), ("null", None), ("\"\"", None)] {
            let body = format!(r#"{{"data":{{"items":[]}},"next":{next}}}"#);
            assert_eq!(super::tests::read(&body).unwrap().next.as_deref(), expected);
        }
    }

    #[test]
    fn times_may_count_from_1970() {
        let told = |time: &str| {
            let item = goal(2).replace("\"2026-11-21T13:00:00+01:00\"", time);
            let page = read(&format!(r#"{{"data":{{"items":[{item}]}}}}"#)).unwrap();
            page.events.first().map(|event| event.time.clone()).ok_or(page.last_refused)
        };
        for text in ["1795262400", "1795262400000", "\"1795262400\"", "\"1795262400000\""] {
            assert_eq!(told(text), Ok("2026-11-21T12:00:00Z".into()), "{text}");
        }
        assert_eq!(told("1795262400250"), Ok("2026-11-21T12:00:00.250Z".into()));
        for (text, why) in [
            ("0", "too old"),
            ("20261121", "too old"),
            ("1795262400000000", "no time since 1970"),
            ("99999999999999999999", "no time since 1970"),
            ("1795262400.5", "neither a string nor a whole number"),
        ] {
            assert!(told(text).unwrap_err().unwrap().contains(why), "{text}");
        }
    }

    #[test]
    fn all_digits_of_a_whole_number_survive_and_nothing_else_is_one() {
        for (number, whole) in [
            ("98765432109876543210987", true),
            ("-18446744073709551617", true),
            ("9007199254740993", true),
            ("0", true),
            ("1.0", false),
            ("1e3", false),
            ("12E2", false),
            ("true", false),
            ("null", false),
        ] {
            let item = goal(2).replace("\"g-1\"", number);
            let page = read(&format!(r#"{{"data":{{"items":[{item}]}},"next":{number}}}"#));
            match whole {
                true => {
                    let page = page.unwrap();
                    assert_eq!(page.events[0].id, format!("{number}-2"));
                    assert_eq!((page.events[0].data.as_slice(), page.next.as_deref()), (item.as_bytes(), Some(number)));
                }
                false if number == "true" => assert!(page.unwrap_err().contains("the cursor at"), "{number}"),
                false => assert_eq!(page.unwrap().refused, 1, "{number}"),
            }
        }
    }

    #[test]
    fn an_item_cannot_speak_for_a_function() {
        for source in ["/functions/f", "{/of}"] {
            let mapping =
                Mapping { source: source.to_owned().try_into().unwrap(), items: Pointer::default(), ..mapping() };
            let item = goal(1).replacen('{', r#"{"of":"/functions/f/schedule","#, 1);
            let page = page(item.as_bytes(), &mapping, None, 4, 0..=NOON + DAY).unwrap();
            assert_eq!((page.events.len(), page.refused), (0, 1));
            assert!(page.last_refused.unwrap().contains("reserved"), "{source}");
        }
    }

    #[test]
    fn templates_and_pointers_are_checked() {
        for bad in ["", "{goal}", "{/goal", "/goal}", "{/a}}"] {
            assert!(Template::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert!(Pointer::try_from("items".to_owned()).is_err());
        let item: &RawValue = serde_json::from_str(r#"{"a/b": {"~": [7, "x"]}, "": "none"}"#).unwrap();
        let filled = |template: &str| Template::try_from(template.to_owned()).unwrap().fill(item);
        assert_eq!(filled("<{/a~1b/~0/0}|{/a~1b/~0/1}|{/}>").unwrap(), "<7|x|none>");
        for missing in ["/a~1b/~0/2", "/a~1b/~0/-", "/a~1b/~0/00", "/a~1b/~0/0/x", "/b"] {
            let template = format!("{{{missing}}}");
            assert_eq!(filled(&template), Err(format!("{missing:?} is not there")));
        }
    }

    #[test]
    fn bounds_are_inclusive() {
        let items = |count: usize| format!(r#"{{"data":{{"items":[{}]}}}}"#, vec![goal(1); count].join(","));
        assert_eq!(read(&items(4)).unwrap().events.len(), 4);
        assert!(read(&items(5)).is_err());
        let cursor = |next: &str| read(&format!(r#"{{"data":{{"items":[]}},"next":{next}}}"#));
        for (longest, longer) in [
            (format!("\"{}\"", "x".repeat(1_024)), format!("\"{}\"", "x".repeat(1_025))),
            ("7".repeat(1_024), "7".repeat(1_025)),
        ] {
            let next = cursor(&longest).unwrap().next.unwrap();
            assert_eq!((next.len(), next.as_str()), (1_024, longest.trim_matches('"')));
            assert!(cursor(&longer).is_err());
        }
        let at = |ms: Millis| {
            let item = goal(1).replace("\"2026-11-21T13:00:00+01:00\"", &ms.to_string());
            read(&format!(r#"{{"data":{{"items":[{item}]}}}}"#)).unwrap().last_refused.unwrap_or_default()
        };
        let (first, last) = (NOON - 13 * DAY, NOON + DAY);
        assert_eq!((at(first).as_str(), at(last).as_str()), ("", ""));
        assert!(at(first - 1).contains("too old") && at(last + 1).contains("yet to come"));
    }

    #[test]
    fn the_newest_item_is_reported_wherever_it_stands() {
        let at = |ms: Millis| goal(1).replace("\"2026-11-21T13:00:00+01:00\"", &ms.to_string());
        let items = [at(NOON - 2), at(NOON), at(NOON - 1), at(NOON + 2 * DAY)].join(",");
        let page = read(&format!(r#"{{"data":{{"items":[{items}]}}}}"#)).unwrap();
        assert_eq!((page.newest_at_ms, page.events.len(), page.refused), (Some(NOON), 3, 1));
        assert!(page.last_refused.unwrap().starts_with("items[3]: "));
        assert_eq!(read(r#"{"data":{"items":[]}}"#).unwrap().newest_at_ms, None);
    }

    #[test]
    fn seconds_and_milliseconds_are_told_apart_by_their_size() {
        for (digits, time) in [
            ("0", Some("1970-01-01T00:00:00Z")),
            ("-1", Some("1969-12-31T23:59:59Z")),
            ("99999999999", Some("5138-11-16T09:46:39Z")),
            ("100000000000", Some("1973-03-03T09:46:40Z")),
            ("-100000000000", Some("1966-10-31T14:13:20Z")),
            ("253402300799999", Some("9999-12-31T23:59:59.999Z")),
            ("253402300800000", None),
            ("-253402300800000", None),
            ("", None),
        ] {
            assert_eq!(of_epoch(digits).as_deref(), time, "{digits}");
        }
    }

    #[test]
    fn pointers_are_read_by_their_standard() {
        let json = r#"{"a/b":1,"m~n":2,"~1":3,"list":[10,[20]],"":4,"01":5}"#;
        let page: &RawValue = serde_json::from_str(json).unwrap();
        for (pointer, found) in [
            ("", Some(json)),
            ("/a~1b", Some("1")),
            ("/m~0n", Some("2")),
            ("/~01", Some("3")),
            ("/list/0", Some("10")),
            ("/list/1/0", Some("20")),
            ("/", Some("4")),
            ("/01", Some("5")),
            ("/list/00", None),
            ("/list/+0", None),
            ("/list/-", None),
            ("/list/2", None),
            ("/list/0/x", None),
            ("/none", None),
        ] {
            let pointer = Pointer::try_from(pointer.to_owned()).unwrap();
            assert_eq!(at(page, &pointer).map(RawValue::get), found, "{pointer}");
        }
        assert!(Pointer::try_from("a".to_owned()).is_err());
    }

    #[test]
    fn a_template_is_text_with_pointers_and_is_stored_as_it_was_written() {
        let template = |text: &str| Template::try_from(text.to_owned());
        for text in ["plain", "{/a}", "x{/a}y{/b}z", "{}"] {
            assert_eq!(template(text).map(String::from), Ok(text.to_owned()));
        }
        for text in ["", "{/a", "a}", "{/a}}", "{a}", "}{/a}"] {
            assert!(template(text).is_err(), "{text}");
        }
        assert_eq!(String::from(Pointer::try_from("/a".to_owned()).unwrap()), "/a");
    }
}

//! What a function reacts to.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, guest};

/// A CloudEvents 1.0 envelope whose JSON data is read into `T` before the function is called. Data that does not fit
/// `T` rejects the event and names the place that does not fit. An event without data reads as JSON `null`.
/// ```
/// use larder_sdk::prelude::*;
/// use larder_sdk::testing::{TestEvent, TestRun};
///
/// #[derive(Deserialize)]
/// struct Purchase {
///     price: Money,
/// }
///
/// fn spent_on(event: Event<Purchase>, _run: &mut Run) -> Result<String, Error> {
///     Ok(format!("{} on {}", event.data.price, event.date()?))
/// }
///
/// let event = TestEvent::new("card.purchase", json!({ "price": { "amount": "42.50", "currency": "SEK" } }));
/// assert_eq!(TestRun::new().handle(spent_on, event).result, Ok(Some(b"42.50 SEK on 2026-11-21".to_vec())));
///
/// let unfit = TestEvent::new("card.purchase", json!({ "price": 42.5 }));
/// assert!(matches!(TestRun::new().handle(spent_on, unfit).result, Err(Error::Reject(_))));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<T> {
    /// Unique for its source.
    pub id: String,
    pub source: String,
    /// What happened, in dotted words: `card.purchase`.
    pub type_: String,
    /// Whom or what it is about.
    pub subject: Option<String>,
    /// When it happened, RFC 3339 in UTC.
    pub time: String,
    pub data: T,
}

impl<T> Event<T> {
    /// The UTC day on which it happened: `2026-11-25`.
    pub fn date(&self) -> Result<&str, Error> {
        date(&self.time)
    }

    /// The UTC month in which it happened: `2026-11`.
    pub fn month(&self) -> Result<&str, Error> {
        Ok(&self.date()?[..7])
    }
}

impl<T: DeserializeOwned> Event<T> {
    pub(crate) fn read(wire: guest::Event) -> Result<Event<T>, Error> {
        let unreadable = |why: String| Error::Reject(format!("the data of event {} {why}", wire.id));
        let data = if wire.data.is_empty() {
            serde_json::from_str("null")
        } else if is_json(&wire.data_content_type) {
            serde_json::from_slice(&wire.data)
        } else {
            return Err(unreadable(format!("is {}, not JSON", wire.data_content_type)));
        }
        .map_err(|err| unreadable(format!("does not fit: {err}")))?;
        let guest::Event { id, source, type_, subject, time, .. } = wire;
        Ok(Event { id, source, type_, subject, time, data })
    }
}

/// The data of a schedule's event.
///
/// ```
/// use larder_sdk::prelude::*;
/// use larder_sdk::testing::{TestEvent, TestRun};
///
/// fn every_morning(event: Event<Firing>, _run: &mut Run) -> Result<String, Error> {
///     Ok(event.data.date()?.to_owned())
/// }
///
/// let event = TestEvent::new(
///     "larder.schedule",
///     json!({ "nominal": "2026-11-25T00:30:00+01:00", "timezone": "Europe/Stockholm" }),
/// );
/// assert_eq!(TestRun::new().handle(every_morning, event).result, Ok(Some(b"2026-11-25".to_vec())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The time that the schedule names, with the offset of its time zone: `2026-11-25T06:00:00+01:00`.
    pub nominal: String,
    /// IANA name: `Europe/Stockholm`.
    pub timezone: String,
}

impl Firing {
    /// The day in the schedule's time zone: `2026-11-25`. The day of the event's `time` is UTC's and may be another.
    pub fn date(&self) -> Result<&str, Error> {
        date(&self.nominal)
    }
}

fn date(time: &str) -> Result<&str, Error> {
    let looks_right = |date: &&str| {
        date.bytes().enumerate().all(|(i, b)| if i == 4 || i == 7 { b == b'-' } else { b.is_ascii_digit() })
    };
    time.get(..10)
        .filter(looks_right)
        .filter(|_| time.as_bytes().get(10).is_some_and(|b| matches!(b, b'T' | b't' | b' ')))
        .ok_or_else(|| Error::Reject(format!("{time:?} is not an RFC 3339 time")))
}

/// CloudEvents takes data without a media type for JSON.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.is_empty() || essence.ends_with("/json") || essence.ends_with("+json")
}

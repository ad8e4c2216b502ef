//! Run a function natively, without Larder, under the host's rules.
//!
//! * [`TestEvent`]: an event to give it, built in code or read from an `event.json`.
//! * [`TestRun`]: the world that it runs in: an enrolment or not, and state that is kept from one run to the next.
//! * [`Ended`]: what a run led to.
//!
//! ```
//! use larder_sdk::prelude::*;
//! use larder_sdk::testing::{TestEvent, TestRun};
//!
//! fn round_up(event: Event<Money>, run: &mut Run) -> Result<(), Error> {
//!     let change = event.data.round_up_to(Decimal::TEN)?.minus(event.data)?;
//!     if change.is_positive() {
//!         run.save(change)?;
//!     }
//!     Ok(())
//! }
//!
//! let mut anna = TestRun::new().enrolment("anna", "card-1", json!({}));
//! let ended = anna.handle(round_up, TestEvent::new("purchase", json!({ "amount": "42.50", "currency": "SEK" })));
//! assert_eq!(ended.saved(), ["7.50 SEK"]);
//! let ended = anna.handle(round_up, TestEvent::new("purchase", json!({ "amount": "-1", "currency": "SEK" })));
//! assert_eq!(ended.saved(), ["1.00 SEK"]);
//! ```
//!
//! The rules are those of `larder.wit`: amounts above zero with no more decimals than their currency, an enrolled run
//! saves for its own end user only and any other for the enrolled, bounded keys, values and texts, and **nothing of a
//! run that failed is applied**. Limits of time, memory and number of effects are Larder's and not simulated.

mod host;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bindings::larder::function::enrolment;
use crate::http::Request;
use crate::{Answer, Error, Event, Run, guest, serve};

pub(crate) use host::Host;

/// An event to run a function on.
#[derive(Clone, Debug)]
pub struct TestEvent(guest::Event);

impl TestEvent {
    /// An event of this type with JSON data, at noon on 21 November 2026 unless [`TestEvent::time`] says otherwise.
    pub fn new(type_: &str, data: impl Serialize) -> TestEvent {
        TestEvent(guest::Event {
            id: "test-1".to_owned(),
            source: "/test".to_owned(),
            type_: type_.to_owned(),
            subject: None,
            time: "2026-11-21T12:00:00Z".to_owned(),
            data_content_type: "application/json".to_owned(),
            data: serde_json::to_vec(&data).expect("data of a test event is JSON"),
        })
    }

    /// Reads a CloudEvent in JSON, as `larder events send` does: `TestEvent::from_json(include_str!("../event.json"))`.
    ///
    /// # Panics
    /// If it is none, saying what is wrong with it.
    pub fn from_json(text: &str) -> TestEvent {
        serde_json::from_str(text).unwrap_or_else(|err| panic!("not a CloudEvent in JSON: {err}"))
    }

    pub fn id(mut self, id: &str) -> TestEvent {
        self.0.id = id.to_owned();
        self
    }

    pub fn subject(mut self, subject: &str) -> TestEvent {
        self.0.subject = Some(subject.to_owned());
        self
    }

    /// RFC 3339 in UTC.
    pub fn time(mut self, time: &str) -> TestEvent {
        self.0.time = time.to_owned();
        self
    }

    /// Data that is not JSON, or not the JSON that the function expects.
    pub fn raw_data(mut self, media_type: &str, data: &[u8]) -> TestEvent {
        (self.0.data_content_type, self.0.data) = (media_type.to_owned(), data.to_owned());
        self
    }
}

/// A structured CloudEvent, so that a batch of them reads as `Vec<TestEvent>`.
impl<'de> Deserialize<'de> for TestEvent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<TestEvent, D::Error> {
        #[derive(Deserialize)]
        struct Structured {
            specversion: String,
            id: String,
            source: String,
            #[serde(rename = "type")]
            type_: String,
            subject: Option<String>,
            time: String,
            datacontenttype: Option<String>,
            data: Option<Value>,
        }
        let Structured { specversion, id, source, type_, subject, time, datacontenttype, data } =
            Structured::deserialize(deserializer)?;
        if specversion != "1.0" {
            return Err(serde::de::Error::custom(format!("specversion is {specversion:?}, not \"1.0\"")));
        }
        if let Some((name, _)) = [("id", &id), ("source", &source), ("type", &type_)].iter().find(|(_, v)| v.is_empty())
        {
            return Err(serde::de::Error::custom(format!("{name} is empty")));
        }
        let data_content_type = datacontenttype.unwrap_or_else(|| "application/json".to_owned());
        let (data_content_type, data) =
            data.map_or_else(Default::default, |data| (data_content_type, data.to_string().into_bytes()));
        Ok(TestEvent(guest::Event { id, source, type_, subject, time, data_content_type, data }))
    }
}

/// The world that a function runs in. State is kept from one [`TestRun::handle`] to the next.
#[derive(Default)]
pub struct TestRun {
    host: Host,
}

impl TestRun {
    /// A run that is not for an enrolment.
    pub fn new() -> TestRun {
        TestRun::default()
    }

    /// Runs are for this enrolment.
    pub fn enrolment(mut self, end_user: &str, topic: &str, settings: Value) -> TestRun {
        let (end_user, topic, settings) = (end_user.to_owned(), topic.to_owned(), settings.to_string());
        self.host.enrolment = Some(enrolment::Details { end_user, topic, settings });
        self
    }

    /// Events come with this attribute: `dataschema` or an extension.
    pub fn attribute(mut self, name: &str, value: &str) -> TestRun {
        self.host.attributes.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Somebody is enrolled in the function, so that a run which is not for an enrolment may save for them.
    pub fn enrolled(mut self, end_user: &str) -> TestRun {
        self.host.enrolled.insert(end_user.to_owned());
        self
    }

    /// A value that an earlier run left.
    pub fn state(mut self, key: &str, value: impl Serialize) -> TestRun {
        let value = serde_json::to_vec(&value).expect("state of a test run is JSON");
        self.host.set(key, &value).unwrap_or_else(|why| panic!("state {key:?}: {why}"));
        self
    }

    /// This request, such as `GET http://aggregator.upstream/standings`, is answered so. What is not named is refused, as
    /// without a grant.
    pub fn answers(mut self, request: &str, status: u16, body: impl Serialize) -> TestRun {
        let body = serde_json::to_vec(&body).expect("answers in a test run are JSON");
        self.host.answers.insert(request.to_owned(), Some((status, body)));
        self
    }

    /// There is no answer to this request, as when the service is away.
    pub fn unanswered(mut self, request: &str) -> TestRun {
        self.host.answers.insert(request.to_owned(), None);
        self
    }

    /// Requests to this upstream can be signed, under this key.
    pub fn signing_key(mut self, upstream: &str, key: &[u8]) -> TestRun {
        self.host.keys.insert(upstream.to_owned(), key.to_owned());
        self
    }

    /// What is stored under a key now.
    pub fn stored(&self, key: &str) -> Option<Value> {
        let value = self.host.state.get(key)?;
        Some(serde_json::from_slice(value).unwrap_or_else(|err| panic!("state {key:?} is not JSON: {err}")))
    }

    /// Runs the function once. Its state writes are kept if it ended well.
    pub fn handle<T: DeserializeOwned, A: Answer>(
        &mut self,
        handler: impl FnOnce(Event<T>, &mut Run) -> Result<A, Error>,
        event: TestEvent,
    ) -> Ended {
        self.run(|run| guest::run(event.0, handler, run), |_| true)
    }

    /// Answers one request. State writes are kept if its status is below 500, as Larder applies a run.
    pub fn serve(
        &mut self,
        handler: impl FnOnce(&serve::Request, &mut Run) -> Result<serve::Response, Error>,
        request: serve::Request,
    ) -> Ended<serve::Response> {
        self.run(|run| handler(&request, run), |response| response.code() < 500)
    }

    fn run<A>(
        &mut self,
        what: impl FnOnce(&mut Run) -> Result<A, Error>,
        applies: impl FnOnce(&A) -> bool,
    ) -> Ended<A> {
        let mut run = Run { host: self.host.clone() };
        let result = what(&mut run);
        let transactions = std::mem::take(&mut run.host.transactions);
        let events = std::mem::take(&mut run.host.events);
        let requests = std::mem::take(&mut run.host.requests);
        if !result.as_ref().is_ok_and(applies) {
            return Ended { result, transactions: Vec::new(), events: Vec::new(), requests };
        }
        self.host = run.host;
        Ended { result, transactions, events, requests }
    }
}

/// What a run led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended<A = Option<Vec<u8>>> {
    /// The answer (its bytes, if it is not one to an HTTP request), or why there is none.
    pub result: Result<A, Error>,
    pub transactions: Vec<Transaction>,
    pub events: Vec<Emitted>,
    /// What it sent to outside services, which nothing takes back.
    pub requests: Vec<Request>,
}

impl<A> Ended<A> {
    /// The transactions in short: `["7.50 SEK"]`.
    ///
    /// # Panics
    /// If the run failed, saying why; look at [`Ended::result`] where it should.
    pub fn saved(&self) -> Vec<String> {
        match &self.result {
            Ok(_) => self.transactions.iter().map(|t| format!("{} {}", t.amount, t.currency)).collect(),
            Err(err) => panic!("the run failed: {err}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub end_user: String,
    /// Decimal text in major units with the currency's decimals.
    pub amount: String,
    pub currency: String,
    pub memo: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Emitted {
    pub type_: String,
    pub subject: Option<String>,
    pub data: Value,
    /// Of its envelope, beside these.
    pub attributes: BTreeMap<String, String>,
}

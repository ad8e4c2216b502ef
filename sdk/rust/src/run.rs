//! What a function may do while it runs.
//!
//! * [`Run`]: save, emit, ask whom the run is for, call outside services.
//! * [`State`]: values that outlive the run.
//! * [`Saving`]: a transaction to create; [`Enrolment`]: whom the run is for; [`Answer`]: what a handler may return.
//!
//! Whatever the host refuses is an [`Error::Reject`] with the host's reason: it would refuse the same again.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::larder::function::event_types::Attribute;
use crate::bindings::larder::function::{events, savings};
#[cfg(target_arch = "wasm32")]
use crate::guest::Host;
use crate::http::{Request, Response};
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::Host;
use crate::{Error, Money};

/// One run of a function.
pub struct Run {
    pub(crate) host: Host,
}

impl Run {
    /// The run that this code is part of, for components that have no [`function!`](crate::function) handler to be
    /// given it: one that serves HTTP and saves.
    #[cfg(target_arch = "wasm32")]
    pub fn current() -> Run {
        Run { host: Host }
    }

    /// Whom this run is for. An error in a function that does not run `per = "enrolment"`.
    ///
    /// ```
    /// use larder_sdk::prelude::*;
    /// use larder_sdk::testing::{TestEvent, TestRun};
    ///
    /// fn remind(_event: Event<Value>, run: &mut Run) -> Result<String, Error> {
    ///     let enrolment = run.enrolment()?;
    ///     let goal: Decimal = enrolment.settings::<Value>()?["goal"].as_str().unwrap_or("0").parse()?;
    ///     Ok(format!("{} saves {goal} for {}", enrolment.end_user, enrolment.topic))
    /// }
    ///
    /// let ended = TestRun::new()
    ///     .enrolment("anna", "a boat", json!({ "goal": "9000" }))
    ///     .handle(remind, TestEvent::new("month.began", json!({})));
    /// assert_eq!(ended.result, Ok(Some(b"anna saves 9000 for a boat".to_vec())));
    /// ```
    pub fn enrolment(&self) -> Result<Enrolment, Error> {
        let details = self.host.enrolment().ok_or_else(|| {
            Error::reject("this run is not for an enrolment: the function needs per = \"enrolment\" in larder.toml")
        })?;
        Ok(Enrolment { end_user: details.end_user, topic: details.topic, settings: details.settings })
    }

    /// Creates a transaction and returns its id. The amount must be greater than zero and have no more decimals than its
    /// currency. It is booked when the run succeeds.
    ///
    /// ```
    /// use larder_sdk::prelude::*;
    /// use larder_sdk::testing::{TestEvent, TestRun};
    ///
    /// fn birthday(_event: Event<Value>, run: &mut Run) -> Result<(), Error> {
    ///     let gift = Money::new(Decimal::from(25), "SEK".parse()?);
    ///     run.save(gift.memo("Happy birthday!"))?;
    ///     Ok(())
    /// }
    ///
    /// let ended = TestRun::new()
    ///     .enrolment("anna", "birthday", json!({}))
    ///     .handle(birthday, TestEvent::new("birthday", json!({})));
    /// assert_eq!(ended.saved(), ["25.00 SEK"]);
    /// ```
    pub fn save(&mut self, saving: impl Into<Saving>) -> Result<String, Error> {
        let Saving { money, end_user, memo } = saving.into();
        let currency = money.currency().to_string();
        let transaction = savings::Transaction { end_user, amount: money.amount_text(), currency, memo };
        self.host.create_transaction(&transaction).map_err(|why| Error::Reject(format!("cannot save {money}: {why}")))
    }

    /// The attributes of the event for which [`Event`](crate::Event) has no field, by name: `dataschema`, and extensions such
    /// as `traceparent`.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        self.host.attributes().into_iter().map(|attribute| (attribute.name, attribute.value)).collect()
    }

    /// Emits an event with JSON data when the run succeeds, and returns its id.
    ///
    /// ```
    /// use larder_sdk::prelude::*;
    /// use larder_sdk::testing::{TestEvent, TestRun};
    ///
    /// fn announce(event: Event<Value>, run: &mut Run) -> Result<(), Error> {
    ///     run.emit("goal.reached", event.subject.as_deref(), &json!({ "at": event.time }))?;
    ///     Ok(())
    /// }
    ///
    /// let ended = TestRun::new().handle(announce, TestEvent::new("saved", json!({})).subject("anna"));
    /// assert_eq!(ended.events[0].type_, "goal.reached");
    /// ```
    pub fn emit(&mut self, type_: &str, subject: Option<&str>, data: &impl Serialize) -> Result<String, Error> {
        let event = new_event(type_, subject, data)?;
        self.host.emit(&event).map_err(|why| Error::Reject(format!("cannot emit {type_}: {why}")))
    }

    /// The same with extension attributes, such as those that this run's own event came with.
    pub fn emit_with(
        &mut self,
        type_: &str,
        subject: Option<&str>,
        data: &impl Serialize,
        attributes: &BTreeMap<String, String>,
    ) -> Result<String, Error> {
        let event = new_event(type_, subject, data)?;
        let attributes: Vec<Attribute> =
            attributes.iter().map(|(name, value)| Attribute { name: name.clone(), value: value.clone() }).collect();
        let emitted = self.host.emit_with(&event, &attributes);
        emitted.map_err(|why| Error::Reject(format!("cannot emit {type_}: {why}")))
    }

    /// Asks an outside service.
    ///
    /// ```
    /// use larder_sdk::prelude::*;
    /// use larder_sdk::testing::{TestEvent, TestRun};
    ///
    /// fn rank(_event: Event<Value>, run: &mut Run) -> Result<String, Error> {
    ///     let standings: Value = run.get("http://aggregator.upstream/standings")?.json()?;
    ///     Ok(standings["first"].to_string())
    /// }
    ///
    /// let mut run = TestRun::new()
    ///     .answers("GET http://aggregator.upstream/standings", 200, json!({ "first": "hammarby" }));
    /// let ended = run.handle(rank, TestEvent::new("match.ended", json!({})));
    /// assert_eq!(ended.result, Ok(Some(b"\"hammarby\"".to_vec())));
    /// ```
    pub fn get(&mut self, url: &str) -> Result<Response, Error> {
        self.send(&Request::get(url))
    }

    /// Sends a request to an outside service. It is sent at once, even if the run fails later.
    pub fn send(&mut self, request: &Request) -> Result<Response, Error> {
        self.host.send(request)
    }

    /// The HMAC-SHA256 (32 bytes) of the data under the signing key of an upstream, for requests that must be signed. The
    /// key stays with Larder.
    pub fn sign(&self, upstream: &str, data: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        let signature = self.host.sign(upstream, data.as_ref());
        signature.map_err(|why| Error::Reject(format!("cannot sign for {upstream}: {why}")))
    }

    /// Values that outlive the run. They belong to the function and, in a run for an enrolment, to that enrolment.
    pub fn state(&mut self) -> State<'_> {
        State { host: &mut self.host }
    }
}

fn new_event(type_: &str, subject: Option<&str>, data: &impl Serialize) -> Result<events::NewEvent, Error> {
    Ok(events::NewEvent {
        type_: type_.to_owned(),
        subject: subject.map(str::to_owned),
        data_content_type: "application/json".to_owned(),
        data: serde_json::to_vec(data)?,
    })
}

/// A function's state. Values are stored as JSON. Keys have 1 to 255 characters, values up to 65,536 bytes. A run reads
/// its own writes. If another run has changed what it read, its work is discarded and it runs again.
///
/// ```
/// use larder_sdk::prelude::*;
/// use larder_sdk::testing::{TestEvent, TestRun};
///
/// fn count(event: Event<Value>, run: &mut Run) -> Result<(), Error> {
///     run.state().increment("runs", 1)?;
///     run.state().set("last", &event.time)?;
///     let runs: Option<i64> = run.state().get("runs")?;
///     assert!(runs.is_some_and(|runs| runs > 0));
///     Ok(())
/// }
///
/// let mut run = TestRun::new().state("runs", 41);
/// run.handle(count, TestEvent::new("anything", json!({})));
/// assert_eq!(run.stored("runs"), Some(json!(42)));
/// ```
pub struct State<'a> {
    host: &'a mut Host,
}

impl State<'_> {
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let value = self.host.get(key).map_err(|why| refused("get", key, why))?;
        value.map(|value| read(key, &value)).transpose()
    }

    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), Error> {
        self.host.set(key, &serde_json::to_vec(value)?).map_err(|why| refused("set", key, why))
    }

    pub fn delete(&mut self, key: &str) -> Result<(), Error> {
        self.host.delete(key).map_err(|why| refused("delete", key, why))
    }

    /// Adds to the whole number under the key, 0 if there is none. Never makes the run conflict with another, as
    /// reading and setting it would.
    pub fn increment(&mut self, key: &str, by: i64) -> Result<(), Error> {
        self.host.increment(key, &by.to_string()).map_err(|why| refused("increment", key, why))
    }

    /// Up to 100 entries whose key begins with `prefix`, in key order, that come after `after`. For the next page pass the
    /// last key of this one.
    pub fn list<T: DeserializeOwned>(&self, prefix: &str, after: Option<&str>) -> Result<Vec<(String, T)>, Error> {
        let entries = self.host.list(prefix, after).map_err(|why| refused("list", prefix, why))?;
        entries.into_iter().map(|entry| read(&entry.key, &entry.value).map(|value| (entry.key, value))).collect()
    }
}

fn refused(what: &str, key: &str, why: String) -> Error {
    Error::Reject(format!("cannot {what} state {key:?}: {why}"))
}

fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(value)
        .map_err(|err| Error::Reject(format!("the value of state {key:?} does not fit: {err}")))
}

/// An end user's part in this function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// A pseudonym: the same in every run of this function, another in every other function.
    pub end_user: String,
    pub topic: String,
    settings: String,
}

impl Enrolment {
    /// What the end user chose.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.settings).map_err(|err| {
            Error::Reject(format!("the settings of the enrolment of {} do not fit: {err}", self.end_user))
        })
    }
}

/// A transaction to create with [`Run::save`], which also takes plain [`Money`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saving {
    money: Money,
    end_user: Option<String>,
    memo: Option<String>,
}

impl Saving {
    /// Up to 200 characters for the end user to read.
    pub fn memo(self, memo: impl Into<String>) -> Saving {
        Saving { memo: Some(memo.into()), ..self }
    }

    /// Whose saving it is, in a run that is not for an enrolment. It must be somebody enrolled in the function.
    pub fn end_user(self, end_user: impl Into<String>) -> Saving {
        Saving { end_user: Some(end_user.into()), ..self }
    }
}

impl From<Money> for Saving {
    fn from(money: Money) -> Saving {
        Saving { money, end_user: None, memo: None }
    }
}

/// What a handler may return: `()` for no answer, or the bytes of one. A synchronous execution is given it.
pub trait Answer {
    fn bytes(self) -> Result<Option<Vec<u8>>, Error>;
}

impl Answer for () {
    fn bytes(self) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }
}

impl Answer for Vec<u8> {
    fn bytes(self) -> Result<Option<Vec<u8>>, Error> {
        Ok(Some(self))
    }
}

impl Answer for String {
    fn bytes(self) -> Result<Option<Vec<u8>>, Error> {
        Ok(Some(self.into_bytes()))
    }
}

impl Answer for serde_json::Value {
    fn bytes(self) -> Result<Option<Vec<u8>>, Error> {
        Ok(Some(serde_json::to_vec(&self)?))
    }
}

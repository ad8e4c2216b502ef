//! The host's side of a run under test: the same checks as Larder's, over a map.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use super::{Emitted, Transaction};
use crate::bindings::larder::function::event_types::Attribute;
use crate::bindings::larder::function::{enrolment, events, savings, state};
use crate::http::{Request, Response};
use crate::{Currency, Error, Money};

const TEXT_CHARS_MAX: usize = 255;
const VALUE_BYTES_MAX: usize = 65_536;
const MEMO_CHARS_MAX: usize = 200;
const LIST_MAX: usize = 100;

#[derive(Clone, Default)]
pub(crate) struct Host {
    pub(super) enrolment: Option<enrolment::Details>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) enrolled: BTreeSet<String>,
    pub(super) state: BTreeMap<String, Vec<u8>>,
    pub(super) transactions: Vec<Transaction>,
    pub(super) events: Vec<Emitted>,
    pub(super) keys: BTreeMap<String, Vec<u8>>,
    /// By request: status and body, or no answer.
    pub(super) answers: BTreeMap<String, Option<(u16, Vec<u8>)>>,
    pub(super) requests: Vec<Request>,
}

impl Host {
    pub fn enrolment(&self) -> Option<enrolment::Details> {
        self.enrolment.clone()
    }

    pub fn create_transaction(&mut self, wanted: &savings::Transaction) -> Result<String, String> {
        let end_user = match (&self.enrolment, &wanted.end_user) {
            (Some(own), None) => own.end_user.clone(),
            (Some(_), Some(_)) => {
                return Err(
                    "this run is for an enrolment and saves for its own end user only: leave end-user out".into()
                );
            }
            (None, None) => return Err("end-user is missing: this run is not for an enrolment".into()),
            (None, Some(name)) if self.enrolled.contains(name) => name.clone(),
            (None, Some(name)) => return Err(format!("{name:?} is not enrolled in this function")),
        };
        let currency: Currency = wanted.currency.parse().map_err(|err| format!("{err}"))?;
        let amount: Decimal = wanted.amount.parse().map_err(|_| format!("{:?} is not an amount", wanted.amount))?;
        if amount <= Decimal::ZERO {
            return Err(format!("amount {:?} is not more than zero", wanted.amount));
        }
        let decimals = currency.decimals();
        if amount.scale() > decimals {
            return Err(format!("amount {:?} has more decimals than {currency} has ({decimals})", wanted.amount));
        }
        if Money::new(amount, currency).minor_units().is_err() {
            return Err(format!("amount {:?} is too large", wanted.amount));
        }
        if let Some(memo) = &wanted.memo {
            check_text("memo", memo, 0, MEMO_CHARS_MAX)?;
            check_printable("memo", memo)?;
        }
        let (amount, currency) = (wanted.amount.clone(), currency.to_string());
        self.transactions.push(Transaction { end_user, amount, currency, memo: wanted.memo.clone() });
        Ok(format!("transaction-{}", self.transactions.len()))
    }

    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        check_text("key", key, 1, TEXT_CHARS_MAX)?;
        Ok(self.state.get(key).cloned())
    }

    pub fn set(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        check_text("key", key, 1, TEXT_CHARS_MAX)?;
        check_value("value", value)?;
        self.state.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    pub fn delete(&mut self, key: &str) -> Result<(), String> {
        check_text("key", key, 1, TEXT_CHARS_MAX)?;
        self.state.remove(key);
        Ok(())
    }

    pub fn increment(&mut self, key: &str, by: &str) -> Result<(), String> {
        check_text("key", key, 1, TEXT_CHARS_MAX)?;
        let by: i64 = by.parse().map_err(|_| format!("{by:?} is not a whole number of at most 64 bits"))?;
        let old = match self.state.get(key) {
            None => 0,
            Some(value) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or_else(|| format!("the value of {key:?} is not a whole number"))?,
        };
        let new = old.checked_add(by).ok_or_else(|| format!("the value of {key:?} would be too large"))?;
        self.state.insert(key.to_owned(), new.to_string().into_bytes());
        Ok(())
    }

    pub fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<state::Entry>, String> {
        check_text("prefix", prefix, 0, TEXT_CHARS_MAX)?;
        check_text("after", after.unwrap_or_default(), 0, TEXT_CHARS_MAX)?;
        let entries = self.state.iter().filter(|(key, _)| key.starts_with(prefix));
        let entries = entries.filter(|(key, _)| after.is_none_or(|after| key.as_str() > after)).take(LIST_MAX);
        Ok(entries.map(|(key, value)| state::Entry { key: key.clone(), value: value.clone() }).collect())
    }

    pub fn attributes(&self) -> Vec<Attribute> {
        let all = self.attributes.iter();
        all.map(|(name, value)| Attribute { name: name.clone(), value: value.clone() }).collect()
    }

    pub fn emit(&mut self, event: &events::NewEvent) -> Result<String, String> {
        self.emit_with(event, &[])
    }

    pub fn emit_with(&mut self, event: &events::NewEvent, attributes: &[Attribute]) -> Result<String, String> {
        for Attribute { name, .. } in attributes {
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
                return Err(format!("the attribute {name:?} is not a name of an attribute: those are of a-z and 0-9"));
            }
        }
        check_text("type", &event.type_, 1, TEXT_CHARS_MAX)?;
        if !event.type_.split('.').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(format!("type {:?} is not made of printable words with dots between them", event.type_));
        }
        if let Some(subject) = &event.subject {
            check_text("subject", subject, 1, TEXT_CHARS_MAX)?;
            check_printable("subject", subject)?;
        }
        check_value("data", &event.data)?;
        let data = serde_json::from_slice(&event.data).map_err(|err| format!("data is not JSON: {err}"))?;
        let attributes = attributes.iter().map(|own| (own.name.clone(), own.value.clone())).collect();
        self.events.push(Emitted { type_: event.type_.clone(), subject: event.subject.clone(), data, attributes });
        Ok(format!("event-{}", self.events.len()))
    }

    pub fn send(&mut self, request: &Request) -> Result<Response, Error> {
        let of = request.name();
        let answer =
            self.answers.get(&of).ok_or_else(|| Error::reject(format!("{of} was refused: it is not granted")))?;
        self.requests.push(request.clone());
        let (status, body) = answer.clone().ok_or_else(|| Error::retry(format!("{of} failed: there is no answer")))?;
        if body.len() > request.bytes_max {
            return Err(Error::reject(format!("the answer to {of} has more than {} bytes", request.bytes_max)));
        }
        Ok(Response { status, headers: vec![("content-type".into(), "application/json".into())], body, of })
    }

    pub fn sign(&self, upstream: &str, data: &[u8]) -> Result<Vec<u8>, String> {
        let key =
            self.keys.get(upstream).ok_or_else(|| format!("there is no signing key of the upstream {upstream:?}"))?;
        Ok(hmac(key, data))
    }
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    match key.len() {
        0..=64 => block[..key.len()].copy_from_slice(key),
        _ => block[..32].copy_from_slice(&Sha256::digest(key)),
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(data).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

fn check_text(what: &str, text: &str, min: usize, max: usize) -> Result<(), String> {
    match text.chars().count() {
        length if (min..=max).contains(&length) => Ok(()),
        length => Err(format!("{what} has {length} characters, {min} to {max} are allowed")),
    }
}

fn check_printable(what: &str, text: &str) -> Result<(), String> {
    match text.contains(is_deceptive) {
        true => Err(format!("{what} has a control character, or an invisible one that changes how text is shown")),
        false => Ok(()),
    }
}

/// As the host's `larder_runtime::text` has it.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{2028}' | '\u{2029}' | '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0001}'
            | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

fn check_value(what: &str, bytes: &[u8]) -> Result<(), String> {
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(format!("{what} has {} bytes, up to {VALUE_BYTES_MAX} are allowed", bytes.len()));
    }
    Ok(())
}

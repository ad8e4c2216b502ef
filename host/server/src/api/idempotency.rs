//! `Idempotency-Key`: a `POST` sent again gets the answer that it got before, and does nothing again.
//!
//! * [`begin`], once the caller is known to be allowed: gives the kept answer, or a [`Ticket`] to go on with.
//! * [`Ticket::end`]: says the outcome, and keeps it.
//!
//! Without the header a ticket is only an id. With it, what the request makes must have the ticket's [`subject`](Ticket::subject)
//! for its id: a request that began and came to no known end (its process died, the database was away) is made again under
//! the same id, so it takes effect once. If what it made is there already, its record is the answer.
//!
//! The web endpoint does the same (`web/idempotency`) by [`take`], [`Ticket::keep`] and [`Ticket::let_go`].
//!
//! A key belongs to the partner, or, of a caller without an API key, to the end user or else to their address: nobody else gets
//! their answer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use larder_model::ids::{ExecutionId, PartnerId};
use larder_model::time::Millis;
use larder_model::trigger_key;
use larder_platform::idempotency_keys::Idempotency;
use larder_platform::quotas::{Cap, Exceeded};
use larder_signals::crash::{self, Point};
use larder_store::{KeptAnswer, KeyHolder, KeyRequest, Taken};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::auth::Caller;
use crate::problem::{Kind, Problem};

pub const KEY: &str = "idempotency-key";
/// For the document.
pub const DESCRIPTION: &str = "1 to 255 printable ASCII characters, a new one for each new request. The same request sent again under \
    its key gets the first answer, with `Idempotency-Replayed: true`, and does nothing again; `record` there instead means that the \
    answer is the record of what was made, without the function's body. Another request under the key: 422. Still under way: 409.";
/// `true`: the answer is the kept one. `record`: it is the record of what was made then, which has no body of the function.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const KEY_CHARS_MAX: usize = 255;
/// A caller without an API key shares addresses with strangers, so it must not be likely to meet their keys.
const GUEST_KEY_CHARS_MIN: usize = 16;
/// A request is in progress for no longer than the longest call and this.
const MARGIN: Duration = Duration::from_secs(5);
/// When keys may have been forgotten that leave no room.
const FULL_RETRY_AFTER_S: u32 = 60;
/// Larger answers are not kept; the record is the answer then.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// How a request begins.
pub enum Begun {
    /// It is answered already.
    Answered(Response),
    Go(Ticket),
}

/// A request in progress.
pub struct Ticket {
    /// The id of what it makes.
    pub subject: ExecutionId,
    /// It was begun before: look for what it made, and answer with that.
    pub again: bool,
    /// It was answered, with more than could be kept: where the record is gone too, it must not be made again.
    pub answered: bool,
    /// Something may have happened: a refusal from now on is an answer like any other.
    began: AtomicBool,
    holder: Option<KeyHolder>,
}

/// What a handler made.
pub struct Made<T> {
    pub status: StatusCode,
    pub body: T,
    /// It was there already.
    pub from_record: bool,
}

impl<T> Made<T> {
    pub fn now(status: StatusCode, body: T) -> Made<T> {
        Made { status, body, from_record: false }
    }
}

/// What stands under a key.
pub enum Looked {
    /// The kept answer.
    Kept {
        subject: ExecutionId,
        status: u16,
        body: String,
    },
    Go(Ticket),
}

/// Takes the request's key, if it has one. `parts` are what makes it this request and no other.
pub async fn begin(
    keys: &Idempotency,
    caller: &Caller,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    parts: &[&[u8]],
) -> Result<Begun, Problem> {
    let Some(key) = key(headers, caller.is_guest() && caller.user.is_none())? else {
        return Ok(Begun::Go(Ticket::new(ExecutionId::generate(&keys.clock), None)));
    };
    let who = match (caller.is_guest(), &caller.user, peer) {
        (false, _, _) => "key".to_owned(),
        (true, Some(user), _) => format!("user {}", user.id),
        (true, None, peer) => format!("guest {}", peer.map(|ip| ip.to_string()).unwrap_or_default()),
    };
    Ok(match take(keys, &caller.partner, &[&who, key], parts).await? {
        Looked::Kept { status, body, .. } => Begun::Answered(response(status, body, Some("true"))),
        Looked::Go(ticket) => Begun::Go(ticket),
    })
}

/// Takes a key for a request: `place` is the key and whose it is.
pub async fn take(keys: &Idempotency, partner: &PartnerId, place: &[&str], parts: &[&[u8]]) -> Result<Looked, Problem> {
    let subject = ExecutionId::generate(&keys.clock);
    let request = KeyRequest { partner: partner.clone(), key_hash: trigger_key(place), request_hash: hash(parts) };
    let limit = keys.settings.records.idempotency_keys_per_partner;
    let count = if limit == 0 { 0 } else { keys.counts.of(keys, partner, limit).await? };
    let ms = |duration: Duration| duration.as_millis() as Millis;
    let now = keys.clock.now_ms();
    let until_ms = now + ms(keys.settings.server.call_timeout + MARGIN);
    let forgotten = now - ms(keys.settings.records.idempotency_keys);
    let room = limit == 0 || count < limit;
    match keys.store.take_key(&request, &subject, now, until_ms, forgotten, room).await? {
        Taken::Free { subject, again } => {
            crash::point(Point::KeyTaken);
            if !again {
                keys.counts.add_one(partner);
            }
            Ok(Looked::Go(Ticket { again, ..Ticket::new(subject, Some(KeyHolder { request, until_ms })) }))
        }
        Taken::Answered { subject, answer } => match opened(keys, &request, &answer) {
            Some(body) => Ok(Looked::Kept { subject, status: answer.status, body }),
            None => Ok(Looked::Go(Ticket { again: true, answered: true, ..Ticket::new(subject, None) })),
        },
        Taken::Full => Err(Exceeded::new(Cap::IdempotencyKeys, limit, count).retry_after_s(FULL_RETRY_AFTER_S).into()),
        Taken::InFlight => {
            Err(Problem::new(Kind::IdempotencyInFlight, "The request with this Idempotency-Key is still in progress"))
        }
        Taken::Mismatch => Err(Problem::new(
            Kind::IdempotencyMismatch,
            "This Idempotency-Key was used for another request: a new request needs a new key",
        )),
    }
}

impl Ticket {
    fn new(subject: ExecutionId, holder: Option<KeyHolder>) -> Ticket {
        Ticket { subject, again: false, answered: false, began: AtomicBool::new(false), holder }
    }

    /// From here on something may happen, so that even a refusal is the answer.
    pub fn begins(&self) {
        self.began.store(true, Ordering::Relaxed);
    }

    pub fn is_keyed(&self) -> bool {
        self.holder.is_some()
    }

    /// The answer. It is kept under the key; a refusal before anything happened frees the key, and what came to no known
    /// end may be begun again at once.
    pub async fn end<T: Serialize>(
        self,
        keys: &Idempotency,
        made: Result<Made<T>, Problem>,
    ) -> Result<Response, Problem> {
        let from_record = made.as_ref().is_ok_and(|made| made.from_record);
        let (status, body) = match made {
            Ok(made) => (made.status.as_u16(), serde_json::to_string(&made.body).map_err(Problem::internal)?),
            Err(problem) => {
                let status = problem.status();
                if status.is_server_error() || !self.began.load(Ordering::Relaxed) {
                    self.let_go(keys, status).await;
                    return Err(problem);
                }
                (status.as_u16(), serde_json::to_string(&problem.body()).map_err(Problem::internal)?)
            }
        };
        if from_record {
            self.let_go(keys, StatusCode::SERVICE_UNAVAILABLE).await;
            return Ok(response(status, body, Some("record")));
        }
        self.keep(keys, status, &body).await;
        Ok(response(status, body, None))
    }

    /// Keeps this answer under the key.
    pub async fn keep(&self, keys: &Idempotency, status: u16, body: &str) {
        let Some(holder) = &self.holder else { return };
        crash::point(Point::KeyUnanswered);
        let answer = KeptAnswer { status, sealed: sealed(keys, &holder.request, body) };
        if let Err(err) = keys.store.answer_key(holder, &answer, keys.clock.now_ms()).await {
            tracing::warn!(error = %err, "an answer could not be kept; the record will be the answer to a repeated request");
        }
    }

    /// Gives the key back after this refusal.
    pub async fn let_go(&self, keys: &Idempotency, status: StatusCode) {
        let Some(holder) = &self.holder else { return };
        // One that was begun before may have done something that is not to be seen yet.
        let done = if status.is_server_error() || self.again {
            keys.store.lapse_key(holder, keys.clock.now_ms()).await
        } else {
            keys.store.free_key(holder).await
        };
        if let Err(err) = done {
            tracing::warn!(error = %err, "an idempotency key could not be given back; it runs out by itself");
        }
    }
}

/// The key of the request. The draft writes it in quotes, most clients without.
pub fn key(headers: &HeaderMap, guest: bool) -> Result<Option<&str>, Problem> {
    let wrong = |why: String| Problem::argument("Idempotency-Key", why);
    let mut all = headers.get_all(KEY).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(wrong("must be there once".into()));
    }
    let text = value.to_str().unwrap_or_default();
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let least = if guest { GUEST_KEY_CHARS_MIN } else { 1 };
    let fine = (least..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if !fine {
        return Err(wrong(format!("must be {least} to {KEY_CHARS_MAX} printable ASCII characters")));
    }
    Ok(Some(text))
}

/// SHA-256 over parts, each with its length, in hex.
fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// What is kept of an answer, which may carry what a function said of an end user.
fn sealed(keys: &Idempotency, request: &KeyRequest, body: &str) -> Option<String> {
    (body.len() <= ANSWER_BYTES_MAX)
        .then(|| BASE64_STANDARD.encode(keys.secrets.seal(&place(request), body.as_bytes())))
}

fn opened(keys: &Idempotency, request: &KeyRequest, answer: &KeptAnswer) -> Option<String> {
    let sealed = BASE64_STANDARD.decode(answer.sealed.as_ref()?).ok()?;
    std::str::from_utf8(&keys.secrets.open(&place(request), &sealed).ok()?).ok().map(str::to_owned)
}

fn place(request: &KeyRequest) -> [&str; 3] {
    [request.partner.as_str(), "idempotency key", &request.key_hash]
}

fn response(status: u16, body: String, replayed: Option<&'static str>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    if let Some(replayed) = replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static(replayed));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_printable_and_not_too_long() {
        let of = |values: &[&str], guest| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEY, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            key(&headers, guest).map(|key| key.map(str::to_owned))
        };
        let long = "k".repeat(KEY_CHARS_MAX);
        assert_eq!(of(&[], false).unwrap(), None);
        for (given, read) in [("a", "a"), ("\"8e03-97\"", "8e03-97"), ("a b~", "a b~"), ("\"", "\""), (&long, &long)] {
            assert_eq!(of(&[given], false).unwrap().as_deref(), Some(read));
        }
        for given in ["", "\"\"", "ä", "a\tb", &format!("{long}k")] {
            assert_eq!(of(&[given], false).unwrap_err().kind, Kind::ArgumentInvalid, "{given:?}");
        }
        assert_eq!(of(&["a", "a"], false).unwrap_err().kind, Kind::ArgumentInvalid);
        assert!(of(&["fifteen-letters"], true).is_err() && of(&["sixteen--letters"], true).is_ok());
    }

    #[test]
    fn a_request_is_told_from_another_by_each_part() {
        let one = hash(&[b"POST", b"/a", b"b"]);
        assert_eq!(one, hash(&[b"POST", b"/a", b"b"]));
        for other in [hash(&[b"POST", b"/ab", b""]), hash(&[b"POST", b"/a", b"c"]), hash(&[b"PUT", b"/a", b"b"])] {
            assert_ne!(one, other);
        }
    }
}

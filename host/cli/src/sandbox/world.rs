//! What a run in the sandbox is told: state that the runs of one test share, canned answers of outside services, and nobody's
//! money. It refuses what Larder refuses, by the grants of `larder.toml`, and nothing leaves this machine.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use larder_model::net::http_rule::{Rule, default_port};
use larder_model::outgoing::{Body, Error, Target, Times};
use larder_model::state::Version;
use larder_model::{Amount, Currency, Effect, Grants};
use larder_runtime::backends;
use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Failure, Result};

/// `GET https://api.example.com/rates` → what is answered; `null`: nothing, as when the service is away.
pub type Answers = BTreeMap<String, Option<CannedAnswer>>;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CannedAnswer {
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Text as it is, anything else as JSON.
    #[serde(default)]
    body: Value,
}

fn ok() -> u16 {
    200
}

/// A request that a run has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub request: String,
    pub body: Bytes,
    /// The status of its answer, or why there is none.
    pub answer: std::result::Result<u16, String>,
}

pub struct World {
    grants: Grants,
    rules: Vec<Rule>,
    answers: Answers,
    /// Whom a run that is for no enrolment may save for.
    end_users: Vec<String>,
    state: Mutex<BTreeMap<String, Bytes>>,
    asked: Mutex<Vec<Asked>>,
    /// Signing keys of the upstreams, made for this test.
    keys: BTreeMap<String, [u8; 32]>,
    /// What has been saved for each end user, by currency.
    saved: Mutex<BTreeMap<(String, String), Amount>>,
}

impl World {
    pub fn new(grants: &Grants, answers: Answers, end_users: Vec<String>) -> Result<World> {
        let rules = grants.http.iter().map(Rule::of).collect::<std::result::Result<_, _>>().map_err(Failure::usage)?;
        let (state, asked, saved) = Default::default();
        let mut keys = BTreeMap::new();
        for upstream in &grants.upstreams {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|err| Failure::failed(format!("no random bytes: {err}")))?;
            keys.insert(upstream.clone(), key);
        }
        Ok(World { grants: grants.clone(), rules, answers, end_users, state, asked, keys, saved })
    }

    /// What was sent since this was asked last.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut locked(&self.asked))
    }

    /// Keeps what a run did for those that follow, or says why Larder would not book it; then nothing is kept.
    pub fn apply(&self, effects: &[Effect], enrolled: Option<&str>) -> std::result::Result<(), String> {
        let (mut state, mut saved) = (locked(&self.state).clone(), locked(&self.saved).clone());
        for effect in effects {
            match effect {
                Effect::SetState { key, value } => {
                    state.insert(key.clone(), value.clone());
                }
                Effect::DeleteState { key } => {
                    state.remove(key);
                }
                Effect::IncrementState { key, by } => {
                    let stored = state.get(key).map_or(Some(0), |value| std::str::from_utf8(value).ok()?.parse().ok());
                    let sum = stored.and_then(|stored: i64| stored.checked_add(*by));
                    let sum =
                        sum.ok_or_else(|| format!("state {key:?} is no whole number that {by} can be added to"))?;
                    state.insert(key.clone(), sum.to_string().into());
                }
                Effect::Transaction { end_user, amount, .. } => {
                    let grant = self.grants.allow_transaction(*amount)?;
                    let (end_user, currency) =
                        (end_user.as_deref().or(enrolled).unwrap_or_default(), amount.currency());
                    let sum = saved.entry((end_user.to_owned(), currency.to_string()));
                    let sum = sum.and_modify(|sum| *sum = sum.checked_add(*amount).unwrap_or(*sum)).or_insert(*amount);
                    if *sum > grant.sum() {
                        let most = grant.sum();
                        return Err(format!(
                            "{end_user} would have saved {sum} {currency}, and the grant is for {most} in all"
                        ));
                    }
                }
                Effect::Emit(_) => {}
            }
        }
        *locked(&self.state) = state;
        *locked(&self.saved) = saved;
        Ok(())
    }

    /// As the platform checks it, before anything is sent.
    fn check(&self, request: &Request<Body>) -> std::result::Result<(), Error> {
        let (method, uri) = (request.method(), request.uri());
        let (scheme, to) = match Target::of(method, uri)? {
            Target::Upstream(name) => return self.grants.allow_upstream(&name).map_err(Error::Denied),
            Target::Host(scheme, to) => (scheme, to),
        };
        let port = to.port.unwrap_or(default_port(scheme));
        let is_covered = |rule: &Rule| rule.covers(scheme, &to.host, port, method, uri.path());
        if self.rules.iter().any(is_covered) { Ok(()) } else { Err(Error::not_granted(method, uri)) }
    }

    fn answer(&self, name: &str) -> std::result::Result<Response<Body>, Error> {
        let away = || Error::Unreachable(format!("{name} has no answer (null) in answers.json"));
        let Some(answer) = self.answers.get(name) else {
            let line = format!("{{ \"{name}\": {{ \"status\": 200, \"body\": {{}} }} }}");
            return Err(Error::Unreachable(format!(
                "nothing leaves the sandbox; add an answer to answers.json: {line}"
            )));
        };
        let CannedAnswer { status, headers, body } = answer.as_ref().ok_or_else(away)?;
        let mut response = Response::builder().status(*status);
        let bytes = match body {
            Value::Null => Bytes::new(),
            Value::String(text) => text.clone().into(),
            json => {
                response = response.header("content-type", "application/json");
                json.to_string().into()
            }
        };
        for (name, value) in headers {
            response = response.header(name, value);
        }
        let body = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
        response.body(body).map_err(|err| Error::Protocol(format!("the answer in answers.json: {err}")))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[async_trait]
impl backends::State for World {
    async fn get(&self, key: &str) -> std::result::Result<Option<(Vec<u8>, Version)>, backends::Error> {
        Ok(locked(&self.state).get(key).map(|value| (value.to_vec(), "1".into())))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> std::result::Result<Vec<(String, Vec<u8>, Version)>, backends::Error> {
        let state = locked(&self.state);
        let wanted = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let found = state.iter().filter(|(key, _)| wanted(key)).take(limit as usize);
        Ok(found.map(|(key, value)| (key.clone(), value.to_vec(), "1".into())).collect())
    }
}

#[async_trait]
impl backends::Savings for World {
    fn currency(&self, code: &str) -> std::result::Result<Currency, String> {
        Currency::current(code)
    }

    async fn may_save_for(
        &self,
        end_user: &str,
    ) -> std::result::Result<std::result::Result<(), String>, backends::Error> {
        let is_enrolled = self.end_users.iter().any(|known| known == end_user);
        let refusal = || format!("end user {end_user:?} has no active enrolment in this function (--end-user)");
        Ok(if is_enrolled { Ok(()) } else { Err(refusal()) })
    }
}

/// The format of Larder, HMAC-SHA256, under a key that nobody else has: what is signed here is worth nothing outside.
impl backends::Signing for World {
    fn sign(&self, upstream: &str, data: &[u8]) -> std::result::Result<Vec<u8>, String> {
        self.grants.allow_upstream(upstream)?;
        let key = self.keys.get(upstream).ok_or_else(|| format!("there is no upstream {upstream:?}"))?;
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key);
        Ok(ring::hmac::sign(&key, data).as_ref().to_vec())
    }
}

#[async_trait]
impl backends::Http for World {
    async fn send(&self, _: u32, request: Request<Body>, _: Times) -> std::result::Result<Response<Body>, Error> {
        self.check(&request)?;
        let name = format!("{} {}", request.method(), request.uri());
        let body = request.into_body().collect().await?.to_bytes();
        let answer = self.answer(&name);
        let told = answer.as_ref().map(|answer| answer.status().as_u16()).map_err(ToString::to_string);
        locked(&self.asked).push(Asked { request: name, body, answer: told });
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(grants: &str, answers: &str) -> World {
        let text = format!("[function]\nid = \"a\"\nname = \"a\"\n[grants]\n{grants}");
        let manifest = crate::manifest::Manifest::parse(&text, std::path::Path::new("larder.toml")).unwrap();
        World::new(&manifest.grants, serde_json::from_str(answers).unwrap(), vec![]).unwrap()
    }

    #[tokio::test]
    async fn only_what_is_granted_is_answered_and_nothing_leaves() {
        let world = world(
            "upstreams = [\"bank\"]\nhttp = [{ hosts = [\"a.example\"] }]",
            r#"{"GET https://a.example/x": {"body": {"b": 1}}, "GET http://bank.upstream/": null}"#,
        );
        let ask = async |url: &str| {
            let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
            let request = Request::get(url).body(body).unwrap();
            match backends::Http::send(&world, 0, request, Times::default()).await {
                Ok(answer) => answer.into_body().collect().await.unwrap().to_bytes().escape_ascii().to_string(),
                Err(err) => err.to_string(),
            }
        };
        assert_eq!(ask("https://a.example/x").await, r#"{\"b\":1}"#);
        assert!(ask("https://a.example/y").await.contains("add an answer to answers.json"));
        assert!(ask("http://bank.upstream/").await.contains("has no answer"));
        assert!(ask("https://b.example/").await.contains("no grant covers it; add to larder.toml"));
        assert!(ask("http://other.upstream/").await.contains("other"));
        let asked: Vec<_> = world.take_asked().into_iter().map(|asked| asked.answer.is_ok()).collect();
        assert_eq!(asked, [true, false, false]);
    }

    #[test]
    fn signatures_are_those_of_larder_under_a_key_of_the_test() {
        use backends::Signing;
        let world = world("upstreams = [\"bank\"]", "{}");
        let signature = world.sign("bank", b"pay 10.00 SEK").unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &world.keys["bank"]);
        assert!(ring::hmac::verify(&key, b"pay 10.00 SEK", &signature).is_ok());
        assert_ne!(signature, world.sign("bank", b"pay 10.01 SEK").unwrap());
        assert!(world.sign("other", b"x").unwrap_err().contains("other"));
    }

    #[test]
    fn what_the_ledger_would_refuse_is_not_applied() {
        let world =
            world("state = true\ntransactions.SEK = { max = \"10.00\", sum = \"15.00\", period = \"day\" }", "{}");
        let amount = Amount::parse("10.00", Currency::current("SEK").unwrap()).unwrap();
        let effects = [
            Effect::IncrementState { key: "n".into(), by: 2 },
            Effect::Transaction { id: "1".into(), end_user: None, amount, memo: None },
        ];
        assert_eq!(world.apply(&effects, Some("anna")), Ok(()));
        assert!(world.apply(&effects, Some("anna")).unwrap_err().contains("20.00 SEK, and the grant is for 15.00"));
        assert_eq!(world.apply(&effects, Some("bo")), Ok(()));
        assert_eq!(locked(&world.state)["n"], "4");
        let text = [Effect::SetState { key: "n".into(), value: "x".into() }, effects[0].clone()];
        assert!(world.apply(&text, None).unwrap_err().contains("no whole number"));
    }
}

//! Everything that a guest is told comes through its backends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use larder_model::outgoing::{self, Body, Times};
use larder_model::state::{Read, Version};
use larder_model::{Currency, End, Grants, Limits, Outcome};
use larder_runtime::backends::{self, Backends, Clocks, Error, Http, Random, Savings, Signing, State};
use larder_runtime::{Enrolment, Run};

use crate::{Bench, Money, event, guests, run};

/// A host that says the same each time.
struct Fixed {
    wall: Duration,
    random: u8,
}

#[async_trait]
impl State for Fixed {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, Error> {
        Ok(Some((format!("what stands under {key}").into_bytes(), "version".into())))
    }

    async fn list(&self, _: &str, _: Option<&str>, _: u32) -> Result<Vec<(String, Vec<u8>, Version)>, Error> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Http for Fixed {
    async fn send(&self, _: u32, _: Request<Body>, _: Times) -> Result<Response<Body>, outgoing::Error> {
        Ok(Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync()))
    }
}

impl Signing for Fixed {
    fn sign(&self, upstream: &str, _data: &[u8]) -> Result<Vec<u8>, String> {
        Ok(format!("signed by {upstream}").into_bytes())
    }
}

impl Clocks for Fixed {
    fn wall(&self) -> Duration {
        self.wall
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(5)
    }
}

impl Random for Fixed {
    fn secure(&self, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.fill(self.random);
        Ok(())
    }

    fn insecure(&self, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.fill(self.random.wrapping_add(1));
        Ok(())
    }

    fn insecure_seed(&self) -> Result<u128, Error> {
        Ok(self.random.into())
    }
}

fn fixed(wall: Duration, random: u8) -> Backends {
    let fixed = Arc::new(Fixed { wall, random });
    Backends {
        variables: Arc::new(vec![("NAME".into(), "value".into())]),
        enrolment: Some(Enrolment { end_user: "someone".into(), topic: "team".into(), settings: "{}".into() }),
        state: fixed.clone(),
        savings: Arc::new(Money),
        http: Some(fixed.clone()),
        signing: Some(fixed.clone()),
        event_rules: Arc::default(),
        clocks: fixed.clone(),
        random: fixed,
    }
}

async fn asked(backends: Backends) -> Outcome {
    let t = Bench::new();
    let grants = r#"{
        "state": true, "upstreams": ["key"], "transactions": { "SEK": { "max": "500", "sum": "500", "period": "day" } }
    }"#;
    let grants: Grants = serde_json::from_str(grants).unwrap();
    let run = Run { grants: Arc::new(grants), backends, ..run(Limits::DEFAULT) };
    t.program(guests::asks_for_everything()).await.run(event(b""), run).await
}

fn answer(outcome: Outcome) -> Vec<u8> {
    match outcome.end {
        End::Returned(Some(answer)) => answer,
        End::Failed(failure) => panic!("{failure}: {}", outcome.logs.stderr),
        _ => panic!("no answer"),
    }
}

/// The number of 64 bits that a guest was told at an address.
fn told(answer: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(answer[at - 2048..][..8].try_into().unwrap())
}

#[tokio::test]
async fn same_answers_lead_to_the_same_outcome() {
    let noon = Duration::from_secs(1_800_000_000);
    let [first, second] = [asked(fixed(noon, 7)).await, asked(fixed(noon, 7)).await];
    assert_eq!(first.effects, second.effects);
    assert_eq!(first.effects.len(), 1);
    assert_eq!(first.reads, [Read::Key { key: "key".into(), version: Some("version".into()) }]);
    assert_eq!((first.reads.clone(), first.logs.clone()), (second.reads.clone(), second.logs.clone()));
    let (first, second) = (answer(first), answer(second));
    // All that it was told, in its own memory.
    assert_eq!(first, second);
    assert_eq!(told(&first, 2048), u64::from_le_bytes([8; 8]));
    assert_eq!((told(&first, 2056), told(&first, 2064)), (7, 0));
    assert_eq!((told(&first, 2080), told(&first, 2096)), (1_800_000_000, 1_000_000));
    for text in ["NAME", "someone", "what stands under key", "signed by key", "\u{7}\u{7}\u{7}\u{7}"] {
        assert!(first.windows(text.len()).any(|part| part == text.as_bytes()), "{text:?}");
    }

    let later = answer(asked(fixed(noon + Duration::from_secs(1), 7)).await);
    assert_eq!(told(&later, 2080), 1_800_000_001);
    assert_ne!(answer(asked(fixed(noon, 8)).await), first);
}

/// Writes down what is answered.
struct Recorder {
    backends: Backends,
    answers: Mutex<Vec<String>>,
}

impl Recorder {
    /// Around these; nothing else needs to change for it.
    fn around(backends: Backends) -> (Arc<Recorder>, Backends) {
        let recorder = Arc::new(Recorder { backends: backends.clone(), answers: Mutex::default() });
        let recorded = Backends {
            state: recorder.clone(),
            savings: recorder.clone(),
            http: backends.http.map(|_| recorder.clone() as _),
            signing: backends.signing.map(|_| recorder.clone() as _),
            clocks: recorder.clone(),
            random: recorder.clone(),
            ..backends
        };
        (recorder, recorded)
    }

    fn note(&self, answer: String) {
        self.answers.lock().unwrap().push(answer);
    }
}

#[async_trait]
impl State for Recorder {
    async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Version)>, Error> {
        let value = self.backends.state.get(key).await?;
        self.note(format!("state: {key} has {} bytes", value.as_ref().map_or(0, |(value, _)| value.len())));
        Ok(value)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, Vec<u8>, Version)>, Error> {
        let page = self.backends.state.list(prefix, after, limit).await?;
        self.note(format!("state: {} keys", page.len()));
        Ok(page)
    }
}

#[async_trait]
impl Savings for Recorder {
    fn currency(&self, code: &str) -> Result<Currency, String> {
        let currency = self.backends.savings.currency(code);
        self.note(format!("savings: {code} is {:?}", currency.as_ref().map(|currency| currency.code())));
        currency
    }

    async fn may_save_for(&self, end_user: &str) -> Result<Result<(), String>, Error> {
        let may = self.backends.savings.may_save_for(end_user).await?;
        self.note(format!("savings: {end_user} {may:?}"));
        Ok(may)
    }
}

#[async_trait]
impl Http for Recorder {
    async fn send(
        &self,
        ordinal: u32,
        request: Request<Body>,
        times: Times,
    ) -> Result<Response<Body>, outgoing::Error> {
        let uri = request.uri().to_string();
        let http = self.backends.http.as_ref().expect("it is wrapped only where it is");
        let answer = http.send(ordinal, request, times).await?;
        self.note(format!("http: {ordinal} {uri} {}", answer.status().as_u16()));
        Ok(answer)
    }
}

impl Signing for Recorder {
    fn sign(&self, upstream: &str, data: &[u8]) -> Result<Vec<u8>, String> {
        let signature = self.backends.signing.as_ref().expect("it is wrapped only where it is").sign(upstream, data);
        self.note(format!("signing: {upstream} {} bytes", data.len()));
        signature
    }
}

impl Clocks for Recorder {
    fn wall(&self) -> Duration {
        self.note("clocks: wall".into());
        self.backends.clocks.wall()
    }

    fn monotonic(&self) -> Duration {
        self.note("clocks: monotonic".into());
        self.backends.clocks.monotonic()
    }
}

impl Random for Recorder {
    fn secure(&self, bytes: &mut [u8]) -> Result<(), Error> {
        self.note(format!("random: {} bytes", bytes.len()));
        self.backends.random.secure(bytes)
    }

    fn insecure(&self, bytes: &mut [u8]) -> Result<(), Error> {
        self.note(format!("random: {} insecure bytes", bytes.len()));
        self.backends.random.insecure(bytes)
    }

    fn insecure_seed(&self) -> Result<u128, Error> {
        self.note("random: seed".into());
        self.backends.random.insecure_seed()
    }
}

#[tokio::test]
async fn recorder_around_the_backends_sees_every_answer() {
    let plain = answer(asked(fixed(Duration::from_secs(1), 7)).await);
    let (recorder, recorded) = Recorder::around(fixed(Duration::from_secs(1), 7));
    assert_eq!(answer(asked(recorded).await), plain);
    assert_eq!(
        *recorder.answers.lock().unwrap(),
        [
            // When the run begins.
            "clocks: monotonic",
            "clocks: wall",
            "random: 8 insecure bytes",
            "random: seed",
            // The time of day goes on from the beginning of the run.
            "clocks: monotonic",
            "clocks: monotonic",
            "random: 16 bytes",
            "state: key has 21 bytes",
            "savings: SEK is Ok(\"SEK\")",
            "signing: key 5 bytes",
            "http: 1 https://value/ 200",
        ]
    );
}

/// Has no randomness.
struct Dry;

impl Random for Dry {
    fn secure(&self, _bytes: &mut [u8]) -> Result<(), Error> {
        Err(backends::Error("the source is dry".into()))
    }

    fn insecure(&self, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.fill(0);
        Ok(())
    }

    fn insecure_seed(&self) -> Result<u128, Error> {
        Ok(0)
    }
}

#[tokio::test]
async fn missing_randomness_is_a_host_failure() {
    let backends = Backends { random: Arc::new(Dry), ..fixed(Duration::ZERO, 0) };
    let outcome = asked(backends).await;
    let End::Failed(larder_model::Failure::Host(why)) = outcome.end else { panic!("the guest went on") };
    assert!(why.contains("the source is dry"), "{why}");
}

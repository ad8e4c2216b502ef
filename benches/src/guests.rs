//! The guests, and what they are asked.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use larder_model::grants::{Grants, Period, TransactionGrant};
use larder_model::state::Version;
use larder_model::{Amount, Currency, Digest, Event, Limits, Usage};
use larder_runtime::backends::{self, Backends, Error, Variables};
use larder_runtime::{Answer, Call, Enrolment, LoadError, Program, Run, Runtime, Source};

use crate::bare;

pub const HELLO_PATH: &str = "/hello";
/// What `hello-http` answers there, and `raw-hello` everywhere.
pub const HELLO: &[u8] = b"Hello, world!\n";

/// Those that greet: the example by Larder's SDK, the same by `wstd`, and the least that greets.
pub struct Hellos {
    pub sdk: Vec<u8>,
    pub wstd: Vec<u8>,
    pub raw: Vec<u8>,
}

impl Hellos {
    pub fn build() -> Hellos {
        let guest = larder_tests::guests::guest;
        Hellos { sdk: guest("hello-http"), wstd: guest("wstd-hello"), raw: guest("raw-hello") }
    }
}

/// The smallest typed guest, which has no start-up and imports nothing. It answers "hello".
pub fn small() -> Vec<u8> {
    larder_tests::guests::wat(include_str!("../../runtime/tests/hello.wat"))
}

const SETTINGS: &str = r#"{"monthlyCap": "200.00"}"#;

/// The same component under another digest: a custom section is appended that nobody reads.
pub fn distinct(wasm: &[u8], n: u32) -> Vec<u8> {
    const NAME: &[u8] = b"bench";
    let mut copy = wasm.to_vec();
    copy.extend([0, (1 + NAME.len() + 4) as u8, NAME.len() as u8]);
    copy.extend(NAME);
    copy.extend(n.to_le_bytes());
    copy
}

pub fn hello_request() -> Request<Full<Bytes>> {
    Request::builder().uri(format!("http://demo.localhost{HELLO_PATH}")).body(Full::default()).expect("a request")
}

/// What the host around [`Program::run`] keeps from call to call.
#[derive(Clone)]
pub struct Around {
    variables: Arc<Variables>,
    grants: Arc<Grants>,
    nothing: Arc<Nothing>,
}

impl Around {
    pub fn new() -> Around {
        let amount = |text| Amount::parse(text, Currency::current("SEK").expect("a currency")).expect("an amount");
        let savings = TransactionGrant::new(amount("500.00"), amount("1000.00"), Period::Day);
        let transactions = savings.into_iter().collect();
        let grants = Arc::new(Grants { state: true, transactions, ..Grants::default() });
        Around { variables: Arc::default(), grants, nothing: Arc::new(Nothing) }
    }

    fn run(&self, enrolment: Option<Enrolment>) -> Run {
        Run {
            execution: "01K00000000000000000000000".into(),
            limits: Limits::DEFAULT,
            grants: self.grants.clone(),
            lane: Arc::default(),
            backends: Backends {
                variables: self.variables.clone(),
                enrolment,
                ..Backends::new(self.nothing.clone(), self.nothing.clone())
            },
        }
    }
}

/// Gives what the call used.
pub async fn larder_hello(program: &Program, around: &Around) -> Usage {
    let request = hello_request().map(|body| body.map_err(|never| match never {}).boxed_unsync());
    let outcome = program.run(Call::Http { request, answer: Answer::Buffered, sanitize: None }, around.run(None)).await;
    match outcome.end {
        larder_model::End::Answered(response) => assert_eq!(&response.body()[..], HELLO),
        larder_model::End::Failed(failure) => panic!("the greeting failed: {failure}"),
        _ => panic!("nobody greeted"),
    }
    outcome.usage
}

pub async fn bare_hello(component: &bare::Http) {
    let response = component.call(hello_request()).await.expect("a greeting");
    assert_eq!(&response.body()[..], HELLO);
}

/// What a typed guest is told.
#[derive(Clone, Copy)]
pub struct Told {
    kind: &'static str,
    data: &'static [u8],
    /// What it does: the number of its effects.
    effects: usize,
}

/// For `round-up`, which reads state, writes it and saves.
pub const PURCHASE: Told = Told {
    kind: "card.purchase",
    data: br#"{"amount": "42.50", "currency": "SEK", "merchant": "Espresso House"}"#,
    effects: 2,
};
/// For the smallest guest, which does not look at it.
pub const ANYTHING: Told = Told { kind: "any.thing", data: b"{}", effects: 0 };
/// For `probe`, which computes for some 10 ms. [`spin`] is the same without a sandbox.
pub const SPIN: Told = Told { kind: "probe.spin", data: br#"{"rounds": 4000000}"#, effects: 0 };
pub const SPIN_ROUNDS: u64 = 4_000_000;

pub fn spin(rounds: u64) -> u64 {
    (0..rounds).fold(1u64, |sum, round| std::hint::black_box(sum.wrapping_mul(31) ^ round))
}

const SUBJECT: &str = "card-001";
const TIME: &str = "2026-11-21T09:15:00Z";

pub async fn larder_event(program: &Program, around: &Around, told: Told) {
    let event = Event {
        id: "event-1".into(),
        source: "/cards".into(),
        kind: told.kind.into(),
        subject: Some(SUBJECT.into()),
        time: TIME.into(),
        data_content_type: "application/json".into(),
        attributes: Default::default(),
        data: Bytes::from_static(told.data),
    };
    let enrolment = Enrolment { end_user: "anna".into(), topic: SUBJECT.into(), settings: SETTINGS.into() };
    let outcome = program.run(Call::Event { event, headers: Default::default() }, around.run(Some(enrolment))).await;
    if let larder_model::End::Failed(failure) = &outcome.end {
        panic!("{} failed: {failure}", told.kind);
    }
    assert_eq!(outcome.effects.len(), told.effects);
}

pub async fn bare_event(component: &bare::Handler, told: Told) {
    let event = bare::Event {
        id: "event-1".into(),
        source: "/cards".into(),
        type_: told.kind.into(),
        subject: Some(SUBJECT.into()),
        time: TIME.into(),
        data_content_type: "application/json".into(),
        data: told.data.to_vec(),
    };
    let enrolment = bare::Enrolment { end_user: "anna".into(), topic: SUBJECT.into(), settings: SETTINGS.into() };
    component.call(&event, enrolment).await.expect("it is handled");
}

/// Compiles, seals and loads.
pub async fn program(runtime: &Runtime, wasm: &[u8]) -> anyhow::Result<Arc<Program>> {
    let artifact = runtime.compile(wasm.to_vec().into()).await?;
    assert_eq!(artifact.digest, Digest::of(wasm).to_string());
    Ok(load(runtime, &Digest::of(wasm)).await?)
}

/// From the sealed artifact; there is no upload to fall back to.
pub async fn load(runtime: &Runtime, digest: &Digest) -> Result<Arc<Program>, LoadError> {
    runtime.load(digest, &Nothing).await
}

/// Backends with nothing in them.
struct Nothing;

#[async_trait::async_trait]
impl Source for Nothing {
    async fn upload(&self, digest: &Digest) -> Result<Bytes, String> {
        Err(format!("{digest} was to come from its artifact"))
    }
}

#[async_trait::async_trait]
impl backends::State for Nothing {
    async fn get(&self, _: &str) -> Result<Option<(Vec<u8>, Version)>, Error> {
        Ok(None)
    }

    async fn list(&self, _: &str, _: Option<&str>, _: u32) -> Result<Vec<(String, Vec<u8>, Version)>, Error> {
        Ok(vec![])
    }
}

#[async_trait::async_trait]
impl backends::Savings for Nothing {
    fn currency(&self, code: &str) -> Result<Currency, String> {
        Currency::current(code)
    }

    async fn may_save_for(&self, _: &str) -> Result<Result<(), String>, Error> {
        Ok(Ok(()))
    }
}

//! Rate limits, and what a client is told that exceeds one.

use larder_tests::{Api, Backend, Issuer, Larder, Options, both, now};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::json;

/// Sends until one is refused; how many were let in, and the refusal.
async fn until_refused(request: impl Fn() -> RequestBuilder) -> (u64, Response) {
    for let_in in 0..200 {
        let answer = request().send().await.unwrap();
        if answer.status() == 429 {
            return (let_in, answer);
        }
    }
    panic!("nothing was refused");
}

async fn is_told(answer: Response, burst: u64, setting: &str) {
    let number = |name: &str| answer.headers()[name].to_str().unwrap().parse::<i64>().unwrap();
    let (limit, remaining) = (number("x-ratelimit-limit"), number("x-ratelimit-remaining"));
    let (reset, after) = (number("x-ratelimit-reset"), number("retry-after"));
    assert_eq!((limit, remaining), (burst as i64, 0));
    assert!((1..=2).contains(&after), "{after}");
    assert!((now()..=now() + 12).contains(&reset), "{reset}");
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(body["type"], "general_rate_limit_exceeded");
    assert!(body["message"].as_str().unwrap().contains(setting), "{body}");
}

/// One a second, ten at once.
const RATE: &str = "60";

both!(a_rate_is_a_burst_and_then_its_pace, async |on| {
    let larder = Larder::start_with(Options::on(on).set("LARDER_RATES__PER_END_USER", RATE)).await;
    let issuer = Issuer::start().await;
    larder.api().put("/identity", issuer.settings()).await.is(200);
    let (anna, bo) = (issuer.token("anna"), issuer.token("bo"));
    let me = |token: &str| larder.web("demo", Method::GET, "/_larder/me").bearer_auth(token);
    let begun = std::time::Instant::now();
    let (let_in, refused) = until_refused(|| me(&anna)).await;
    let paid = begun.elapsed().as_secs() + 1;
    assert!((10..=10 + paid).contains(&let_in), "{let_in} in {paid} s");
    is_told(refused, 10, "rates.per_end_user").await;
    // Nobody else is concerned, and a client that waits as it was told is let in again.
    assert_eq!(me(&bo).send().await.unwrap().status(), 200);
    larder_tests::eventually("another request", async || {
        (me(&anna).send().await.unwrap().status() == 200).then_some(())
    })
    .await;
    let (_, metrics) = larder.internal("/metrics").await;
    assert!(metrics.contains("larder_refused_total{cap=\"rates.per_end_user\"}"), "{metrics}");
});

both!(partners_and_keys_have_rates_of_their_own, async |on| {
    // Of a key: at the API, and not of another key.
    let larder = Larder::start_with(Options::on(on).set("LARDER_RATES__PER_KEY", RATE)).await;
    let (api, other) = (larder.api(), larder.partner("other").await);
    let (let_in, refused) = until_refused(|| api.request(Method::GET, "/functions")).await;
    assert!((10..=14).contains(&let_in), "{let_in}");
    is_told(refused, 10, "rates.per_key").await;
    other.get("/functions").await.is(200);
    let key = larder.operator().post("/partners/demo/keys", json!({ "scopes": ["functions.read"] })).await.is(201);
    larder.api_of(Some("demo"), key["secret"].as_str()).get("/functions").await.is(200);
    // Of a partner: at both endpoints together, and not of another partner.
    let larder = Larder::start_with(Options::on(on).set("LARDER_RATES__PER_PARTNER", RATE)).await;
    larder.api().get("/functions").await.is(200);
    let (let_in, refused) = until_refused(|| larder.web("demo", Method::GET, "/nothing")).await;
    assert!((9..=13).contains(&let_in), "{let_in}");
    is_told(refused, 10, "rates.per_partner").await;
    larder.api().get("/functions").await.is_error(429, "general_rate_limit_exceeded");
    larder.partner("other").await.get("/functions").await.is(200);
});

both!(an_address_is_limited_unless_it_is_exempt, async |on| {
    let options =
        |exempt: &str| Options::on(on).set("LARDER_RATES__PER_ADDRESS", RATE).set("LARDER_RATES__EXEMPT", exempt);
    let larder = Larder::start_with(options("10.0.0.0/8")).await;
    let (_, refused) = until_refused(|| larder.web("demo", Method::GET, "/nothing")).await;
    is_told(refused, 10, "rates.per_address").await;
    // Probes are not concerned.
    assert_eq!(larder.internal("/health/live").await.0, 200);
    let larder = Larder::start_with(options("127.0.0.1/32")).await;
    for _ in 0..30 {
        assert_eq!(larder.web("demo", Method::GET, "/nothing").send().await.unwrap().status(), 404);
    }
    // What the replaced platform calls it.
    let off = Options::on(on).set("LARDER_RATES__PER_PARTNER", "1").set("_APP_OPTIONS_ABUSE", "disabled");
    let larder = Larder::start_with(off).await;
    for _ in 0..5 {
        larder.api().get("/functions").await.is(200);
    }
    let refused = Larder::refusal(&[("_APP_OPTIONS_ABUSE", "maybe".into())]);
    assert!(refused.contains("_APP_OPTIONS_ABUSE must be enabled or disabled"), "{refused}");
});

#[tokio::test(flavor = "multi_thread")]
async fn processes_share_a_rate_through_redis_and_go_on_without_it() {
    let options =
        || Options::on(Backend::Services).set("LARDER_RATES__PER_KEY", "120").set("LARDER_RATES__BURST", "20s");
    let one = Larder::start_with(options()).await;
    let other = one.start_beside(options()).await;
    let ask = |larder: &Larder| {
        let api = larder.api_of(Some("demo"), Some(one.key()));
        async move { Api::send(api.request(Method::GET, "/functions")).await.status }
    };
    // Forty at once, and two in a second, whomever they are sent to.
    let begun = std::time::Instant::now();
    let mut let_in = 0;
    for _ in 0..40 {
        let_in += u64::from(ask(&one).await == 200) + u64::from(ask(&other).await == 200);
    }
    let paid = 2 * (begun.elapsed().as_secs() + 1);
    // What one has leased and does not need is not lost to more than a lease each.
    assert!((40 - 2 * 4..=40 + paid).contains(&let_in), "{let_in} in {paid} s");
}

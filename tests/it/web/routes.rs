//! The web endpoint: routes, real requests, refusals.

use larder_tests::{Larder, both, guests};
use reqwest::Method;
use serde_json::json;

both!(a_function_answers_the_real_request_by_its_longest_route, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("hello", &guests::guest("hello-http"), json!({ "routes": ["/hello", "/echo"] })).await;
    let answer = larder.web("demo", Method::GET, "/hello?name=Anna").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().contains_key("x-appwrite-execution-id"));
    assert!(answer.text().await.unwrap().contains("Anna"));
    assert_eq!(larder.web("demo", Method::GET, "/nothing").send().await.unwrap().status(), 404);
    assert_eq!(larder.web("nobody", Method::GET, "/hello").send().await.unwrap().status(), 404);
});

//! The HTTP function of sdk/README.md, and its test.

use larder_sdk::prelude::*;
use larder_sdk::serve::{Request, Response};

fn greet(request: &Request, _run: &mut Run) -> Result<Response, Error> {
    match (request.method(), request.path()) {
        ("GET", "/hello") => Ok(Response::text("Hello!\n")),
        ("POST", "/hello/length") => Response::json(&json!({ "bytes": request.body()?.len() })),
        (method, path) => Ok(Response::text(format!("no {method} {path} here\n")).status(404)),
    }
}

larder_sdk::http!(greet);

#[test]
fn the_sample_answers_requests() {
    use larder_sdk::testing::TestRun;

    let answer = |request| TestRun::new().serve(greet, request).result;
    assert_eq!(answer(Request::new("GET", "/hello")), Ok(Response::text("Hello!\n")));
    assert_eq!(
        answer(Request::new("POST", "/hello/length").with_body("12345")),
        Response::json(&json!({ "bytes": 5 }))
    );
    assert_eq!(answer(Request::new("GET", "/")).unwrap().code(), 404);
}

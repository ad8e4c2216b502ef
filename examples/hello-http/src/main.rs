//! An ordinary HTTP component: standard `wasi:http`, nothing of Larder's.
//!
//! * `GET /hello` greets, `GET /hello?name=Anna` somebody.
//! * `POST /hello/echo` answers with the body and its media type.
//! * `POST /hello/sum` reads `{"numbers": [1, 2]}` and answers `{"sum": 3}`, or says what is wrong with it.
//! * `GET /hello/variable` shows the variable `GREETING` from `larder.toml`.
//! * `GET /hello/slow?ms=500` answers after that time. Waiting costs no CPU time.
//! * An event comes as a `POST` with the CloudEvents attributes in `ce-` headers, wherever it is sent: it is logged.

use serde::{Deserialize, Serialize};
use wstd::http::{Body, Method, Request, Response, Result, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>> {
    let (head, mut body) = request.into_parts();
    if let (Some(id), Some(type_)) = (head.headers.get("ce-id"), head.headers.get("ce-type")) {
        println!("event {id:?} of type {type_:?} with {} bytes of data", body.contents().await?.len());
        return Ok(Response::builder().status(StatusCode::NO_CONTENT).body(Body::empty())?);
    }
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/hello") => text(StatusCode::OK, format!("{}\n", greeting(head.uri.query()))),
        (&Method::POST, "/hello/echo") => {
            let mut response = Response::builder();
            if let Some(media_type) = head.headers.get("content-type") {
                response = response.header("content-type", media_type);
            }
            Ok(response.body(body.contents().await?.to_vec().into())?)
        }
        (&Method::POST, "/hello/sum") => match sum(body.contents().await?) {
            Ok(sum) => {
                Ok(Response::builder().header("content-type", "application/json").body(Body::from_json(&sum)?)?)
            }
            Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        },
        (&Method::GET, "/hello/variable") => match std::env::var("GREETING") {
            Ok(greeting) => text(StatusCode::OK, format!("{greeting}\n")),
            Err(_) => text(StatusCode::NOT_FOUND, "the variable GREETING is not set\n".to_owned()),
        },
        (&Method::GET, "/hello/slow") => {
            let ms = parameter(head.uri.query(), "ms").parse().unwrap_or(1_000);
            wstd::task::sleep(wstd::time::Duration::from_millis(ms)).await;
            text(StatusCode::OK, format!("waited {ms} ms\n"))
        }
        (method, path) => text(StatusCode::NOT_FOUND, format!("no {method} {path} here\n")),
    }
}

fn text(status: StatusCode, text: String) -> Result<Response<Body>> {
    Ok(Response::builder().status(status).header("content-type", "text/plain; charset=utf-8").body(text.into())?)
}

fn greeting(query: Option<&str>) -> String {
    let name = parameter(query, "name");
    format!("Hello, {}!", if name.is_empty() { "world" } else { name })
}

/// The parameter's text as it stands in the query, empty if it is not there.
fn parameter<'a>(query: Option<&'a str>, name: &str) -> &'a str {
    let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

#[derive(Deserialize)]
struct Numbers {
    numbers: Vec<i64>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Sum {
    sum: i64,
}

fn sum(body: &[u8]) -> std::result::Result<Sum, String> {
    let Numbers { numbers } = serde_json::from_slice(body).map_err(|err| err.to_string())?;
    let sum = numbers.iter().try_fold(0i64, |sum, n| sum.checked_add(*n)).ok_or("the sum is too large")?;
    Ok(Sum { sum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greets_by_name_or_the_world() {
        assert_eq!(greeting(None), "Hello, world!");
        assert_eq!(greeting(Some("name=")), "Hello, world!");
        assert_eq!(greeting(Some("x=1&name=Anna&y=2")), "Hello, Anna!");
    }

    #[test]
    fn sums_and_says_what_is_wrong() {
        assert_eq!(sum(br#"{"numbers":[1,2,-5]}"#), Ok(Sum { sum: -2 }));
        assert!(sum(b"{}").unwrap_err().starts_with("missing field `numbers`"));
        assert_eq!(
            sum(format!(r#"{{"numbers":[{},1]}}"#, i64::MAX).as_bytes()),
            Err("the sum is too large".to_owned())
        );
    }
}

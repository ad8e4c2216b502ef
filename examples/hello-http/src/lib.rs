//! An ordinary HTTP component: it exports the standard `wasi:http/incoming-handler` and imports nothing of Larder's.
//!
//! * `GET /hello` greets, `GET /hello?name=Anna` somebody.
//! * `POST /hello/echo` answers with the body and its media type.
//! * `POST /hello/sum` reads `{"numbers": [1, 2]}` and answers `{"sum": 3}`, or says what is wrong with it.
//! * `GET /hello/variable` shows the variable `GREETING` from `larder.toml`.
//! * `GET /hello/slow?ms=500` answers after that time. Waiting costs no CPU time.
//! * An event comes as a `POST` with the CloudEvents attributes in `ce-` headers, wherever it is sent: it is logged.

use std::time::Duration;

use larder_sdk::prelude::*;
use larder_sdk::serde_json;
use larder_sdk::serve::{Request, Response};

fn hello(request: &Request, _run: &mut Run) -> Result<Response, Error> {
    match (request.method(), request.path()) {
        ("POST", _) if let Some(id) = request.header("ce-id") => {
            let type_ = request.header("ce-type").unwrap_or_default();
            println!("event {id:?} of type {type_:?} with {} bytes of data", request.body()?.len());
            Ok(Response::new(204))
        }
        ("GET", "/hello") => Ok(Response::text(format!("{}\n", greeting(request.query())))),
        ("POST", "/hello/echo") => {
            let response = Response::new(200).body(request.body()?.to_vec());
            Ok(match request.header("content-type") {
                Some(media_type) => response.header("content-type", media_type),
                None => response,
            })
        }
        ("POST", "/hello/sum") => match sum(request.body()?) {
            Ok(sum) => Response::json(&sum),
            Err(why) => Ok(Response::text(format!("{why}\n")).status(400)),
        },
        ("GET", "/hello/variable") => Ok(match std::env::var("GREETING") {
            Ok(greeting) => Response::text(format!("{greeting}\n")),
            Err(_) => Response::text("the variable GREETING is not set\n").status(404),
        }),
        ("GET", "/hello/slow") => {
            let ms = parameter(request.query(), "ms").parse().unwrap_or(1_000);
            std::thread::sleep(Duration::from_millis(ms));
            Ok(Response::text(format!("waited {ms} ms\n")))
        }
        (method, path) => Ok(Response::text(format!("no {method} {path} here\n")).status(404)),
    }
}

larder_sdk::http!(hello);

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

fn sum(body: &[u8]) -> Result<Sum, String> {
    let Numbers { numbers } = serde_json::from_slice(body).map_err(|err| err.to_string())?;
    let sum = numbers.iter().try_fold(0i64, |sum, n| sum.checked_add(*n)).ok_or("the sum is too large")?;
    Ok(Sum { sum })
}

#[cfg(test)]
mod tests {
    use larder_sdk::testing::TestRun;

    use super::*;

    #[test]
    fn greets_by_name_or_the_world() {
        for (target, text) in [("/hello", "world"), ("/hello?name=", "world"), ("/hello?x=1&name=Anna&y=2", "Anna")] {
            let response = TestRun::new().serve(hello, Request::new("GET", target)).result.unwrap();
            assert_eq!((response.code(), response.bytes()), (200, format!("Hello, {text}!\n").as_bytes()));
        }
    }

    #[test]
    fn sums_and_says_what_is_wrong() {
        let sum = |body: &str| {
            let request = Request::new("POST", "/hello/sum").with_body(body);
            let response = TestRun::new().serve(hello, request).result.unwrap();
            (response.code(), String::from_utf8_lossy(response.bytes()).into_owned())
        };
        assert_eq!(sum(r#"{"numbers":[1,2,-5]}"#), (200, r#"{"sum":-2}"#.to_owned()));
        assert!(matches!(sum("{}"), (400, why) if why.starts_with("missing field `numbers`")));
        assert_eq!(sum(&format!(r#"{{"numbers":[{},1]}}"#, i64::MAX)), (400, "the sum is too large\n".to_owned()));
    }

    #[test]
    fn events_are_logged_wherever_they_are_sent() {
        let event = Request::new("POST", "/").with_header("ce-id", "1").with_header("ce-type", "hello.said");
        assert_eq!(TestRun::new().serve(hello, event).result, Ok(Response::new(204)));
    }
}

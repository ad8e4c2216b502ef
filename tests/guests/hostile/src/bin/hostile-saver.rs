//! A component of both worlds with effects: its HTTP answers leave after they have committed.

use std::thread::sleep;
use std::time::Duration;

use hostile::{Body, answer, grow, recurse, say, spin, target, trap, write_as};
use larder_sdk::bindings::larder::function::{events, savings, state};
use larder_sdk::{Error, Event, Run};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{ErrorCode, Fields, IncomingRequest, ResponseOutparam};

struct Saver;

wasip2::http::proxy::export!(Saver);

fn main() {}

impl Guest for Saver {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let (path, query) = target(&request);
        let begin = |out| Body::begin(out, 200, Fields::new());
        match path.rsplit('/').next().unwrap_or_default() {
            "fine" => answer(out, 200, "fine\n"),
            "save" => match save("1") {
                Ok(id) => answer(out, 200, &id),
                Err(why) => answer(out, 422, &why),
            },
            // The answer is whole long before the run ends, and the saving comes last.
            "answer-first" => {
                let body = begin(out);
                body.write(b"said before it was done");
                body.finish();
                sleep(Duration::from_millis(300));
                save("1").expect("a saving");
            }
            // Whole: it may have effects.
            "pour" => answer(out, 200, &"x".repeat(query.parse().expect("a number"))),
            "save-and-trap-midway" => {
                save("1").expect("a saving");
                let body = begin(out);
                body.write(b"half of the ans");
                trap();
            }
            "save-and-fail" => {
                save("1").expect("a saving");
                answer(out, 500, "it went wrong\n");
            }
            "save-and-flood" => {
                save("1").expect("a saving");
                let body = begin(out);
                while body.write(&[b'x'; 4096]) {}
            }
            "effects" => {
                let wanted = query.parse().expect("a number");
                for number in 0..wanted {
                    state::increment(&format!("key-{number}"), "1").expect("a number");
                }
                answer(out, 200, "counted\n");
            }
            "many" => answer(out, 200, &many(&query)),
            "many-sum" => {
                let number = |number| {
                    state::get(&many_name("increment", number, "\u{1f600}")).expect("a value").expect("a value")
                };
                let text = |bytes| String::from_utf8(bytes).expect("a number");
                answer(out, 200, &format!("{} {}", text(number(0)), text(number(399))));
            }
            "put" => {
                let (key, value) = query.split_once('=').expect("a key and a value");
                answer(out, 200, &format!("{:?}", state::set(key, value.as_bytes())));
            }
            "bump" => answer(out, 200, &format!("{:?}", state::increment(&query, "1"))),
            "bump-and-look" => {
                let bumped = state::increment(&query, "1").and_then(|()| state::get(&query));
                answer(out, 200, &format!("{:?}", bumped.map(|_| ())));
            }
            "complain-and-trap" => {
                for _ in 0..4_000 {
                    eprintln!("a complaint of some length that nobody will read to its end");
                }
                trap();
            }
            "get" => {
                let value =
                    state::get(&query).expect("an answer").map(|value| String::from_utf8_lossy(&value).into_owned());
                answer(out, 200, &value.unwrap_or_default());
            }
            // Long enough under way that something can be changed meanwhile.
            "save-slowly" => {
                sleep(Duration::from_millis(query.parse().expect("milliseconds")));
                answer(out, 200, &format!("{:?}", save("1")));
            }
            "save-and-answer-bytes" => {
                save("1").expect("a saving");
                let body = begin(out);
                body.write(&[0, 0xff, 0xfe, b'!']);
                body.finish();
            }
            "long-reason" => ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("why ".repeat(250_000))))),
            "large-value" => answer(out, 200, &format!("{:?}", state::set("key", &vec![7; 65_537]))),
            "huge-value" => answer(out, 200, &format!("{:?}", state::set("key", &vec![7; 3 << 20]))),
            "write" => write_as(&query, out),
            "say" => say(&query, out),
            other => answer(out, 404, &format!("there is no {other}\n")),
        }
    }
}

/// `read=1000&increment=400`: so many different things of each kind, with names as long as they may be. 10,000 of those
/// with characters of four bytes would be more than the effects of one run may have together.
fn many(query: &str) -> String {
    for (kind, count) in query.split('&').map(|part| part.split_once('=').expect("a kind and a number")) {
        let count: usize = count.parse().expect("a number");
        let fill = if count > 1_000 { "x" } else { "\u{1f600}" };
        for number in 0..count {
            let name = many_name(kind, number, fill);
            match kind {
                "read" => assert_eq!(state::get(&name), Ok(None)),
                "increment" => state::increment(&name, "1").expect("a number"),
                "set" => state::set(&name, b"v").expect("a value"),
                "delete" => state::delete(&name).expect("a key"),
                "value" => state::set(&name, &vec![7; 65_536]).expect("a value"),
                "value-read" => {
                    state::get(&many_name("value", number, fill)).expect("a value");
                }
                "list" => {
                    state::list("value", None).expect("entries");
                }
                "emit" => {
                    let event = events::NewEvent {
                        type_: "one.more".into(),
                        subject: Some(name),
                        data_content_type: String::new(),
                        data: vec![],
                    };
                    events::emit(&event).expect("an event");
                }
                // For whom the run is, and for somebody by name.
                "own" => drop(transaction(None, "1", Some("m".repeat(200))).expect("a saving")),
                "save" => drop(transaction(Some("anna".into()), "1", Some("m".repeat(200))).expect("a saving")),
                other => panic!("there is no {other}"),
            }
        }
    }
    "done\n".into()
}

fn many_name(kind: &str, number: usize, fill: &str) -> String {
    format!("{kind}-{number:05}{}", fill.repeat(255 - 6 - kind.len()))
}

larder_sdk::function!(handle);

/// The event's data says what to do.
fn handle(event: Event<String>, _run: &mut Run) -> Result<Vec<u8>, Error> {
    match event.data.as_str() {
        "fine" => Ok(b"fine".to_vec()),
        "spin" => spin(),
        "grow" => grow(),
        "recurse" => Ok(recurse(0).to_string().into()),
        "sleep" => loop {
            sleep(Duration::from_secs(1_000));
        },
        "large-answer" => Ok(vec![b'x'; 200_000]),
        "save-and-trap" => {
            save("1").map_err(Error::reject)?;
            trap();
        }
        "save-and-exit" => {
            save("1").map_err(Error::reject)?;
            std::process::exit(1);
        }
        "effects" => loop {
            let event = events::NewEvent {
                type_: "one.more".into(),
                subject: None,
                data_content_type: String::new(),
                data: vec![],
            };
            events::emit(&event).expect("an event");
        },
        other => Err(Error::reject(format!("there is no {other}"))),
    }
}

fn save(amount: &str) -> Result<String, String> {
    transaction(Some("anna".into()), amount, None)
}

fn transaction(end_user: Option<String>, amount: &str, memo: Option<String>) -> Result<String, String> {
    savings::create_transaction(&savings::Transaction { end_user, amount: amount.into(), currency: "SEK".into(), memo })
}

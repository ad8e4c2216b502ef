//! A component of both worlds with effects: its HTTP answers leave after they have committed.

use std::thread::sleep;
use std::time::Duration;

use hostile::{Body, answer, grow, recurse, spin, target, trap, write_as};
use larder_sdk::bindings::larder::function::{events, savings, state};
use larder_sdk::{Error, Event, Run};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, ResponseOutparam};

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
            "large-value" => answer(out, 200, &format!("{:?}", state::set("key", &vec![7; 65_537]))),
            "huge-value" => answer(out, 200, &format!("{:?}", state::set("key", &vec![7; 3 << 20]))),
            "write" => write_as(&query, out),
            other => answer(out, 404, &format!("there is no {other}\n")),
        }
    }
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
    savings::create_transaction(&savings::Transaction {
        end_user: Some("anna".into()),
        amount: amount.into(),
        currency: "SEK".into(),
        memo: None,
    })
}

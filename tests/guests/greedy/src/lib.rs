//! A guest that takes as much of everything as it can get.
//!
//! * the event `greedy.more` {count}: emits itself that often.
//! * the event `greedy.fan`, for each enrolment: computes for a millisecond or so.
//! * an execution {do: …}: `sleep` {ms} · `spin` · `grow` {bytes, ms} · `log` {bytes} · `fill` {from, count, bytes} and
//!   `read` {count}, which reads as many values and writes one byte · `conflict`, which reads and writes one value.

use std::hint::black_box;
use std::time::Duration;

use larder_sdk::prelude::*;
use larder_sdk::serde_json::{Value, json};

fn greedy(event: Event<Value>, run: &mut Run) -> Result<Value, Error> {
    let number = |name: &str| event.data[name].as_u64().unwrap_or(0);
    let pause = || std::thread::sleep(Duration::from_millis(number("ms")));
    match event.type_.as_str() {
        "greedy.more" => {
            for _ in 0..number("count") {
                run.emit("greedy.more", None, &event.data)?;
            }
        }
        "greedy.fan" => {
            black_box((0..1_000_000u64).fold(0, |sum: u64, next| black_box(sum.wrapping_add(next))));
        }
        _ => match event.data["do"].as_str().unwrap_or_default() {
            "sleep" => pause(),
            "spin" => loop {
                black_box(());
            },
            "grow" => {
                let memory = vec![1u8; number("bytes") as usize];
                pause();
                black_box(memory);
            }
            "log" => {
                let line = "x".repeat(1_000);
                for _ in 0..number("bytes") / 1_000 {
                    println!("{line}");
                }
            }
            "fill" => {
                let value = "v".repeat(number("bytes") as usize);
                for key in 0..number("count") {
                    run.state().set(&format!("key-{}", number("from") + key), &value)?;
                }
            }
            "read" => {
                for key in 0..number("count") {
                    black_box(run.state().get::<String>(&format!("key-{key}"))?);
                }
                run.state().set(&format!("by-{}", event.id), &1)?;
            }
            "conflict" => {
                let count: u64 = run.state().get("one")?.unwrap_or(0);
                run.state().set("one", &(count + 1))?;
            }
            other => return Err(Error::reject(format!("what is {other}?"))),
        },
    }
    Ok(json!({}))
}

larder_sdk::function!(greedy);

//! A guest whose effects an oracle can foretell.
//!
//! * `probe.save` {amount}: saves for the enrolment, or else for the end user "clock"; the memo is the event's id. Reads
//!   and writes `count` (which conflicts), increments `sum` by the amount in minor units, emits `probe.echo`.
//! * `probe.echo`: increments `echoes`.
//! * `probe.retry` {until}: asks to be retried until it has run that often, which it cannot remember: always.
//! * `probe.after` {count}: asks to be retried until `count` is that high, then saves 1.00 for "clock"; the memo is the event's id.
//! * `probe.attributes`: prints the event's attributes and emits `probe.told` with them, which prints its own.
//! * `probe.reject`: refuses.
//! * `probe.who`: prints whom the enrolment is of.
//! * `probe.loop`: emits itself again.
//! * `probe.multiply` {count}: emits so many of itself.
//! * `probe.emit` {type}: emits an event of this type.
//! * `probe.look` {save}: reads `count` and `sum`, and saves 1.00 for the enrolment if `save` is true; the memo is the event's id.
//! * `probe.spin` {rounds}: computes for so long.
//! * `probe.slow` {ms}: waits, then saves 1.00 for the enrolment, or else for "clock"; the memo is the event's id.
//! * a schedule's firing: saves 1.00 for "clock"; the memo is the nominal time.
//! * an execution {amount, memo, endUser}: saves that, for "clock" unless it names somebody. Without an amount: answers with all
//!   of its state.

use larder_sdk::prelude::*;
use larder_sdk::serde_json::Value;

fn probe(event: Event<Value>, run: &mut Run) -> Result<Value, Error> {
    match event.type_.as_str() {
        "probe.save" => {
            let amount: Decimal = event.data["amount"].as_str().unwrap_or("1.00").parse()?;
            let money = Money::new(amount, "SEK".parse()?).memo(&event.id);
            run.save(if run.enrolment().is_ok() { money } else { money.end_user("clock") })?;
            let count: u64 = run.state().get("count")?.unwrap_or(0);
            run.state().set("count", &(count + 1))?;
            run.state().increment("sum", (amount * Decimal::ONE_HUNDRED).try_into()?)?;
            run.emit("probe.echo", event.subject.as_deref(), &event.data)?;
        }
        "probe.echo" => run.state().increment("echoes", 1)?,
        "probe.retry" => return Err(Error::retry("not yet")),
        "probe.who" => println!("{}", run.enrolment()?.end_user),
        "probe.attributes" => {
            run.emit_with("probe.told", None, &event.data, &run.attributes())?;
            println!("{:?}", run.attributes());
        }
        "probe.told" => println!("{:?}", run.attributes()),
        "probe.reject" => return Err(Error::reject("never")),
        "probe.look" => {
            let (count, sum): (Option<u64>, Option<i64>) = (run.state().get("count")?, run.state().get("sum")?);
            if event.data["save"] == true && count >= sum.map(|_| 0) {
                run.save(Money::new(Decimal::ONE, "SEK".parse()?).memo(&event.id))?;
            }
        }
        "probe.spin" => {
            let rounds = event.data["rounds"].as_u64().unwrap_or(0);
            let sum = (0..rounds).fold(1u64, |sum, round| std::hint::black_box(sum.wrapping_mul(31) ^ round));
            println!("{sum}");
        }
        "probe.slow" => {
            std::thread::sleep(std::time::Duration::from_millis(event.data["ms"].as_u64().unwrap_or(0)));
            let money = Money::new(Decimal::ONE, "SEK".parse()?).memo(&event.id);
            run.save(if run.enrolment().is_ok() { money } else { money.end_user("clock") })?;
        }
        "probe.after" => {
            let count: u64 = run.state().get("count")?.unwrap_or(0);
            if count < event.data["count"].as_u64().unwrap_or(0) {
                return Err(Error::retry("too early"));
            }
            run.save(Money::new(Decimal::ONE, "SEK".parse()?).memo(&event.id).end_user("clock"))?;
        }
        "probe.loop" => {
            run.state().increment("loops", 1)?;
            run.emit("probe.loop", None, &Value::Null)?;
        }
        "probe.multiply" => {
            for _ in 0..event.data["count"].as_u64().unwrap_or(0) {
                run.emit("probe.multiply", None, &event.data)?;
            }
        }
        "probe.emit" => {
            run.emit(event.data["type"].as_str().unwrap_or_default(), None, &Value::Null)?;
        }
        "larder.schedule" => {
            run.save(Money::new(Decimal::ONE, "SEK".parse()?).memo(&event.time).end_user("clock"))?;
        }
        "larder.execution" if event.data["amount"].is_string() => {
            let amount: Decimal = event.data["amount"].as_str().unwrap_or_default().parse()?;
            let memo = event.data["memo"].as_str().unwrap_or_default();
            let saver = event.data["endUser"].as_str().unwrap_or("clock");
            run.save(Money::new(amount, "SEK".parse()?).memo(memo).end_user(saver))?;
        }
        "larder.execution" => {
            let entries = run.state().list::<Value>("", None)?;
            return Ok(entries.into_iter().collect());
        }
        other => return Err(Error::reject(format!("what is {other}?"))),
    }
    Ok(Value::Null)
}

larder_sdk::function!(probe);

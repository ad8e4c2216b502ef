//! `make bench`: what Larder costs, each figure beside that of a bare tuned embedding of wasmtime in the same rounds.
//!
//! * [`fan_out`]: fan-outs beside bare inserts of the same rows (`make bench-fanout`).
//! * [`bare`], [`bare_server`]: what it is measured against. [`measure`]: figures and the table.
//! * [`in_process`]: warm calls and cold starts of the runtime. [`over_http`]: the same of whole servers, and the web endpoint.
//!
//! A missed aim is marked, not an error: on a machine that others use at the time it says little.

mod bare;
mod bare_server;
mod fan_out;
mod guests;
mod in_process;
mod load;
mod machine;
mod measure;
mod over_http;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use measure::{Row, Side, Table};

/// Measures Larder beside a bare embedding of wasmtime
#[derive(Parser)]
struct Arguments {
    /// Alternating rounds
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Less of everything: shows that the benches work, the figures are rough
    #[arg(long)]
    quick: bool,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Warm calls in process
    Warm,
    /// Cold starts in process
    Cold,
    /// Cold starts over HTTP
    ColdHttp,
    /// The web endpoint under load
    Door,
    /// Fan-outs, only if it is named
    FanOut,
}

/// How much is measured.
pub struct Plan {
    rounds: u32,
    /// Calls of one kind in a round.
    warm_calls: usize,
    /// Distinct programs that are started cold in process.
    programs: u32,
    /// Distinct functions that are started cold over HTTP.
    functions: u32,
    /// How long the door is under load, each time.
    door_time: Duration,
}

/// Whose turn it is.
#[derive(Clone, Copy)]
pub enum Turn {
    Bare,
    Larder,
}

impl Plan {
    /// Each is first in every other round.
    fn order(&self, round: u32) -> [Turn; 2] {
        if round.is_multiple_of(2) { [Turn::Bare, Turn::Larder] } else { [Turn::Larder, Turn::Bare] }
    }
}

impl Turn {
    fn is_bare(self) -> bool {
        matches!(self, Turn::Bare)
    }

    fn of(self, row: &mut Row) -> &mut Side {
        match self {
            Turn::Bare => &mut row.bare,
            Turn::Larder => &mut row.larder,
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(argument) if argument == in_process::COMPILE => return larder_runtime::compiler_main(),
        Some(argument) if argument == bare_server::ARGUMENT => {
            let folder = arguments.next().expect("a folder");
            return exit(bare_server::main(Path::new(&folder)));
        }
        _ => {}
    }
    exit(bench(Arguments::parse()))
}

fn exit(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is being done, on stderr: the table alone goes to stdout.
fn say(what: &str) {
    eprintln!("... {what}");
}

fn bench(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.only == [Part::FanOut] {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(fan_out::run(arguments.quick, arguments.rounds));
    }
    let plan = if arguments.quick {
        Plan {
            rounds: arguments.rounds.min(3),
            warm_calls: 1_000,
            programs: 10,
            functions: 5,
            door_time: Duration::from_millis(500),
        }
    } else {
        Plan {
            rounds: arguments.rounds,
            warm_calls: 10_000,
            programs: 50,
            functions: 30,
            door_time: Duration::from_secs(3),
        }
    };
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let machine = machine::facts();
    say("building the guests");
    let (hello, round_up) = (larder_tests::guests::guest("hello-http"), larder_tests::guests::guest("round-up"));
    let mut rows = Vec::new();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        if wanted(Part::Cold) {
            rows.extend(in_process::cold(&plan, &hello).await?);
        }
        if wanted(Part::ColdHttp) {
            rows.extend(over_http::cold(&plan, &hello).await?);
        }
        if wanted(Part::Warm) {
            rows.extend(in_process::warm(&plan, &hello, &round_up).await?);
        }
        if wanted(Part::Door) {
            rows.extend(over_http::door(&plan, &hello).await?);
        }
        anyhow::Ok(())
    })?;
    println!("Larder beside a bare tuned embedding of wasmtime, {} alternating rounds", plan.rounds);
    println!("{machine}, {} at the end", machine::load());
    println!("medians of the rounds, p99 of all calls, the ratio is Larder / bare\n");
    print!("{}", Table(&rows));
    Ok(())
}

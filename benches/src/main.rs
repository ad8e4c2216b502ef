//! `make bench`: what Larder costs, each figure beside that of what one would have without it, in the same rounds.
//!
//! * [`bare`], [`bare_server`], [`servers`]: what it is measured against. [`measure`]: figures and the table. [`load`]: a client.
//! * [`in_process`]: warm calls and cold starts of the runtime, and a guest that computes. [`over_http`]: cold starts of the whole.
//! * [`door`]: the web endpoint. [`durable`]: calls with an effect and the queue. [`starts`]: start, density and deploys.
//! * [`mixed`]: one partner floods the others. [`watchers`]: sockets that are told what happens.
//! * [`growth`]: lists, schedules and retention over many rows.
//! * [`languages`]: the template of each language (`make bench-languages`).
//! * [`fan_out`]: fan-outs beside bare inserts of the same rows (`make bench-fanout`).
//!
//! A missed aim is marked, not an error: on a machine that others use at the time it says little.

mod bare;
mod bare_server;
mod door;
mod durable;
mod fan_out;
mod growth;
mod guests;
mod in_process;
mod languages;
mod load;
mod machine;
mod measure;
mod mixed;
mod over_http;
mod servers;
mod starts;
mod watchers;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use door::Others;
use guests::Hellos;
use measure::{Line, Row, Side};

/// Measures Larder beside a bare embedding of wasmtime and others
#[derive(Parser)]
struct Arguments {
    /// Alternating rounds
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Less of everything: shows that the benches work, the figures are rough
    #[arg(long)]
    quick: bool,
    /// Lists and retention over ten million rows, density of ten thousand programs: takes an hour more
    #[arg(long, conflicts_with = "quick")]
    large: bool,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// workerd, to compare with
    #[arg(long, env = "LARDER_BENCH_WORKERD", default_value = "workerd")]
    workerd: PathBuf,
    /// The command line of wasmtime, to compare with
    #[arg(long, env = "LARDER_BENCH_WASMTIME", default_value = "wasmtime")]
    wasmtime: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Warm calls in process
    Warm,
    /// A guest that computes
    Cpu,
    /// Cold starts in process
    Cold,
    /// Cold starts over HTTP
    ColdHttp,
    /// The web endpoint under load
    Door,
    /// Synchronous calls with an effect
    Effects,
    /// Queued executions
    Queue,
    /// Process start with many functions
    Start,
    /// Memory with many functions
    Density,
    /// Upload to ready
    Deploy,
    /// One partner floods the others
    Mixed,
    /// Sockets that are told what happens
    Watchers,
    /// Lists over many rows
    Lists,
    /// Many schedules due at once
    Schedules,
    /// Calls while old rows are deleted
    Retention,
    /// Fan-outs, only if it is named
    FanOut,
    /// The template of each language, only if it is named
    Languages,
}

/// All but fan-outs and languages, in the order of the table.
const PARTS: [Part; 15] = [
    Part::Warm,
    Part::Cpu,
    Part::Cold,
    Part::ColdHttp,
    Part::Door,
    Part::Effects,
    Part::Queue,
    Part::Start,
    Part::Density,
    Part::Deploy,
    Part::Mixed,
    Part::Watchers,
    Part::Lists,
    Part::Schedules,
    Part::Retention,
];

/// How much is measured.
pub struct Plan {
    rounds: u32,
    /// Calls of one kind in a round.
    warm_calls: usize,
    /// Of those that compute.
    cpu_calls: usize,
    /// Distinct programs that are started cold in process.
    programs: u32,
    /// Distinct functions that are started cold over HTTP.
    functions: u32,
    /// How long a server is under load, each time.
    door_time: Duration,
    /// The same where each commit is durable.
    durable_time: Duration,
    queued: u64,
    /// Functions with which a process starts.
    deployed: &'static [u64],
    /// Functions that are each called once.
    dense: u32,
    /// How long a process rests before its memory is looked at.
    idle: Duration,
    /// A flood lasts so long, so often.
    mixed_time: Duration,
    mixed_rounds: u32,
    /// Executions over which lists go, and calls of each.
    listed: &'static [u64],
    list_calls: usize,
    /// Armed schedules, and those of them that are due.
    schedules: (u64, u64),
    /// Executions that retention deletes, and how long it is watched.
    expired: u64,
    retention_time: Duration,
    is_quick: bool,
}

impl Plan {
    fn whole(rounds: u32) -> Plan {
        Plan {
            rounds,
            warm_calls: 10_000,
            cpu_calls: 20,
            programs: 50,
            functions: 30,
            door_time: Duration::from_secs(2),
            durable_time: Duration::from_secs(3),
            queued: 10_000,
            deployed: &[10, 1_000, 10_000],
            dense: 1_000,
            idle: Duration::from_secs(60),
            mixed_time: Duration::from_secs(60),
            mixed_rounds: 5,
            listed: &[10_000, 1_000_000],
            list_calls: 30,
            schedules: (100_000, 10_000),
            expired: 1_000_000,
            retention_time: Duration::from_secs(60),
            is_quick: false,
        }
    }

    /// Shows that everything works; the figures are rough.
    fn quick(rounds: u32) -> Plan {
        Plan {
            rounds: rounds.min(3),
            warm_calls: 1_000,
            cpu_calls: 5,
            programs: 10,
            functions: 5,
            door_time: Duration::from_millis(500),
            durable_time: Duration::from_secs(1),
            queued: 1_000,
            deployed: &[10, 1_000],
            dense: 20,
            idle: Duration::from_secs(5),
            mixed_time: Duration::from_secs(3),
            mixed_rounds: 1,
            listed: &[10_000],
            list_calls: 5,
            schedules: (1_000, 100),
            expired: 10_000,
            retention_time: Duration::from_secs(3),
            is_quick: true,
        }
    }
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
        Some(argument) if argument == larder_runtime::COMPILE => return larder_runtime::compiler_main(),
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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if arguments.only == [Part::FanOut] {
        return runtime.block_on(fan_out::run(arguments.quick, arguments.rounds));
    }
    if arguments.only == [Part::Languages] {
        return runtime.block_on(languages::run(arguments.quick, arguments.rounds));
    }
    let mut plan = if arguments.quick { Plan::quick(arguments.rounds) } else { Plan::whole(arguments.rounds) };
    if arguments.large {
        (plan.listed, plan.expired, plan.dense) = (&[10_000, 1_000_000, 10_000_000], 10_000_000, 10_000);
    }
    let others = Others { workerd: arguments.workerd, wasmtime: arguments.wasmtime };
    say("building the guests");
    let hellos = Hellos::build();
    println!("Larder beside what it is built on, {} alternating rounds", plan.rounds);
    println!("{}", machine::facts());
    println!(
        "medians of the rounds, p99 of all calls; the ratio is Larder's figure / the other one's, its spread that of the rounds\n"
    );
    println!("{}", Line::head());
    runtime.block_on(async {
        for part in PARTS.into_iter().filter(|part| arguments.only.is_empty() || arguments.only.contains(part)) {
            let lines = match part {
                Part::Warm => in_process::warm(&plan, &hellos).await?,
                Part::Cpu => in_process::cpu(&plan).await?,
                Part::Cold => in_process::cold(&plan, &hellos).await?,
                Part::ColdHttp => over_http::cold(&plan, &hellos).await?,
                Part::Door => door::door(&plan, &hellos, &others).await?,
                Part::Effects => durable::effects(&plan).await?,
                Part::Queue => durable::queue(&plan).await?,
                Part::Start => starts::start(&plan).await?,
                Part::Density => starts::density(&plan, &hellos).await?,
                Part::Deploy => starts::deploys(&plan, &hellos).await?,
                Part::Mixed => mixed::mixed(&plan, &hellos).await?,
                Part::Watchers => watchers::watchers(&plan, &hellos).await?,
                Part::Lists => growth::lists(&plan, &hellos).await?,
                Part::Schedules => growth::schedules(&plan).await?,
                Part::Retention => growth::retention(&plan, &hellos).await?,
                Part::FanOut | Part::Languages => continue,
            };
            // What is measured is not lost if a later part fails.
            lines.iter().for_each(|line| println!("{line}"));
        }
        anyhow::Ok(())
    })?;
    println!("\nload {} at the end", machine::load());
    Ok(())
}

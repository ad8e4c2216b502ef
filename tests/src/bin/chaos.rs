//! `make chaos`: some minutes of kills, restarts and partitions, then the figures. Ends badly if anything speaks against it.

use std::process::ExitCode;

use clap::Parser;
use larder_tests::Random;
use larder_tests::chaos::{self, Plan};

#[derive(Parser)]
struct Arguments {
    /// As little as the tests do
    #[arg(long)]
    short: bool,
    /// Order of the faults and the workload; a new one each time if absent
    #[arg(long)]
    seed: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| Random::new().below(1 << 32));
    let plan = if arguments.short { Plan::short(seed) } else { Plan::long(seed) };
    let outcome = chaos::run(plan).await;
    print!("{}", outcome.table());
    let complaints = outcome.complaints();
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

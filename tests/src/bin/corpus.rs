//! `make hostile`: the whole corpus against a Larder, many times side by side, then the table. Ends badly if any attack ended
//! otherwise than it must, or cost anybody else more than it may.

use std::process::ExitCode;

use clap::Parser;
use larder_tests::hostile::measures::{self, Plan};

#[derive(Parser)]
struct Arguments {
    /// As little as the tests do
    #[arg(long)]
    short: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let plan = if Arguments::parse().short { Plan::short() } else { Plan::long() };
    let outcome = measures::run(plan).await;
    print!("{}", outcome.table());
    let complaints = outcome.complaints();
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! `make hostile`: the whole corpus against a Larder, many times side by side, then the table. Ends badly if any attack ended
//! otherwise than it must, or cost anybody else more than it may.

use std::process::ExitCode;

use clap::Parser;
use larder_tests::hostile::measures::{self, Plan};

#[derive(Parser)]
struct Arguments {
    /// Only what an attack must not leave behind: nothing that another run could read, nothing after thousands of timeouts
    #[arg(long)]
    short: bool,
    /// Only the attacks whose names begin so, and what is short of the rest
    #[arg(long, value_name = "PREFIX", conflicts_with = "short")]
    only: Option<String>,
    /// Only how long the neighbour waits beside this entry; may be given several times
    #[arg(long, value_name = "ENTRY")]
    beside: Vec<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let long = Plan::long();
    let plan = match arguments.only {
        Some(_) => Plan { rounds: long.rounds, ..Plan::short() },
        None if arguments.short => Plan::short(),
        None => long,
    };
    if !arguments.beside.is_empty() {
        print!("{}", measures::beside(&arguments.beside, plan).await);
        return ExitCode::SUCCESS;
    }
    let outcome = measures::run(plan, arguments.only.as_deref().unwrap_or_default()).await;
    print!("{}", outcome.table());
    let complaints = outcome.complaints();
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

//! `make neighbours`: each attack of a partner on its neighbours, and how long a neighbour waits. Ends badly if any waits
//! longer than it may.

use std::process::ExitCode;

use clap::Parser;
use larder_tests::Backend;
use larder_tests::neighbours::attacks::Attack;
use larder_tests::neighbours::{self, Plan, Row};

#[derive(Parser)]
struct Arguments {
    /// The worst of the attacks for a few seconds each, on the embedded default, with bounds for a busy machine
    #[arg(long)]
    short: bool,
    /// Only these attacks; may be given several times
    #[arg(long, value_name = "ATTACK")]
    only: Vec<String>,
    /// Only on the embedded default
    #[arg(long)]
    embedded: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = if arguments.short { Plan::short() } else { Plan::long() };
    let backends: &[Backend] = if arguments.short || arguments.embedded {
        &[Backend::Embedded]
    } else {
        &[Backend::Embedded, Backend::Services]
    };
    for name in &arguments.only {
        if !Attack::ALL.iter().any(|attack| attack.name() == name) {
            let names: Vec<&str> = Attack::ALL.iter().map(|attack| attack.name()).collect();
            eprintln!("there is no attack {name}; there are {}", names.join(", "));
            return ExitCode::FAILURE;
        }
    }
    let mut complaints = Vec::new();
    println!("{}", Row::HEAD);
    let attacks = if arguments.short && arguments.only.is_empty() { Attack::WORST } else { Attack::ALL };
    for attack in attacks {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|name| name == attack.name()) {
            continue;
        }
        for backend in backends {
            let row = neighbours::run(*attack, *backend, plan).await;
            println!("{}", row.line());
            complaints.extend(row.complaints(&plan));
        }
    }
    for complaint in &complaints {
        eprintln!("{complaint}");
    }
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

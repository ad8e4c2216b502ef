//! The command line's client: what integrators type and script against.
//!
//! * [`Command`] and [`Globals`] are the arguments, to be flattened into the binary's own.
//! * [`run`] does one command and gives its exit code ([`EXIT_CODES`] is the public list).
//! * One file per command; `client` speaks the wire, `connection` finds out whom to speak to, `console` prints.
//!
//! The rule: **stdout carries data, stderr everything else**, and `--json` prints the wire's own objects, so that what
//! a script reads does not change when our words do.

mod administrators;
mod assemblyscript;
mod audit;
mod build;
mod bulk_actions;
mod certificates;
mod client;
mod component;
mod connection;
mod console;
mod dead_letters;
mod deploy;
mod deployments;
mod enrolments;
mod event_types;
mod events;
mod executions;
mod failure;
mod fanouts;
mod feeds;
mod fronts;
mod functions;
mod go;
mod grants;
mod identity;
mod input;
mod invoke;
mod javascript;
mod logs;
pub mod manifest;
mod master_keys;
mod new;
mod npm;
mod operator;
mod origin;
mod python;
mod rules;
mod sandbox;
mod starling;
mod test;
mod transactions;
mod types;
mod upstreams;
mod variables;
mod web;
mod world;
mod zig;

use std::process::ExitCode;

use client::Client;
pub use connection::Globals;
use console::Console;
use failure::Result;

/// For the `--help` epilogue of the binary.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the request was refused, or the function failed
  2  wrong usage: arguments, larder.toml or an input file
  3  Larder cannot be reached, or the key is not allowed to do this";

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a new function's project folder
    New(new::Args),
    /// Build the project's component
    Build(build::Args),
    /// Run the project's own tests, or its component in the sandbox, without Larder
    Test(test::Args),
    /// Write the SDK and the world that the project's types come from
    Types(types::Args),
    /// Upload the component with the settings of larder.toml, and activate it
    Deploy(deploy::Args),
    /// Functions: list, show, delete
    #[command(subcommand, visible_alias = "function")]
    Functions(functions::Command),
    /// Deployments of a function: list, show, activate, roll back, delete
    #[command(subcommand, visible_alias = "deployment")]
    Deployments(deployments::Command),
    /// What functions may do: show, approve, set, history
    #[command(subcommand)]
    Grants(grants::Command),
    /// Run a function once and print its answer
    Invoke(invoke::Args),
    /// Send events, and see what became of one
    #[command(subcommand, visible_alias = "event")]
    Events(events::Command),
    /// Outside services whose items become events
    #[command(subcommand)]
    Feed(feeds::Command),
    /// End users who take part in a function
    #[command(subcommand, visible_alias = "enrollments")]
    Enrolments(enrolments::Command),
    /// Print executions with what they logged, oldest first
    Logs(logs::Args),
    /// List executions, newest first
    Executions(executions::Args),
    /// Executions that were given up: list, groups, show, redrive, discard
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),
    /// Who changed what, newest first
    Audit(audit::Args),
    /// Many dead letters at once: list, show, redrive, discard, pause, resume, cancel
    #[command(subcommand)]
    BulkActions(bulk_actions::Command),
    /// Runs for all enrolments of a function: list, show, pause, resume, cancel, redrive
    #[command(subcommand, visible_alias = "fanout")]
    Fanouts(fanouts::Command),
    /// List the savings transactions that functions created, newest first
    Transactions(transactions::Args),
    /// Outside services that functions can be granted
    #[command(subcommand)]
    Upstream(upstreams::Command),
    /// Whose tokens name the partner's end users: show, set, check, delete
    #[command(subcommand)]
    Identity(identity::Command),
    /// Domains by which functions are called: create, list, delete
    #[command(subcommand, visible_alias = "rule")]
    Rules(rules::Command),
    /// Partners of this installation: create, update, show, list (needs the operator key)
    #[command(subcommand)]
    Partner(operator::PartnerCommand),
    /// API keys of a partner: create, list, delete (needs the operator key)
    #[command(subcommand)]
    Key(operator::KeyCommand),
    /// People who sign in: create, update, list, delete (needs the operator key)
    #[command(subcommand, visible_alias = "admin")]
    Administrators(administrators::Command),
    /// Certificates of this installation's names: list, show, renew (needs the operator key)
    #[command(subcommand, visible_alias = "certificate")]
    Certificates(certificates::Command),
    /// Processes that stand before this installation: request, enrol, list, show, remove
    #[command(subcommand, visible_alias = "fronts")]
    Front(fronts::Command),
    /// Master keys of this installation (needs the operator key)
    #[command(subcommand)]
    Keys(master_keys::MasterKeysCommand),
}

/// What a command works with.
struct Session {
    globals: Globals,
    console: Console,
}

impl Session {
    fn client(&self) -> Result<Client> {
        Client::of_partner(&self.globals.connect()?)
    }
}

pub async fn run(command: Command, globals: Globals) -> ExitCode {
    let console = Console::new(globals.json);
    match dispatch(command, &Session { globals, console }).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(text) = failure.text() {
                eprintln!("{}", console::visible(&text));
            }
            failure.exit_code().into()
        }
    }
}

async fn dispatch(command: Command, session: &Session) -> Result<()> {
    match command {
        Command::New(args) => new::run(&args, session),
        Command::Build(args) => build::run(&args, session).await,
        Command::Test(args) => test::run(&args, session).await,
        Command::Types(args) => types::run(&args, session),
        Command::Deploy(args) => deploy::run(&args, session).await,
        Command::Functions(command) => functions::run(command, session).await,
        Command::Deployments(command) => deployments::run(command, session).await,
        Command::Grants(command) => grants::run(command, session).await,
        Command::Invoke(args) => invoke::run(&args, session).await,
        Command::Events(command) => events::run(command, session).await,
        Command::Feed(command) => feeds::run(command, session).await,
        Command::Enrolments(command) => enrolments::run(command, session).await,
        Command::Logs(args) => logs::run(&args, session).await,
        Command::Executions(args) => executions::run(&args, session).await,
        Command::Audit(args) => audit::run(&args, session).await,
        Command::DeadLetters(command) => dead_letters::run(command, session).await,
        Command::BulkActions(command) => bulk_actions::run(command, session).await,
        Command::Fanouts(command) => fanouts::run(command, session).await,
        Command::Transactions(args) => transactions::run(&args, session).await,
        Command::Upstream(command) => upstreams::run(command, session).await,
        Command::Identity(command) => identity::run(command, session).await,
        Command::Rules(command) => rules::run(command, session).await,
        Command::Partner(command) => operator::run_partner(command, session).await,
        Command::Key(command) => operator::run_key(command, session).await,
        Command::Certificates(command) => certificates::run(command, session).await,
        Command::Front(command) => fronts::run(command, session).await,
        Command::Administrators(command) => administrators::run(command, session).await,
        Command::Keys(command) => master_keys::run(command, session).await,
    }
}

#[cfg(test)]
mod tests;

//! `larder functions`: what is there, and taking it away.

use larder_model::{LimitSettings, Per, Topics};
use larder_wire::functions::{FunctionList, FunctionObject};
use larder_wire::known::Known;
use larder_wire::queries::Query;
use larder_wire::variables::VariableObject;
use serde_json::Value;

use crate::Session;
use crate::failure::{Failure, Result};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List functions, newest first
    List(List),
    /// Show one with its settings and its active deployment
    Show(Show),
    /// Delete functions with their deployments, variables, enrolments and executions; transactions stay
    Delete(Delete),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder functions list
  larder functions list --json | jq -r '.functions[].\"$id\"'")]
pub struct List {
    /// At most so many
    #[arg(long, default_value_t = 25, value_name = "N")]
    limit: usize,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder functions show round-up
  larder functions show round-up --json | jq .limits")]
pub struct Show {
    /// The function's id
    function: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
At a terminal it asks first. The transactions that a function created stay.

Examples:
  larder functions delete round-up
  larder functions delete round-up hello --force       # in a script")]
pub struct Delete {
    /// The functions' ids
    #[arg(required = true, value_name = "FUNCTION")]
    functions: Vec<String>,
    /// Do not ask
    #[arg(long)]
    force: bool,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let client = session.client()?;
    let console = &session.console;
    match command {
        Command::List(args) => {
            let queries = [Query::newest_first(), Query::limit(args.limit)];
            let answer = client.list::<FunctionList>(&["functions"], &queries).await?;
            if console.json {
                return console.object(&answer);
            }
            let rows: Vec<_> = answer.functions.iter().map(row).collect();
            console.table(["ID", "RUNS", "TRIGGERS", "STATE", "DEPLOYMENT", "UPDATED"], &rows)?;
            console.note(&format!("{} of {}", rows.len(), answer.total));
            Ok(())
        }
        Command::Show(Show { function }) => {
            let function = client.get::<FunctionObject>(&["functions", &function]).await?;
            if console.json {
                return console.object(&function);
            }
            let [_, runs, _, state, deployment, _] = row(&function);
            for (label, value) in [
                ("id", function.id.clone()),
                ("name", function.name.clone()),
                ("state", state),
                ("runs", runs),
                ("events", function.events.join(" ")),
                ("routes", function.routes.join(" ")),
                ("schedule", schedule(&function)),
                ("timeout", format!("{} s", function.timeout)),
                ("limits", limits(&function.limits)),
                ("variables", keys(&function.vars)),
                ("deployment", deployment),
                ("newest", newest(&function)),
                ("created", function.created_at.clone()),
                ("updated", function.updated_at.clone()),
            ] {
                if !value.is_empty() {
                    console.line(&format!("{label:<12}{value}"))?;
                }
            }
            console.note(&format!("what it may do: larder grants show {}", function.id));
            Ok(())
        }
        Command::Delete(Delete { functions, force }) => {
            for function in functions {
                let what = format!("Delete {function} with its deployments, variables, enrolments and executions?");
                if !force && !console.confirm(&what)? {
                    return Err(Failure::failed(format!(
                        "{function} was not deleted; without a question:\n  larder functions delete {function} --force"
                    )));
                }
                client.delete(&["functions", &function]).await?;
                console.note(&format!("deleted function {function}"));
            }
            Ok(())
        }
    }
}

fn row(function: &FunctionObject) -> [String; 6] {
    let per_enrolment = function.per == Per::Enrolment.word();
    let runs = match (per_enrolment, function.topics == Topics::All.word()) {
        (true, true) => "per enrolment, all topics",
        (true, false) => "per enrolment",
        (false, _) => "per event",
    };
    let mut triggers: Vec<&str> = Vec::new();
    triggers.extend((!function.routes.is_empty()).then_some("http"));
    triggers.extend((!function.events.is_empty()).then_some("event"));
    triggers.extend((!function.schedule.is_empty()).then_some("schedule"));
    let state = match (function.enabled, function.deployment_id.is_empty()) {
        (false, _) => "switched off",
        (true, true) => "not deployed",
        (true, false) => "active",
    };
    let [id, deployment, updated] = [&function.id, &function.deployment_id, &function.updated_at].map(Clone::clone);
    [id, runs.to_owned(), triggers.join(" "), state.to_owned(), deployment, updated]
}

fn keys(variables: &[VariableObject]) -> String {
    let keys = variables.iter().map(|variable| {
        let secret = if variable.secret { " (secret)" } else { "" };
        format!("{}{secret}", variable.key)
    });
    keys.collect::<Vec<_>>().join(", ")
}

/// Those that are set, whatever they are called.
fn limits(limits: &Known<LimitSettings>) -> String {
    let Ok(Value::Object(limits)) = serde_json::to_value(limits) else { return String::new() };
    let set = limits.iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

fn schedule(function: &FunctionObject) -> String {
    match function.schedule.as_str() {
        "" => String::new(),
        cron => format!("{cron} ({})", function.timezone),
    }
}

/// The newest deployment, if it is not the active one.
fn newest(function: &FunctionObject) -> String {
    let latest = &function.latest_deployment_id;
    if latest.is_empty() || function.deployment_id == *latest {
        return String::new();
    }
    format!("{latest} ({})", function.latest_deployment_status)
}

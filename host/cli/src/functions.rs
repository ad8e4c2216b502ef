//! `larder functions`: what is there, and taking it away.

use serde_json::Value;

use crate::Session;
use crate::client::{limit, newest_first};
use crate::console::field;
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
            let answer = client.list(&["functions"], &[newest_first(), limit(args.limit)]).await?;
            if console.json {
                return console.object(&answer);
            }
            let functions = answer["functions"].as_array().cloned().unwrap_or_default();
            let rows: Vec<_> = functions.iter().map(row).collect();
            console.table(["ID", "RUNS", "TRIGGERS", "STATE", "DEPLOYMENT", "UPDATED"], &rows)?;
            console.note(&format!("{} of {}", rows.len(), field(&answer, "total")));
            Ok(())
        }
        Command::Show(Show { function }) => {
            let function = client.get(&["functions", &function]).await?;
            if console.json {
                return console.object(&function);
            }
            let [_, runs, _, state, deployment, _] = row(&function);
            for (label, value) in [
                ("id", field(&function, "$id")),
                ("name", field(&function, "name")),
                ("state", state),
                ("runs", runs),
                ("events", texts(&function["events"])),
                ("routes", texts(&function["routes"])),
                ("schedule", schedule(&function)),
                ("timeout", format!("{} s", field(&function, "timeout"))),
                ("limits", limits(&function["limits"])),
                ("variables", keys(&function["vars"])),
                ("deployment", deployment),
                ("newest", newest(&function)),
                ("created", field(&function, "$createdAt")),
                ("updated", field(&function, "$updatedAt")),
            ] {
                if !value.is_empty() {
                    console.line(&format!("{label:<12}{value}"))?;
                }
            }
            console.note(&format!("what it may do: larder grants show {}", field(&function, "$id")));
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

fn row(function: &Value) -> [String; 6] {
    let runs = match (function["per"].as_str(), function["topics"].as_str()) {
        (Some("enrolment"), Some("all")) => "per enrolment, all topics",
        (Some("enrolment"), _) => "per enrolment",
        _ => "per event",
    };
    let mut triggers: Vec<&str> = Vec::new();
    let is_set = |name: &str| function[name].as_array().is_some_and(|list| !list.is_empty());
    triggers.extend(is_set("routes").then_some("http"));
    triggers.extend(is_set("events").then_some("event"));
    triggers.extend((!field(function, "schedule").is_empty()).then_some("schedule"));
    let deployment = field(function, "deploymentId");
    let state = match (function["enabled"] == true, deployment.is_empty()) {
        (false, _) => "switched off",
        (true, true) => "not deployed",
        (true, false) => "active",
    };
    let [id, updated] = ["$id", "$updatedAt"].map(|name| field(function, name));
    [id, runs.to_owned(), triggers.join(" "), state.to_owned(), deployment, updated]
}

fn texts(list: &Value) -> String {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

fn keys(variables: &Value) -> String {
    let keys = variables.as_array().into_iter().flatten().map(|variable| {
        let secret = if variable["secret"] == true { " (secret)" } else { "" };
        format!("{}{secret}", field(variable, "key"))
    });
    keys.collect::<Vec<_>>().join(", ")
}

fn limits(limits: &Value) -> String {
    let limits = limits.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    limits.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

fn schedule(function: &Value) -> String {
    match field(function, "schedule") {
        none if none.is_empty() => none,
        cron => format!("{cron} ({})", field(function, "timezone")),
    }
}

/// The newest deployment, if it is not the active one.
fn newest(function: &Value) -> String {
    let latest = field(function, "latestDeploymentId");
    if latest.is_empty() || function["deploymentId"] == latest.as_str() {
        return String::new();
    }
    format!("{latest} ({})", field(function, "latestDeploymentStatus"))
}

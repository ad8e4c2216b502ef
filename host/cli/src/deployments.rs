//! `larder deployments`: what was uploaded, and which one serves.

use larder_model::BuildStatus;
use larder_wire::deployments::{DeploymentList, DeploymentObject};
use larder_wire::functions::FunctionObject;
use larder_wire::queries::Query;

use crate::client::Client;
use crate::console::{Console, size};
use crate::failure::{Failure, Result};
use crate::{Session, deploy};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List a function's deployments, newest first
    List(List),
    /// Show one with its settings and build log
    Show(Named),
    /// Make a deployment the active one, with the settings and grants that it asks for
    Activate(Named),
    /// Go back to the deployment before the active one
    #[command(visible_alias = "roll-back")]
    Rollback(Rollback),
    /// Delete deployments
    Delete(Delete),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The active one has a mark.

Examples:
  larder deployments list round-up
  larder deployments list round-up --json | jq -r '.deployments[].status'")]
pub struct List {
    /// The function's id
    function: String,
    /// At most so many
    #[arg(long, default_value_t = 25, value_name = "N")]
    limit: usize,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A deployment's id may be typed as far as it is unique.

Examples:
  larder deployments show round-up 01K9Z4
  larder deployments activate round-up 01K9Z4")]
pub struct Named {
    /// The function's id
    function: String,
    /// The deployment's id
    deployment: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Activates the newest deployment that is ready and older than the active one, with its settings. What it would be granted \
beyond what is granted now needs a yes, unless it had one.

Examples:
  larder deployments rollback round-up")]
pub struct Rollback {
    /// The function's id
    function: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The active one is deleted only with --force: the function has no code then.

Examples:
  larder deployments delete round-up 01K9Z4 01K9Z5")]
pub struct Delete {
    /// The function's id
    function: String,
    /// The deployments' ids
    #[arg(required = true, value_name = "DEPLOYMENT")]
    deployments: Vec<String>,
    /// Delete the active one too
    #[arg(long)]
    force: bool,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let client = session.client()?;
    let console = &session.console;
    match command {
        Command::List(args) => list(&args, &client, console).await,
        Command::Show(Named { function, deployment }) => show(&function, &deployment, &client, console).await,
        Command::Activate(Named { function, deployment }) => {
            let deployment = whole(&client, &function, &deployment).await?;
            activate(&function, &deployment, &client, console).await
        }
        Command::Rollback(Rollback { function }) => rollback(&function, &client, console).await,
        Command::Delete(args) => delete(&args, &client, console).await,
    }
}

/// The id of a deployment that was typed as far as it is unique.
pub async fn whole(client: &Client, function: &str, given: &str) -> Result<String> {
    client.whole_id::<DeploymentList>(&["functions", function, "deployments"], given).await
}

async fn list(args: &List, client: &Client, console: &Console) -> Result<()> {
    let active = active(client, &args.function).await?;
    let path = ["functions", args.function.as_str(), "deployments"];
    let answer = client.list::<DeploymentList>(&path, &[Query::newest_first(), Query::limit(args.limit)]).await?;
    if console.json {
        return console.object(&answer);
    }
    let rows: Vec<_> = answer
        .deployments
        .iter()
        .map(|row| {
            let mark = if row.id == active { "active" } else { "" };
            let [id, status, created, from] = [&row.id, &row.status, &row.created_at, &row.origin].map(Clone::clone);
            [id, status, mark.to_owned(), created, size(row.source_size), from]
        })
        .collect();
    console.table(["ID", "STATUS", "", "CREATED", "SIZE", "FROM"], &rows)?;
    console.note(&format!("{} of {}", rows.len(), answer.total));
    Ok(())
}

async fn show(function: &str, deployment: &str, client: &Client, console: &Console) -> Result<()> {
    let id = whole(client, function, deployment).await?;
    let deployment = client.get::<DeploymentObject>(&["functions", function, "deployments", &id]).await?;
    if console.json {
        return console.object(&deployment);
    }
    for (label, value) in [
        ("id", &deployment.id),
        ("status", &deployment.status),
        ("created", &deployment.created_at),
        ("from", &deployment.origin),
        ("uploaded by", &deployment.uploaded_by),
        ("approved by", &deployment.grants_approved_by),
        ("settings", &deployment.settings.as_ref().map(compact).unwrap_or_default()),
        ("grants", &deployment.grants.as_ref().map(compact).unwrap_or_default()),
    ] {
        if !value.is_empty() {
            console.line(&format!("{label:<12}{value}"))?;
        }
    }
    let log = &deployment.build_logs;
    if log.is_empty() { Ok(()) } else { console.line(&format!("build log:\n{}", log.trim_end())) }
}

fn compact(part: &impl serde::Serialize) -> String {
    serde_json::to_value(part).unwrap_or_default().to_string()
}

/// The id of the active deployment, or empty.
async fn active(client: &Client, function: &str) -> Result<String> {
    Ok(client.get::<FunctionObject>(&["functions", function]).await?.into_object().deployment_id)
}

async fn activate(function: &str, deployment: &str, client: &Client, console: &Console) -> Result<()> {
    let answer = deploy::activate(client, function, deployment).await?;
    if console.json {
        return console.object(&answer);
    }
    console.note(&format!("{function} serves with deployment {deployment}"));
    console.line(deployment)
}

async fn rollback(function: &str, client: &Client, console: &Console) -> Result<()> {
    let active = active(client, function).await?;
    if active.is_empty() {
        return Err(Failure::failed(format!("{function} has no active deployment to go back from")));
    }
    let ready = Query::equal("status", BuildStatus::Ready.word());
    let path = ["functions", function, "deployments"];
    let queries = [ready, Query::newest_first(), Query::after(&active), Query::limit(1)];
    let answer = client.list::<DeploymentList>(&path, &queries).await?;
    match answer.deployments.first().map(|previous| previous.id.as_str()) {
        Some(previous) => {
            console.note(&format!("from deployment {active} back to {previous}"));
            activate(function, previous, client, console).await
        }
        None => Err(Failure::failed(format!("{function} has no ready deployment before {active}"))),
    }
}

async fn delete(args: &Delete, client: &Client, console: &Console) -> Result<()> {
    let active = active(client, &args.function).await?;
    for given in &args.deployments {
        let id = whole(client, &args.function, given).await?;
        if active == id && !args.force {
            return Err(Failure::failed(format!("deployment {id} is the active one; --force deletes it all the same")));
        }
        client.delete(&["functions", &args.function, "deployments", &id]).await?;
        console.note(&format!("deleted deployment {id}"));
    }
    Ok(())
}

//! `larder grants`: what functions may do, and saying yes to it.

use larder_model::grants::{Difference, check};
use larder_wire::grants::{
    ApprovalObject, DifferenceObject, GrantChangeList, GrantChangeObject, GrantsObject, NewApproval,
};
use larder_wire::problem::Kind;
use larder_wire::queries::Query;
use reqwest::Method;

use crate::client::{Answer, Client};
use crate::console::Console;
use crate::failure::{Failure, Refusal, Result};
use crate::{Session, deployments, input};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show what a function may do, and what its newest deployment asks for
    Show(Show),
    /// Say yes to what a deployment asks for; it becomes active
    Approve(Approve),
    /// Put grants in force, for functions that are uploaded without a larder.toml
    Set(Set),
    /// Who changed or approved what, newest first
    History(History),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder grants show round-up
  larder grants show round-up --deployment 01K9Z4
  larder grants show round-up --json | jq .grants")]
pub struct Show {
    /// The function's id
    function: String,
    /// What this deployment asks for, instead of the newest one
    #[arg(long, value_name = "ID")]
    deployment: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs a key with the scope grants.write; where the partner wants it, another one than the uploader's. What is printed is \
what is approved: if anything has changed since, it is refused.

Examples:
  larder grants approve round-up 01K9Z4
  larder grants approve round-up 01K9Z4 --digest 5f0c")]
pub struct Approve {
    /// The function's id
    function: String,
    /// The deployment's id
    deployment: String,
    /// Only if this is still what `larder grants show --json` told as digest
    #[arg(long)]
    digest: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
All grants at once: what is left out is taken away, from this moment on. Needs a key with the scope grants.write.

Examples:
  larder grants set round-up '{\"state\":true,\"transactions\":{\"SEK\":{\"max\":\"500.00\",\"sum\":\"1000.00\",\"period\":\"day\"}}}'
  larder grants set hello-http '{\"http\":[{\"hosts\":[\"api.sports.example\"]}]}'
  larder grants set round-up @grants.json
  larder grants set round-up '{}'")]
pub struct Set {
    /// The function's id
    function: String,
    /// The grants: a JSON object, @FILE, or - for stdin
    #[arg(value_name = "DATA")]
    grants: String,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder grants history
  larder grants history --function round-up --json")]
pub struct History {
    /// Only of this function
    #[arg(long, value_name = "ID")]
    function: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 25, value_name = "N")]
    limit: usize,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let client = session.client()?;
    let console = &session.console;
    match command {
        Command::Show(args) => show(&args, &client, console).await,
        Command::Approve(Approve { function, deployment, digest }) => {
            let deployment = deployments::whole(&client, &function, &deployment).await?;
            let read = of_deployment(&client, &function, &deployment).await?;
            let answer = approve(&client, &function, &read, digest, console).await?;
            if console.json { console.object(&answer) } else { Ok(()) }
        }
        Command::Set(Set { function, grants }) => {
            let body = input::json(&input::data(&grants)?, &grants)?;
            let before = in_force(&*of_function(&client, &function).await?)?;
            let answer = client.call::<GrantsObject>(Method::PUT, &["functions", &function, "grants"], &body).await?;
            let Difference { extensions, reductions } = Difference::between(&before, &in_force(&answer)?);
            reductions.iter().chain(&extensions).for_each(|what| console.note(&format!("{function} {what}")));
            if console.json { console.object(&answer) } else { Ok(()) }
        }
        Command::History(args) => history(&args, &client, console).await,
    }
}

/// From what is in force to what is asked for; `None`: the key may not see it.
pub async fn difference(client: &Client, function: &str, asked: &larder_model::Grants) -> Result<Option<Difference>> {
    match of_function(client, function).await {
        Ok(read) => Ok(Some(Difference::between(&in_force(&read)?, asked))),
        Err(failure) if failure.is(Kind::Scope) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// If the deployment waits for a yes: says it, where this one may, and else what has to be said and by whom. Gives whether
/// it waited.
pub async fn settle(client: &Client, function: &str, deployment: &str, may: bool, console: &Console) -> Result<bool> {
    let read = match of_deployment(client, function, deployment).await {
        Ok(read) => read,
        // Activating tells as well.
        Err(failure) if failure.is(Kind::Scope) => return Ok(false),
        Err(failure) => return Err(failure),
    };
    moved(&read).for_each(|line| console.note(&line));
    let Some(asked) = read.deployment.as_ref().filter(|asked| asked.waits) else { return Ok(false) };
    let mut why = String::new();
    if may {
        match approve(client, function, &read, None, console).await {
            Ok(_) => return Ok(true),
            Err(Failure::Refused(Refusal { status: 401 | 403, message, .. })) => why = format!(" ({message})"),
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::failed(format!(
        "deployment {deployment} is ready and waits: it asks for more than is granted{why}. The function\n{}\nA key with \
         the scope grants.write approves that, and it becomes active:\n  larder grants approve {function} {deployment}",
        sentences(&asked.difference.widens).collect::<Vec<_>>().join("\n")
    )))
}

async fn of_function(client: &Client, function: &str) -> Result<Answer<GrantsObject>> {
    client.get(&["functions", function, "grants"]).await
}

async fn of_deployment(client: &Client, function: &str, deployment: &str) -> Result<Answer<GrantsObject>> {
    client.get(&["functions", function, "deployments", deployment, "grants"]).await
}

/// A deployment that cannot be activated was tried and did not succeed; it is not the key that is wrong.
pub fn waits(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(Refusal { status: 403, message, .. }) => Failure::Failed(message),
        other => other,
    }
}

/// Approves what was read, or what `digest` names.
async fn approve(
    client: &Client,
    function: &str,
    read: &GrantsObject,
    digest: Option<String>,
    console: &Console,
) -> Result<Answer<ApprovalObject>> {
    let asked = read.deployment.clone().unwrap_or_default();
    let deployment = &asked.deployment_id;
    let path = ["functions", function, "deployments", deployment, "grants", "approval"];
    let approval = NewApproval { digest: Some(digest.unwrap_or(asked.digest)) };
    let answer = client.post::<ApprovalObject>(&path, &approval).await?;
    console.note(&format!("approved for deployment {deployment}: {function}"));
    changes(&asked.difference).for_each(|what| console.note(&what));
    let state = if answer.active { "it is active now" } else { "it is not active yet" };
    console.note(state);
    Ok(answer)
}

async fn show(args: &Show, client: &Client, console: &Console) -> Result<()> {
    let read = match &args.deployment {
        Some(deployment) => {
            let deployment = deployments::whole(client, &args.function, deployment).await?;
            of_deployment(client, &args.function, &deployment).await?
        }
        None => of_function(client, &args.function).await?,
    };
    if console.json {
        return console.object(&read);
    }
    let words = check::in_words(&in_force(&read)?);
    if words.is_empty() {
        console.line(&format!("{} may reach nothing", args.function))?;
    }
    for what in words {
        console.line(&format!("{} {what}", args.function))?;
    }
    for line in moved(&read) {
        console.line(&line)?;
    }
    if let Some(asked) = read.deployment.as_ref().filter(|asked| asked.waits) {
        let id = &asked.deployment_id;
        console.line(&format!("deployment {id} waits for a yes; with it, {}", args.function))?;
        for what in changes(&asked.difference) {
            console.line(&what)?;
        }
        console.line(&format!("larder grants approve {} {id}", args.function))?;
    }
    Ok(())
}

async fn history(args: &History, client: &Client, console: &Console) -> Result<()> {
    let mut queries: Vec<Query> = args.function.iter().map(|function| Query::equal("functionId", function)).collect();
    queries.extend([Query::newest_first(), Query::limit(args.limit)]);
    let answer = client.list::<GrantChangeList>(&["grants", "changes"], &queries).await?;
    if console.json {
        return console.object(&answer);
    }
    for row in &answer.grant_changes {
        let GrantChangeObject { created_at: at, function_id: function, kind, .. } = row;
        let GrantChangeObject { deployment_id: deployment, key_id: key, note, .. } = row;
        let by = match (key.is_empty(), note.is_empty()) {
            (false, _) => format!("key {key}"),
            (true, true) => "a build".to_owned(),
            (true, false) => "the operator".to_owned(),
        };
        let of = if deployment.is_empty() { String::new() } else { format!(" deployment {deployment}") };
        let what = if note.is_empty() { kind } else { note };
        console.line(&format!("{at}  {function}  {what}{of} by {by}"))?;
        for what in changes(&row.difference) {
            console.line(&what)?;
        }
    }
    Ok(())
}

/// What waits for another yes because its name leads elsewhere than was approved, and how to give it.
fn moved(read: &GrantsObject) -> impl Iterator<Item = String> {
    let function = &read.function_id;
    let head = format!(
        "{function} waits for another yes, by `larder grants set {function}`, because names lead elsewhere than was approved:"
    );
    (!read.moved.is_empty()).then_some(head).into_iter().chain(sentences(&read.moved))
}

fn in_force(read: &GrantsObject) -> Result<larder_model::Grants> {
    let grants = read.grants.get();
    grants.map_err(|err| Failure::failed(format!("these grants are of another version of Larder: {err}")))
}

fn changes(difference: &DifferenceObject) -> impl Iterator<Item = String> {
    sentences(&difference.widens).chain(sentences(&difference.narrows))
}

fn sentences(list: &[String]) -> impl Iterator<Item = String> {
    list.iter().map(|text| format!("  {text}"))
}

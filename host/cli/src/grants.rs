//! `larder grants`: what functions may do, and saying yes to it.

use larder_model::grants::{Difference, check};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, equal, limit, newest_first};
use crate::console::{Console, field};
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
            let read = client.get(&["functions", &function, "deployments", &deployment, "grants"]).await?;
            let digest = digest.unwrap_or_else(|| field(&read["deployment"], "digest"));
            let answer = approve(&client, &function, &read, &digest, console).await?;
            if console.json { console.object(&answer) } else { Ok(()) }
        }
        Command::Set(Set { function, grants }) => {
            let body = input::json(&input::data(&grants)?, &grants)?;
            let before = in_force(&client.get(&["functions", &function, "grants"]).await?)?;
            let answer = client.call(Method::PUT, &["functions", &function, "grants"], &body).await?;
            let Difference { widens, narrows } = Difference::between(&before, &in_force(&answer)?);
            narrows.iter().chain(&widens).for_each(|what| console.note(&format!("{function} {what}")));
            if console.json { console.object(&answer) } else { Ok(()) }
        }
        Command::History(args) => history(&args, &client, console).await,
    }
}

/// From what is in force to what is asked for; `None`: the key may not see it.
pub async fn difference(client: &Client, function: &str, asked: &larder_model::Grants) -> Result<Option<Difference>> {
    match client.get(&["functions", function, "grants"]).await {
        Ok(read) => Ok(Some(Difference::between(&in_force(&read)?, asked))),
        Err(failure) if is_scope(&failure) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// If the deployment waits for a yes: says it, where this one may, and else what has to be said and by whom. Gives whether
/// it waited.
pub async fn settle(client: &Client, function: &str, deployment: &str, may: bool, console: &Console) -> Result<bool> {
    let read = match client.get(&["functions", function, "deployments", deployment, "grants"]).await {
        Ok(read) => read,
        // Activating tells as well.
        Err(failure) if is_scope(&failure) => return Ok(false),
        Err(failure) => return Err(failure),
    };
    moved(&read).for_each(|line| console.note(&line));
    if read["deployment"]["waits"] != true {
        return Ok(false);
    }
    let mut why = String::new();
    if may {
        match approve(client, function, &read, &field(&read["deployment"], "digest"), console).await {
            Ok(_) => return Ok(true),
            Err(Failure::Refused(Refusal { status: 401 | 403, message, .. })) => why = format!(" ({message})"),
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::failed(format!(
        "deployment {deployment} is ready and waits: it asks for more than is granted{why}. The function\n{}\nA key with \
         the scope grants.write approves that, and it becomes active:\n  larder grants approve {function} {deployment}",
        sentences(&read["deployment"]["difference"]["widens"]).join("\n")
    )))
}

fn is_scope(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(Refusal { status: 401, kind, .. }) if kind == "general_unauthorized_scope")
}

/// A deployment that cannot be activated was tried and did not succeed; it is not the key that is wrong.
pub fn waits(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(Refusal { status: 403, message, .. }) => Failure::Failed(message),
        other => other,
    }
}

async fn approve(client: &Client, function: &str, read: &Value, digest: &str, console: &Console) -> Result<Value> {
    let asked = &read["deployment"];
    let deployment = field(asked, "deploymentId");
    let path = ["functions", function, "deployments", &deployment, "grants", "approval"];
    let answer = client.post(&path, &json!({ "digest": digest })).await?;
    console.note(&format!("approved for deployment {deployment}: {function}"));
    let difference = &asked["difference"];
    for what in [&difference["widens"], &difference["narrows"]].into_iter().flat_map(sentences) {
        console.note(&what);
    }
    let state = if answer["active"] == true { "it is active now" } else { "it is not active yet" };
    console.note(state);
    Ok(answer)
}

async fn show(args: &Show, client: &Client, console: &Console) -> Result<()> {
    let read = match &args.deployment {
        Some(deployment) => {
            let deployment = deployments::whole(client, &args.function, deployment).await?;
            client.get(&["functions", &args.function, "deployments", &deployment, "grants"]).await?
        }
        None => client.get(&["functions", &args.function, "grants"]).await?,
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
    let asked = &read["deployment"];
    if asked["waits"] == true {
        let id = field(asked, "deploymentId");
        console.line(&format!("deployment {id} waits for a yes; with it, {}", args.function))?;
        for what in [&asked["difference"]["widens"], &asked["difference"]["narrows"]].into_iter().flat_map(sentences) {
            console.line(&what)?;
        }
        console.line(&format!("larder grants approve {} {id}", args.function))?;
    }
    Ok(())
}

async fn history(args: &History, client: &Client, console: &Console) -> Result<()> {
    let mut queries: Vec<Value> = args.function.iter().map(|function| equal("functionId", function)).collect();
    queries.extend([newest_first(), limit(args.limit)]);
    let answer = client.list(&["grants", "changes"], &queries).await?;
    if console.json {
        return console.object(&answer);
    }
    for row in answer["grantChanges"].as_array().into_iter().flatten() {
        let [at, function, kind, deployment, key] =
            ["$createdAt", "functionId", "kind", "deploymentId", "keyId"].map(|name| field(row, name));
        let note = field(row, "note");
        let by = match (key.is_empty(), note.is_empty()) {
            (false, _) => format!("key {key}"),
            (true, true) => "a build".to_owned(),
            (true, false) => "the operator".to_owned(),
        };
        let of = if deployment.is_empty() { String::new() } else { format!(" deployment {deployment}") };
        let what = if note.is_empty() { kind } else { note };
        console.line(&format!("{at}  {function}  {what}{of} by {by}"))?;
        for what in [&row["difference"]["widens"], &row["difference"]["narrows"]].into_iter().flat_map(sentences) {
            console.line(&what)?;
        }
    }
    Ok(())
}

/// What waits for another yes because its name leads elsewhere than was approved, and how to give it.
fn moved(read: &Value) -> impl Iterator<Item = String> {
    let function = field(read, "functionId");
    let lines = sentences(&read["moved"]);
    let head = format!(
        "{function} waits for another yes, by `larder grants set {function}`, because names lead elsewhere than was approved:"
    );
    (!lines.is_empty()).then_some(head).into_iter().chain(lines)
}

fn in_force(read: &Value) -> Result<larder_model::Grants> {
    serde_json::from_value(read["grants"].clone())
        .map_err(|err| Failure::failed(format!("these grants are of another version of Larder: {err}")))
}

fn sentences(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| Some(format!("  {}", text.as_str()?))).collect()
}

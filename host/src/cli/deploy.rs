//! `larder deploy`: the manifest and the component → a running function.
//!
//! The steps are those of the API, in an order that leaves the old deployment serving until the new one is ready and what it
//! asks for is granted: function, variables, upload, build, grants, activation.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::{Method, multipart};
use serde_json::{Value, json};

use super::build::Project;
use super::client::{Client, is_local};
use super::console::{Console, field, size};
use super::failure::{Failure, Result};
use super::manifest::Manifest;
use super::{Session, component, grants, variables};

const POLL: Duration = Duration::from_millis(300);
const BUILD_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const FIRINGS_SHOWN: &str = "3";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Creates the function of larder.toml or updates it, sets its variables, uploads its component, waits until \
Larder has compiled and checked it, activates it, and prints its address. Until then the old deployment goes on serving.

If [grants] asks for more than is in force, it stops and says what and who can approve it. Under `larder dev` it approves \
that itself.

Examples:
  larder build && larder deploy
  larder deploy --dir round-up --partner demo
  larder deploy --component out/round_up.wasm --json")]
pub struct Args {
    #[command(flatten)]
    project: Project,
    /// Upload this file instead of what the project builds
    #[arg(long, value_name = "FILE")]
    component: Option<std::path::PathBuf>,
    /// Delete the function's variables that larder.toml does not name
    #[arg(long)]
    prune_variables: bool,
    /// Approve what the deployment asks for, with this key
    #[arg(long)]
    approve: bool,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let (folder, manifest) = args.project.open()?;
    let connection = session.globals.connect()?;
    let client = Client::of_partner(&connection)?;
    let console = &session.console;
    let file = match &args.component {
        Some(file) => file.clone(),
        None => component::locate(&folder, &manifest).await?,
    };
    let bytes = component::read(&file)?;
    let id = manifest.function.id.as_str();
    for (key, _) in manifest.variables.iter().filter(|(_, variable)| variable.secret) {
        if !manifest.grants.secrets.contains(key) {
            let why = format!("the function cannot read this secret; [grants]: secrets = [\"{key}\"]");
            console.note(&manifest.complaint(&format!("variables.{key}"), why));
        }
    }

    put_function(&client, &manifest, console).await?;
    let difference = grants::difference(&client, id, &manifest.grants).await?;
    variables::sync(&client, &manifest, args.prune_variables, console).await?;
    let deployment = upload(&client, &manifest, &file, bytes, console).await?;
    let deployment = wait(&client, id, deployment, console).await?;
    let waited =
        grants::settle(&client, id, &field(&deployment, "$id"), connection.dev || args.approve, console).await?;
    if let Some(difference) = difference.filter(|_| !waited) {
        difference.narrows.iter().chain(&difference.widens).for_each(|what| console.note(&format!("{id} {what}")));
    }
    let activate = json!({ "deploymentId": deployment["$id"] });
    let function = client.call(Method::PATCH, &["functions", id, "deployment"], &activate).await;
    let function = function.map_err(grants::waits)?;
    console.note(&format!("activated deployment {}", field(&deployment, "$id")));
    if !manifest.function.schedule.is_empty() {
        show_firings(&client, id, console).await?;
    }
    if console.json {
        return console.object(&function);
    }
    console.line(&address(&client, &manifest)?)
}

/// Replacing resets what the body leaves out, so what the manifest has no key for is carried over.
async fn put_function(client: &Client, manifest: &Manifest, console: &Console) -> Result<()> {
    let id = manifest.function.id.as_str();
    let mut body = manifest.function_body();
    let answer = match client.get(&["functions", id]).await {
        Ok(old) => {
            console.note(&format!("updating function {id}"));
            body.remove("functionId");
            for kept in ["execute", "scopes", "deploymentRetention"] {
                body.extend(old.get(kept).map(|value| (kept.to_owned(), value.clone())));
            }
            client.call(Method::PUT, &["functions", id], &Value::Object(body)).await
        }
        Err(failure) if failure.is_not_found() && !is_about_partner(&failure) => {
            console.note(&format!("creating function {id}"));
            client.post(&["functions"], &Value::Object(body)).await
        }
        Err(failure) => Err(failure),
    };
    answer.map(drop).map_err(|failure| manifest.explain(failure))
}

fn is_about_partner(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(refusal) if refusal.kind != "function_not_found")
}

async fn upload(client: &Client, manifest: &Manifest, file: &Path, bytes: Vec<u8>, console: &Console) -> Result<Value> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    console.note(&format!("uploading {name} ({})", size(bytes.len() as u64)));
    let code = multipart::Part::bytes(bytes)
        .file_name(name)
        .mime_str("application/wasm")
        .map_err(|err| Failure::failed(format!("cannot describe the upload: {err}")))?;
    let asked = serde_json::to_string(&manifest.grants).expect("plain values serialise");
    // Should its grants wait for a yes, it becomes active by that.
    let form = multipart::Form::new().part("code", code).text("activate", "true").text("grants", asked);
    let path = ["functions", &manifest.function.id, "deployments"];
    client.upload(&path, form).await
}

/// Follows the build to its end, telling what is new.
async fn wait(client: &Client, id: &str, mut deployment: Value, console: &Console) -> Result<Value> {
    let deployment_id = field(&deployment, "$id");
    let deadline = Instant::now() + BUILD_TIMEOUT;
    let mut status = String::new();
    let mut shown = String::new();
    loop {
        let now = field(&deployment, "status");
        if now != status {
            console.note(&format!("build {now}"));
            status = now;
        }
        let logs = field(&deployment, "buildLogs");
        let done = matches!(status.as_str(), "ready" | "failed" | "canceled");
        for line in new_lines(&shown, &logs, done) {
            console.note(&format!("  {line}"));
            shown = format!("{shown}{line}\n");
        }
        match status.as_str() {
            "ready" => return Ok(deployment),
            // A script that reads JSON has been shown no log, and this is the one that it needs.
            "failed" if console.json => return Err(Failure::failed(format!("the build failed\n{}", logs.trim_end()))),
            "failed" | "canceled" => return Err(Failure::failed(format!("the build of {deployment_id} {status}"))),
            _ if Instant::now() > deadline => {
                let minutes = BUILD_TIMEOUT.as_secs() / 60;
                return Err(Failure::failed(format!(
                    "deployment {deployment_id} still {status} after {minutes} minutes"
                )));
            }
            _ => tokio::time::sleep(POLL).await,
        }
        deployment = client.get(&["functions", id, "deployments", &deployment_id]).await?;
    }
}

/// The lines of `logs` behind those shown; one without its end waits for it, unless no more will come. Logs that do
/// not continue what was shown had their beginning cut off, and are shown whole.
fn new_lines<'a>(shown: &str, logs: &'a str, done: bool) -> Vec<&'a str> {
    let rest = logs.strip_prefix(shown).unwrap_or(if shown.trim_end() == logs { "" } else { logs });
    let whole = if done { rest } else { &rest[..rest.rfind('\n').map_or(0, |end| end + 1)] };
    whole.lines().collect()
}

async fn show_firings(client: &Client, id: &str, console: &Console) -> Result<()> {
    let mut url = client.url(&["functions", id, "schedule"])?;
    url.query_pairs_mut().append_pair("count", FIRINGS_SHOWN);
    let schedule = client.get_url(url).await?;
    let next: Vec<&str> = schedule["next"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    console.note(&format!("scheduled {} {}; next:", field(&schedule, "schedule"), field(&schedule, "timezone")));
    next.iter().for_each(|time| console.note(&format!("  {time}")));
    Ok(())
}

/// Where the function answers: at the web door if it has routes, else through the API.
fn address(client: &Client, manifest: &Manifest) -> Result<String> {
    let api = client.url(&["functions", &manifest.function.id, "executions"])?;
    let (Some(route), Some(host)) = (manifest.function.routes.first(), api.host_str()) else {
        return Ok(api.into());
    };
    let partner = &client.partner;
    let door = match host.strip_prefix(&format!("{partner}-api.")) {
        Some(root) => format!("{partner}.{root}"),
        None if is_local(&api) => format!("{partner}.localhost"),
        // A bare address of another machine: only its operator knows the name of the web door.
        None => return Ok(api.into()),
    };
    let port = api.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{}://{door}{port}{route}", api.scheme()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_logs_are_shown_line_by_line_and_once() {
        assert_eq!(new_lines("", "one\ntw", false), ["one"]);
        assert_eq!(new_lines("one\n", "one\ntwo\nthr", false), ["two"]);
        assert_eq!(new_lines("one\n", "one\ntwo", true), ["two"]);
        assert_eq!(new_lines("one\ntwo\n", "one\ntwo", true), [] as [&str; 0]);
        assert_eq!(new_lines("one\n", "[WARNING] cut\nthree\n", false), ["[WARNING] cut", "three"]);
    }
}

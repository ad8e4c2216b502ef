//! `larder deploy`: the manifest and the component → a running function.
//!
//! The rule: **what serves stays as it is until the new deployment is active.** So the upload carries the function's settings
//! and grants, which take effect with its code; a function that is there is not touched before; and variables that change
//! are set when the new code is active. The steps: function, new variables, upload, build, grants, activation, variables.

use std::path::Path;
use std::time::{Duration, Instant};

use larder_model::deployments::WAITS;
use larder_wire::deployments::{DeploymentList, DeploymentObject};
use larder_wire::functions::{Activation, FunctionInput, FunctionObject};
use larder_wire::problem::Kind;
use larder_wire::queries::Query;
use larder_wire::schedules::Schedule;
use reqwest::{Method, multipart};

use crate::build::Project;
use crate::client::{Answer, Client, is_local};
use crate::connection::Connection;
use crate::console::{Console, size};
use crate::failure::{Failure, Result};
use crate::manifest::{Manifest, RUNTIME};
use crate::{Session, component, grants, origin, variables};

const POLL: Duration = Duration::from_millis(300);
const BUILD_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const FIRINGS_SHOWN: &str = "3";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Uploads the component with the settings of larder.toml, waits until Larder has compiled and checked it, activates it, \
and prints its address. Until then, and if anything fails, the old deployment goes on serving under its own settings.

If [grants] asks for more than is in force, it stops and says what and who can approve it. Under `larder dev` it approves \
that itself. A function that was last deployed from another project is replaced only after a yes, or with --force.

Examples:
  larder build && larder deploy
  larder deploy --dir round-up --partner demo
  larder deploy --component out/round_up.wasm --json
  larder deploy --force            # in a script: whosever it was, it is this project's from now on")]
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
    /// Replace a function that was last deployed from another project
    #[arg(long)]
    force: bool,
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

    let origin = origin::of(&folder).await;
    match find(&client, id).await? {
        Some(_) => {
            may_replace(&client, id, &origin, args.force, console).await?;
            console.note(&format!("updating function {id}"));
        }
        None => {
            console.note(&format!("creating function {id}"));
            let bare = FunctionInput {
                function_id: Some(id.to_owned()),
                name: Some(manifest.function.name().to_owned()),
                runtime: Some(RUNTIME.to_owned()),
                ..FunctionInput::default()
            };
            let made = client.post::<FunctionObject>(&["functions"], &bare).await;
            made.map_err(|failure| manifest.explain(failure))?;
        }
    }
    let difference = grants::difference(&client, id, &manifest.grants).await?;
    let variables = variables::plan(&client, &manifest, args.prune_variables).await?;
    variables.create(&client, &manifest, console).await?;
    let deployment = upload(&client, &manifest, &file, bytes, &origin, console).await?;
    let deployment = wait(&client, id, deployment, console).await?;
    let deployment_id = deployment.id;
    let waited = match grants::settle(&client, id, &deployment_id, connection.dev || args.approve, console).await {
        Ok(waited) => waited,
        Err(failure) => {
            if let Some(left) = variables.left() {
                console.note(&format!("{left} when it is active: deploy again then"));
            }
            return Err(failure);
        }
    };
    if let Some(difference) = difference.filter(|_| !waited) {
        difference
            .reductions
            .iter()
            .chain(&difference.extensions)
            .for_each(|what| console.note(&format!("{id} {what}")));
    }
    let function = activate(&client, id, &deployment_id).await.map_err(|failure| manifest.explain(failure))?;
    console.note(&format!("activated deployment {deployment_id}"));
    variables.change(&client, &manifest, console).await?;
    if manifest.function.enabled != Some(true) && !function.enabled {
        console.note(&format!("{id} is switched off, and stays so: `enabled = true` in larder.toml switches it on"));
    }
    if !manifest.function.schedule.is_empty() {
        show_firings(&client, id, console).await?;
    }
    if console.json {
        return console.object(&function);
    }
    show_address(&client, &manifest, &connection, console)
}

/// Makes a deployment the active one, unless its build did; gives the function.
pub async fn activate(client: &Client, id: &str, deployment: &str) -> Result<Answer<FunctionObject>> {
    let function = client.get::<FunctionObject>(&["functions", id]).await?;
    if function.deployment_id == deployment {
        return Ok(function);
    }
    let body = Activation { deployment_id: Some(deployment.to_owned()) };
    client.call(Method::PATCH, &["functions", id, "deployment"], &body).await.map_err(grants::waits)
}

/// The function, if it is there.
async fn find(client: &Client, id: &str) -> Result<Option<FunctionObject>> {
    match client.get::<FunctionObject>(&["functions", id]).await {
        Ok(function) => Ok(Some(function.into_object())),
        Err(failure) if failure.is(Kind::FunctionNotFound) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Whether what was deployed last is of this project, or somebody says that it may be replaced.
async fn may_replace(client: &Client, id: &str, origin: &str, force: bool, console: &Console) -> Result<()> {
    let queries = [Query::newest_first(), Query::limit(1)];
    let newest = client.list::<DeploymentList>(&["functions", id, "deployments"], &queries).await?;
    let Some(last) = newest.deployments.first().filter(|last| last.origin != origin) else { return Ok(()) };
    let DeploymentObject { origin: whence, uploaded_by: key, created_at: at, .. } = last;
    let whence = if whence.is_empty() { "by another client than this".to_owned() } else { format!("from {whence}") };
    let by = if key.is_empty() { String::new() } else { format!(", with key {key}") };
    let whose = format!("function {id} was last deployed {whence} at {at}{by}; this is {origin}");
    if force {
        console.note(&whose);
        return Ok(());
    }
    if console.confirm(&format!("{whose}. Replace it?"))? {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{whose}. Nothing was changed. Another `id` in larder.toml makes this a function of its own; \
         to replace the other one:\n  larder deploy --force"
    )))
}

async fn upload(
    client: &Client,
    manifest: &Manifest,
    file: &Path,
    bytes: Vec<u8>,
    origin: &str,
    console: &Console,
) -> Result<DeploymentObject> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    console.note(&format!("uploading {name} ({})", size(bytes.len() as u64)));
    let code = multipart::Part::bytes(bytes)
        .file_name(name)
        .mime_str("application/wasm")
        .map_err(|err| Failure::failed(format!("cannot describe the upload: {err}")))?;
    let asked = serde_json::to_string(&manifest.grants).expect("plain values serialise");
    // Should its grants wait for a yes, it becomes active by that.
    let form = multipart::Form::new()
        .part("code", code)
        .text("activate", "true")
        .text("grants", asked)
        .text("settings", manifest.settings().to_string())
        .text("origin", origin.to_owned());
    let path = ["functions", &manifest.function.id, "deployments"];
    let deployment = client.upload(&path, form).await;
    deployment.map(Answer::into_object).map_err(|failure| manifest.explain(failure))
}

/// Follows the build to its end, telling what is new.
async fn wait(
    client: &Client,
    id: &str,
    mut deployment: DeploymentObject,
    console: &Console,
) -> Result<DeploymentObject> {
    let deployment_id = deployment.id.clone();
    let deadline = Instant::now() + BUILD_TIMEOUT;
    let mut status = String::new();
    let mut shown = String::new();
    loop {
        if deployment.status != status {
            status.clone_from(&deployment.status);
            console.note(&format!("build {status}"));
        }
        let logs = &deployment.build_logs;
        let done = matches!(status.as_str(), "ready" | "failed" | "canceled");
        for line in new_lines(&shown, logs, done) {
            // What it waits for, and what to do then, is told below, or done.
            if line == WAITS {
                break;
            }
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
        let path = ["functions", id, "deployments", &deployment_id];
        deployment = client.get::<DeploymentObject>(&path).await?.into_object();
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
    let Schedule { schedule, timezone, next, .. } = client.get_url::<Schedule>(url).await?.into_object();
    console.note(&format!("scheduled {schedule} {timezone}; next:"));
    next.iter().for_each(|time| console.note(&format!("  {time}")));
    Ok(())
}

/// Where the function answers: at the web endpoint if it has routes, else through the API.
fn show_address(client: &Client, manifest: &Manifest, connection: &Connection, console: &Console) -> Result<()> {
    let api = client.url(&["functions", &manifest.function.id, "executions"])?;
    let (Some(route), Some(host)) = (manifest.function.routes.first(), api.host_str()) else {
        return console.line(api.as_str());
    };
    let partner = &client.partner;
    let at = |host: &str| {
        let port = api.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{host}{port}{route}", api.scheme())
    };
    match host.strip_prefix(&format!("{partner}-api.")) {
        Some(root) => console.line(&at(&format!("{partner}.{root}"))),
        // The bare address is that of the partner of `larder dev`.
        None if connection.dev && partner == larder_model::settings::DEV_PARTNER => console.line(&at(host)),
        None if is_local(&api) => {
            console
                .note(&format!("or at {}, where names under .localhost resolve", at(&format!("{partner}.localhost"))));
            console.note(&format!("with the header X-Larder-Partner: {partner}"));
            console.line(&at(host))
        }
        // A bare address of another machine: only its operator knows the name of the web endpoint.
        None => console.line(api.as_str()),
    }
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

//! `larder keys`: the installation's master keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use larder_model::time::{Clock, rfc3339};
use larder_secrets::keyring::{self, Keyring};
use larder_wire::master_keys::{MasterKeyObject, MasterKeysObject, NewRotation, RotationObject};
use larder_wire::problem::Kind;
use serde_json::Value;

use crate::Session;
use crate::client::Client;
use crate::console::{Console, count};
use crate::failure::{Failure, Refusal, Result};

/// Between two looks at what the processes know.
const PAUSE: Duration = Duration::from_millis(500);
const MASTER_KEYS: [&str; 2] = ["operator", "master-keys"];

#[derive(Debug, clap::Subcommand)]
pub enum MasterKeysCommand {
    /// Take a new master key into use, while Larder serves
    Rotate(Rotate),
    /// Which master key seals, and what is sealed under which
    #[command(after_help = "Examples:\n  larder keys list --json")]
    List,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Puts a new key first in the file, which processes read again while they serve, takes it into use when every process
knows it, and rewraps every sealed value. Where processes have files of their own, give them this one: it waits.
Cut off at any point, the same command goes on where it stands.

Examples:
  larder keys rotate --file /etc/larder/master.key
  larder keys rotate                                  # the first key of the server's file, put there by other means")]
pub struct Rotate {
    /// The master key file, to put a new key into; not if its first key is one that is not in use yet
    #[arg(long)]
    file: Option<PathBuf>,
    /// How long to wait for processes that do not know the key yet, and for what may still be written under the old one
    #[arg(long, default_value = "5m", value_parser = humantime)]
    wait: Duration,
}

fn humantime(text: &str) -> std::result::Result<Duration, String> {
    #[derive(serde::Deserialize)]
    struct Text(#[serde(with = "humantime_serde")] Duration);
    let value = Value::String(text.to_owned());
    serde_json::from_value::<Text>(value).map(|text| text.0).map_err(|_| "must be a duration, such as 5m".into())
}

pub async fn run(command: MasterKeysCommand, session: &Session) -> Result<()> {
    let client = Client::of_operator(&session.globals.connect()?)?;
    match command {
        MasterKeysCommand::Rotate(args) => rotate(&args, &client, &session.console).await,
        MasterKeysCommand::List => {
            let seen = client.get::<MasterKeysObject>(&MASTER_KEYS).await?;
            if session.console.json { session.console.object(&seen) } else { show(&seen, &session.console) }
        }
    }
}

async fn rotate(args: &Rotate, client: &Client, console: &Console) -> Result<()> {
    let key_id = match &args.file {
        Some(file) => Some(key_to_use(file, client, console).await?),
        None => None,
    };
    let body = NewRotation { key_id, limit: None };
    let begun = std::time::Instant::now();
    let (mut said, mut rewrapped) = (String::new(), 0);
    loop {
        let (waiting, seen) = match client
            .post::<RotationObject>(&[MASTER_KEYS[0], MASTER_KEYS[1], "rotation"], &body)
            .await
        {
            Ok(seen) => {
                rewrapped += seen.rewrapped;
                (unfinished(&seen), Some(seen.into_object()))
            }
            Err(Failure::Refused(Refusal { kind, message, .. }))
                if [Kind::MasterKeyNotEverywhere, Kind::MasterKeyNotFirst].iter().any(|known| kind == known.word()) =>
            {
                (Some(message), None)
            }
            Err(failure) => return Err(failure),
        };
        match (waiting, seen) {
            (None, Some(mut seen)) => {
                seen.rewrapped = rewrapped;
                console.note(&format!("rewrapped {}", count(rewrapped as usize, "value")));
                if console.json {
                    return console.value(&serde_json::to_value(&seen).expect("plain values serialise"));
                }
                return show(&seen.state, console);
            }
            (waiting, seen) => {
                let waiting = waiting.unwrap_or_default();
                if waiting != said {
                    console.note(&format!("waiting: {waiting}"));
                    said.clone_from(&waiting);
                }
                if seen.as_ref().is_some_and(|seen| !seen.unopened.is_empty()) {
                    return Err(Failure::failed(format!("{waiting}; the old keys must stay")));
                }
                if begun.elapsed() >= args.wait {
                    let why = format!("not done after {:?}: {waiting}; run the same command again", args.wait);
                    return Err(Failure::failed(why));
                }
                // What is left is work, not waiting.
                if seen.is_none_or(|seen| seen.rewrapped == 0) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// The id of the key to go on with if a rotation began and is not done, of a new one otherwise.
async fn key_to_use(file: &Path, client: &Client, console: &Console) -> Result<String> {
    let first = Keyring::read(file).map_err(Failure::usage)?.first().id().to_string();
    let seen = client.get::<MasterKeysObject>(&MASTER_KEYS).await?;
    let mut others = seen.keys.iter().filter(|key| key.id != first);
    if seen.sealing != first || others.any(|key| !key.may_be_dropped) {
        console.note(&format!("going on with {first}, the first key of {}", file.display()));
        return Ok(first);
    }
    let now = rfc3339(Clock::System.now_ms());
    let made = keyring::add_to_file(file, &now).map_err(Failure::usage)?;
    console.note(&format!("made the master key {made}, the first in {}", file.display()));
    Ok(made.to_string())
}

/// Why a rotation is not done yet.
fn unfinished(seen: &RotationObject) -> Option<String> {
    let RotationObject { left, unopened, state: MasterKeysObject { sealing, .. }, .. } = seen;
    if !unopened.is_empty() {
        return Some(format!("{} that do not open: {}", count(*left as usize, "value"), unopened.join("; ")));
    }
    if *left > 0 {
        return Some(format!("{} to rewrap", count(*left as usize, "value")));
    }
    if seen.state.keys.iter().all(|key| key.may_be_dropped || key.id == *sealing) {
        return None;
    }
    let behind = seen.state.processes.iter().filter(|process| process.sealing != *sealing);
    let behind: Vec<&str> = behind.map(|process| process.name.as_str()).collect();
    Some(match behind.is_empty() {
        true => format!("until {}, for what was sealed before", seen.state.settled_at),
        false => format!("for {} to seal under {sealing}", behind.join(", ")),
    })
}

fn show(seen: &MasterKeysObject, console: &Console) -> Result<()> {
    let state = |key: &MasterKeyObject| match (key.sealing, key.may_be_dropped) {
        (true, _) => "seals".to_owned(),
        (_, true) => "may be dropped from the file; backups from before still need it".to_owned(),
        _ => "needed".to_owned(),
    };
    let rows: Vec<_> = seen.keys.iter().map(|key| [key.id.clone(), key.values.to_string(), state(key)]).collect();
    console.table(["MASTER KEY", "VALUES", "STATE"], &rows)?;
    if seen.otherwise != 0 {
        let values = count(seen.otherwise as usize, "value");
        console.note(&format!("{values} under other keys, or from before values had keys of their own"));
    }
    Ok(())
}

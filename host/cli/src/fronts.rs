//! `larder front`: processes before the core. A front's key is made on its own machine and stays there.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use larder_model::Digest;
use larder_wire::fronts::{FrontList, FrontObject, NewFront};
use rcgen::{KeyPair, PublicKeyData};
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::failure::{Failure, Result};
use crate::{Session, input};

/// What a front's folder has (`front.folder`).
pub const KEY: &str = "front.key";
pub const CERTIFICATE: &str = "front.pem";

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make the key of a front, on its machine, and print the public half of it
    #[command(after_help = "\
The key stays in the folder; a key that is there already is kept. What is printed is no secret.

Examples:
  larder front request --folder /var/lib/larder/front > edge-1.pub")]
    Request {
        /// Where the front keeps its key and its certificate (front.folder)
        #[arg(long, default_value = "larder-front")]
        folder: PathBuf,
    },
    /// Let a front connect, and give it a certificate (needs the operator key)
    Enrol(Enrol),
    /// List fronts with the end of their certificates (needs the operator key)
    #[command(after_help = "Examples:\n  larder front list\n  larder front list --json")]
    List,
    /// Show a front (needs the operator key)
    #[command(after_help = "Examples:\n  larder front show edge-1")]
    Show { name: String },
    /// Refuse a front from now on, its running connections too (needs the operator key)
    #[command(after_help = "Examples:\n  larder front remove edge-1")]
    Remove { name: String },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --public-key the certificate is printed: it belongs into front.pem in the folder of the front. With --folder, on the front's own \
machine, the key is made if it is missing and the certificate is put there. The same once more gives another certificate.

Examples:
  larder front enrol edge-1 --public-key edge-1.pub > edge-1.pem
  larder front enrol edge-1 --public-key edge-1.pub --names 'acme.bank.example,*.shop.example' > edge-1.pem
  larder front enrol edge-1 --folder /var/lib/larder/front")]
pub struct Enrol {
    name: String,
    /// File with what `larder front request` printed, or - for stdin
    #[arg(long, value_name = "FILE", conflicts_with = "folder", required_unless_present = "folder")]
    public_key: Option<String>,
    /// Folder of the front, if this is its machine
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Hosts that it serves, each exact or *. and a domain [default: all that end users reach]
    #[arg(long, value_delimiter = ',', value_name = "HOST,..")]
    names: Vec<String>,
}

const PATH: [&str; 2] = ["operator", "fronts"];

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let console = &session.console;
    if let Command::Request { folder } = &command {
        let key = key(folder)?;
        console.note(&format!("SHA-256 of the key: {}", hash(&key)));
        return console.raw(&key.public_key_pem());
    }
    let client = Client::of_operator(&session.globals.connect()?)?;
    let row = |one: &FrontObject| {
        let names = if one.names.is_empty() { "all".to_owned() } else { one.names.join(" ") };
        [one.id.clone(), names, one.not_after.clone(), one.created_at.clone(), one.key_hash.clone()]
    };
    let columns = ["NAME", "SERVES", "CERTIFICATE ENDS", "ENROLLED", "KEY"];
    match command {
        Command::Request { .. } => Ok(()),
        Command::Enrol(args) => enrol(args, &client, session).await,
        Command::List => {
            let all = client.list_all::<FrontList>(&PATH, &[]).await?;
            if console.json {
                let sent: Vec<&Value> = all.iter().map(Answer::sent).collect();
                return console.value(&json!({ "total": sent.len(), "fronts": sent }));
            }
            console.table(columns, &all.iter().map(|one| row(one)).collect::<Vec<_>>())
        }
        Command::Show { name } => {
            let one = client.get::<FrontObject>(&[PATH[0], PATH[1], &name]).await?;
            if console.json { console.value(one.sent()) } else { console.table(columns, &[row(&one)]) }
        }
        Command::Remove { name } => {
            client.delete(&[PATH[0], PATH[1], &name]).await?;
            console.note(&format!("front {name} is refused from now on"));
            Ok(())
        }
    }
}

async fn enrol(args: Enrol, client: &Client, session: &Session) -> Result<()> {
    let console = &session.console;
    let public_key = match (&args.public_key, &args.folder) {
        (Some(file), _) => input::file(file)?,
        (None, Some(folder)) => key(folder)?.public_key_pem(),
        (None, None) => return Err(Failure::usage("give --public-key or --folder")),
    };
    let names = (!args.names.is_empty()).then_some(args.names);
    let body = NewFront { name: Some(args.name), public_key: Some(public_key), names };
    let front = client.post::<FrontObject>(&PATH, &body).await?;
    console.note(&format!("front {} may connect; SHA-256 of its key: {}", front.id, front.key_hash));
    console.note(&format!("its certificate ends {} unless the front renews it", front.not_after));
    if let Some(folder) = &args.folder {
        let file = folder.join(CERTIFICATE);
        let text = front.certificate.as_deref().unwrap_or_default();
        larder_secrets::replace_private(&file, text).map_err(|err| unwritten(&file, &err))?;
        console.note(&format!("{} has it", file.display()));
    } else if !console.json {
        return console.raw(front.certificate.as_deref().unwrap_or_default());
    }
    if console.json { console.value(front.sent()) } else { Ok(()) }
}

/// The key in the folder of a front; made if there is none.
fn key(folder: &Path) -> Result<KeyPair> {
    let file = folder.join(KEY);
    let text = match larder_secrets::read_private(&file) {
        Ok(text) => text,
        Err(err) if err.kind() == ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(|err| Failure::failed(format!("no key could be made: {err}")))?;
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|err| unwritten(folder, &err))?;
            larder_secrets::replace_private(&file, &key.serialize_pem()).map_err(|err| unwritten(&file, &err))?;
            return Ok(key);
        }
        Err(err) => return Err(Failure::usage(format!("cannot read {}: {err}", file.display()))),
    };
    KeyPair::from_pem(&text).map_err(|err| Failure::usage(format!("{} has no key in PEM: {err}", file.display())))
}

fn hash(key: &KeyPair) -> String {
    Digest::of(&key.subject_public_key_info()).to_string()
}

fn unwritten(file: &Path, err: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write {}: {err}", file.display()))
}

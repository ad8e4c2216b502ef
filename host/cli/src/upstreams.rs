//! `larder upstream`: named outside services. A credential comes from a file or stdin, never from an argument, which others
//! on the machine can see and shells remember.

use std::path::PathBuf;

use larder_model::upstreams::{CredentialKind, KeyEncoding};
use larder_wire::upstreams::{CacheChange, UpstreamChange, UpstreamList, UpstreamObject};
use reqwest::Method;
use serde_json::Value;

use crate::client::{Answer, Client};
use crate::failure::{Failure, Result};
use crate::{Session, input};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make an upstream that functions can be granted
    Create(Box<Create>),
    /// List upstreams with the state of their circuit breakers
    #[command(after_help = "Examples:\n  larder upstream list\n  larder upstream list --operator --json")]
    List(Whose),
    /// Print an upstream, all but its credential
    #[command(after_help = "Examples:\n  larder upstream show aggregator")]
    Show(Named),
    /// Give an upstream another credential
    SetCredential(SetCredential),
    /// Delete upstreams; functions that call them are refused from then on
    #[command(after_help = "Examples:\n  larder upstream delete aggregator")]
    Delete(Delete),
}

#[derive(Debug, clap::Args)]
pub struct Whose {
    /// Of the operator, for all partners (needs the operator key)
    #[arg(long)]
    operator: bool,
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// The upstream's name
    name: String,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, clap::Args)]
pub struct Delete {
    /// The upstreams' names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    whose: Whose,
}

/// How the credential goes with each request, and where its text is.
#[derive(Debug, clap::Args)]
pub struct Credential {
    /// header, basic, query, or hmac: a key to sign with
    #[arg(long, value_parser = ["header", "basic", "query", "hmac"], value_name = "KIND", requires = "secret_file")]
    credential: Option<String>,
    /// The header's name
    #[arg(long, default_value = "Authorization", value_name = "NAME")]
    header: String,
    /// What stands in the header
    #[arg(long, default_value = "Bearer {secret}", value_name = "TEXT")]
    template: String,
    /// The user of basic
    #[arg(long, required_if_eq("credential", "basic"))]
    user: Option<String>,
    /// The parameter's name in the query
    #[arg(long, required_if_eq("credential", "query"), value_name = "NAME")]
    parameter: Option<String>,
    /// How the signing key is written
    #[arg(long, default_value = "text", value_parser = ["text", "base64"])]
    encoding: String,
    /// The file with the credential, or - for stdin; a line end behind it is left out
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder upstream create aggregator --url https://api.sports.example/v2 --credential header --secret-file token.txt --cache
  pass show bank | larder upstream create bank --url https://bank.example --credential hmac --secret-file -
  larder upstream create core --url http://10.1.0.7:8080 --network 10.1.0.0/16 --operator")]
pub struct Create {
    /// Functions call http://NAME.upstream/
    name: String,
    /// Where it is; functions reach what lies below its path
    #[arg(long)]
    url: String,
    #[command(flatten)]
    credential: Credential,
    /// Until there is a connection
    #[arg(long, value_name = "MS")]
    connect_ms: Option<u64>,
    /// Until the answer begins, and between its parts
    #[arg(long, value_name = "MS")]
    answer_ms: Option<u64>,
    /// Until the answer is whole
    #[arg(long, value_name = "MS")]
    total_ms: Option<u64>,
    /// Requests in a minute
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Requests at once, in each process
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,
    /// How long a request may wait for its turn
    #[arg(long, value_name = "MS")]
    wait_ms: Option<u64>,
    /// Bytes of an answer
    #[arg(long, value_name = "N")]
    bytes_max: Option<u64>,
    /// A private network that it may lie in, such as 10.1.0.0/16
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
    /// Keep answers by what their headers say
    #[arg(long)]
    cache: bool,
    /// Answers are fresh for so long, whatever they say
    #[arg(long, value_name = "SECONDS", requires = "cache")]
    cache_max_age: Option<u32>,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder upstream set-credential aggregator --secret-file token.txt
  larder upstream set-credential aggregator --credential query --parameter api_key --secret-file -")]
pub struct SetCredential {
    /// The upstream's name
    name: String,
    #[command(flatten)]
    credential: Credential,
    #[command(flatten)]
    whose: Whose,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    match command {
        Command::Create(args) => create(&args, session).await,
        Command::List(whose) => list(&whose, session).await,
        Command::Show(named) => {
            let (client, path) = named.whose.client(session)?;
            show(&client.get(&[path, &[&named.name]].concat()).await?, session)
        }
        Command::SetCredential(args) => {
            if args.credential.secret_file.is_none() {
                return Err(Failure::usage("no credential: give --secret-file, - for stdin"));
            }
            let (client, path) = args.whose.client(session)?;
            let path = [path, &[&args.name]].concat();
            let answer = client.call::<UpstreamObject>(Method::PATCH, &path, &args.credential.change()?).await?;
            session.console.note(&format!("upstream {} has another credential", args.name));
            if session.console.json { session.console.object(&answer) } else { Ok(()) }
        }
        Command::Delete(args) => {
            let (client, path) = args.whose.client(session)?;
            for name in &args.names {
                client.delete(&[path, &[name]].concat()).await?;
                session.console.note(&format!("deleted upstream {name}"));
            }
            Ok(())
        }
    }
}

impl Whose {
    fn client(&self, session: &Session) -> Result<(Client, &'static [&'static str])> {
        Ok(match self.operator {
            true => (Client::of_operator(&session.globals.connect()?)?, &["operator", "upstreams"]),
            false => (session.client()?, &["upstreams"]),
        })
    }
}

impl Credential {
    fn change(&self) -> Result<UpstreamChange> {
        let kind = self.credential.as_deref().map(|kind| match kind {
            "header" => CredentialKind::Header { name: self.header.clone(), template: self.template.clone() },
            "basic" => CredentialKind::Basic { user: self.user.clone().unwrap_or_default() },
            "query" => CredentialKind::Query { name: self.parameter.clone().unwrap_or_default() },
            _ if self.encoding == "base64" => CredentialKind::Hmac { encoding: KeyEncoding::Base64 },
            _ => CredentialKind::Hmac { encoding: KeyEncoding::Text },
        });
        let secret = match &self.secret_file {
            Some(file) => Some(input::file(&file.display().to_string())?.trim_end_matches(['\r', '\n']).to_owned()),
            None => None,
        };
        Ok(UpstreamChange { credential: kind, secret, ..UpstreamChange::default() })
    }
}

async fn create(args: &Create, session: &Session) -> Result<()> {
    let body = UpstreamChange {
        name: Some(args.name.clone()),
        url: Some(args.url.clone()),
        connect_ms: args.connect_ms,
        answer_ms: args.answer_ms,
        total_ms: args.total_ms,
        rate_per_minute: args.rate,
        concurrency: args.concurrency,
        wait_ms: args.wait_ms,
        bytes_max: args.bytes_max,
        networks: Some(args.networks.clone()),
        cache: args.cache.then_some(CacheChange { enabled: true, max_age_seconds: args.cache_max_age }),
        ..args.credential.change()?
    };
    let (client, path) = args.whose.client(session)?;
    let upstream = client.post::<UpstreamObject>(path, &body).await?;
    let console = &session.console;
    if console.json {
        return console.object(&upstream);
    }
    console.note(&format!(
        "functions call it as http://{}.upstream/ once they are granted it; larder.toml, [grants]:",
        args.name
    ));
    console.note(&format!("  upstreams = [\"{}\"]", args.name));
    console.line(&args.name)
}

async fn list(whose: &Whose, session: &Session) -> Result<()> {
    let (client, path) = whose.client(session)?;
    let answer = client.get::<UpstreamList>(path).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows: Vec<_> = answer
        .upstreams
        .iter()
        .map(|row| {
            // Of the operator's, a partner is not told them.
            let (url, kind) = match &row.settings {
                Some(settings) => (settings.url.clone(), settings.credential.word()),
                None => Default::default(),
            };
            let breaker = row.breaker_state.state.word();
            [row.name.clone(), row.owner.clone(), url, kind.to_owned(), breaker.to_owned()]
        })
        .collect();
    session.console.table(["NAME", "OWNER", "URL", "CREDENTIAL", "BREAKER"], &rows)
}

/// All members of the object, whatever they are called.
fn show(upstream: &Answer<UpstreamObject>, session: &Session) -> Result<()> {
    let console = &session.console;
    if console.json {
        return console.object(upstream);
    }
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let members = upstream.sent().as_object().into_iter().flatten();
    let rows: Vec<_> = members.map(|(name, value)| [name.clone(), text(value)]).collect();
    console.table(["SETTING", "VALUE"], &rows)
}

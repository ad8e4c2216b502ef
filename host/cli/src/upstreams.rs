//! `larder upstream`: named outside services. A credential comes from a file or stdin, never from an argument, which others
//! on the machine can see and shells remember.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::console::field;
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
            let mut body = Map::new();
            args.credential.add_to(&mut body)?;
            let answer = client.call(Method::PATCH, &[path, &[&args.name]].concat(), &Value::Object(body)).await?;
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
    fn add_to(&self, body: &mut Map<String, Value>) -> Result<()> {
        if let Some(kind) = &self.credential {
            let credential = match kind.as_str() {
                "header" => json!({ "kind": kind, "name": self.header, "template": self.template }),
                "basic" => json!({ "kind": kind, "user": self.user }),
                "query" => json!({ "kind": kind, "name": self.parameter }),
                _ => json!({ "kind": kind, "encoding": self.encoding }),
            };
            body.insert("credential".into(), credential);
        }
        if let Some(file) = &self.secret_file {
            let text = input::file(&file.display().to_string())?;
            body.insert("secret".into(), text.trim_end_matches(['\r', '\n']).into());
        }
        Ok(())
    }
}

async fn create(args: &Create, session: &Session) -> Result<()> {
    let mut body = Map::new();
    args.credential.add_to(&mut body)?;
    body.insert("name".into(), args.name.clone().into());
    body.insert("url".into(), args.url.clone().into());
    let numbers = [
        ("connectMs", args.connect_ms),
        ("answerMs", args.answer_ms),
        ("totalMs", args.total_ms),
        ("ratePerMinute", args.rate),
        ("concurrency", args.concurrency.map(u64::from)),
        ("waitMs", args.wait_ms),
        ("bytesMax", args.bytes_max),
    ];
    body.extend(numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into()))));
    body.insert("networks".into(), args.networks.clone().into());
    if args.cache {
        let cache = match args.cache_max_age {
            Some(seconds) => json!({ "enabled": true, "maxAgeSeconds": seconds }),
            None => json!({ "enabled": true }),
        };
        body.insert("cache".into(), cache);
    }
    let (client, path) = args.whose.client(session)?;
    let upstream = client.post(path, &Value::Object(body)).await?;
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
    let answer = client.get(path).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows: Vec<_> = answer["upstreams"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let kind = row["credential"]["kind"].as_str().unwrap_or_default().to_owned();
            [field(row, "name"), field(row, "owner"), field(row, "url"), kind, field(&row["breakerState"], "state")]
        })
        .collect();
    session.console.table(["NAME", "OWNER", "URL", "CREDENTIAL", "BREAKER"], &rows)
}

fn show(upstream: &Value, session: &Session) -> Result<()> {
    let console = &session.console;
    if console.json {
        return console.object(upstream);
    }
    let rows: Vec<_> =
        upstream.as_object().into_iter().flatten().map(|(name, _)| [name.clone(), field(upstream, name)]).collect();
    console.table(["SETTING", "VALUE"], &rows)
}

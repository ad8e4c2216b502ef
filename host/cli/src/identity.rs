//! `larder identity`: whose tokens name the partner's end users. A token is read from a file or stdin, never from an argument,
//! which others on the machine can see and shells remember.

use std::path::PathBuf;

use larder_model::IdentitySettings;
use larder_model::identities::SigningAlgorithm;
use larder_wire::identities::{IdentityObject, TokenCheck, TokenInput};
use reqwest::Method;
use serde_json::Value;

use crate::client::Answer;
use crate::failure::{Failure, Result};
use crate::{Session, input};

const PATH: &[&str] = &["identity"];

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print whose tokens are good, and how old the issuer's keys are
    #[command(after_help = "Examples:\n  larder identity show")]
    Show,
    /// Say whose tokens are good; replaces what was said before
    Set(Set),
    /// Say what Larder makes of a token, and why it refuses it
    Check(Check),
    /// From then on no token is good
    #[command(after_help = "Examples:\n  larder identity delete")]
    Delete,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder identity set --issuer https://id.example --audience savings --jwks-url https://id.example/jwks.json
  larder identity set --issuer https://id.example --audience savings --jwks-url https://id.example/jwks.json \\
    --algorithm ES256 --user-claim customer_id --labels-claim roles --origin https://app.example")]
pub struct Set {
    /// The `iss` of every token, character by character
    #[arg(long)]
    issuer: String,
    /// Whom tokens are for (`aud`); may be given several times
    #[arg(long = "audience", required = true, value_name = "TEXT")]
    audiences: Vec<String>,
    /// Where the issuer's keys are
    #[arg(long, value_name = "URL")]
    jwks_url: String,
    /// How tokens are signed; may be given several times
    #[arg(long = "algorithm", value_name = "NAME", default_values = ["RS256", "ES256"])]
    algorithms: Vec<String>,
    /// The claim with the end user's id as enrolments have it: a name, or a JSON pointer
    #[arg(long, default_value = "sub", value_name = "CLAIM")]
    user_claim: String,
    /// The claim with labels
    #[arg(long, default_value = "", value_name = "CLAIM")]
    labels_claim: String,
    /// The claim that is true for verified end users
    #[arg(long, default_value = "email_verified", value_name = "CLAIM")]
    verified_claim: String,
    /// An origin whose pages may call the end users' endpoints; may be given several times
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// A private network that the keys may lie in, such as 10.1.0.0/16
    #[arg(long = "network", value_name = "CIDR")]
    networks: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  larder identity check token.txt\n  pbpaste | larder identity check -")]
pub struct Check {
    /// The file with the token, or - for stdin
    file: PathBuf,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let (client, console) = (session.client()?, &session.console);
    match command {
        Command::Show => show(&client.get(PATH).await?, session),
        Command::Set(args) => {
            let algorithm = |word: &String| {
                SigningAlgorithm::from_word(word).ok_or_else(|| {
                    Failure::usage(format!("--algorithm {word}: there are {}", SigningAlgorithm::WORDS.join(", ")))
                })
            };
            let settings = IdentitySettings {
                issuer: args.issuer,
                audiences: args.audiences,
                jwks_url: args.jwks_url,
                algorithms: args.algorithms.iter().map(algorithm).collect::<Result<_>>()?,
                user_claim: args.user_claim,
                labels_claim: args.labels_claim,
                verified_claim: args.verified_claim,
                origins: args.origins,
                networks: args.networks,
            };
            let answer = client.call::<IdentityObject>(Method::PUT, PATH, &settings).await?;
            match answer.keys.error.as_str() {
                "" => console.note(&format!("{} keys were fetched", answer.keys.ids.len())),
                why => console.note(&format!("the settings are stored, but the keys could not be fetched: {why}")),
            }
            show(&answer, session)
        }
        Command::Check(args) => {
            let token = input::file(&args.file.display().to_string())?.trim().to_owned();
            let path = [PATH, &["checks"]].concat();
            let answer = client.post::<TokenCheck>(&path, &TokenInput { token: Some(token) }).await?;
            if console.json {
                return console.object(&answer);
            }
            if !answer.valid {
                return Err(Failure::failed(format!("the token is refused: {}", answer.reason)));
            }
            let verified = if answer.verified { "verified" } else { "unverified" };
            console.line(&format!("{}  {verified}  {}", answer.end_user, answer.labels.join(" ")))
        }
        Command::Delete => {
            client.delete(PATH).await?;
            console.note("no token of an end user is good any more");
            Ok(())
        }
    }
}

fn show(identity: &Answer<IdentityObject>, session: &Session) -> Result<()> {
    let console = &session.console;
    if console.json {
        return console.object(identity);
    }
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(|one| one.as_str().unwrap_or_default()).collect::<Vec<_>>().join(", "),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let mut rows = vec![];
    for (name, value) in identity.sent().as_object().into_iter().flatten() {
        match value.as_object() {
            Some(members) => rows.extend(members.iter().map(|(inner, value)| [format!("{name}.{inner}"), text(value)])),
            None => rows.push([name.clone(), text(value)]),
        }
    }
    console.table(["SETTING", "VALUE"], &rows)
}

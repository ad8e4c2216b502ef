//! `larder rules`: domains by which a project's functions and API are called.

use larder_wire::queries::Query;
use larder_wire::rules::{NewApiRule, NewRule, NewSiteRule, RuleList, RuleObject};
use reqwest::Method;

use crate::Session;
use crate::client::{Answer, Client};
use crate::failure::{Failure, Result};

const PATH: &[&str] = &["proxy", "rules"];

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Give a function a domain, or the project one of its own
    Create(Create),
    /// Look whether a domain of your own is proved, and say what is missing
    Verify(Domains),
    /// List domains and what is reached there
    List(List),
    /// Take domains away: they are free for others at once
    Delete(Domains),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
One label below the domain of functions is served at once. A domain of your own is served when DNS says that it is yours: a CNAME
record to P.ROOT (P-api.ROOT for --api), or a TXT record at _larder.DOMAIN with this name. A function is called at its domain by
everybody whom its `execute` lets in.

Examples:
  larder rules create shop.functions.localhost --function shop
  larder rules create shop.example --function shop
  larder rules create www.bank.example --site
  larder rules create api.bank.example --api")]
pub struct Create {
    /// The domain
    domain: String,
    /// What is reached there
    #[command(flatten)]
    reaches: Reaches,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Reaches {
    /// This function, whatever the path
    #[arg(long, value_name = "ID")]
    function: Option<String>,
    /// The project's functions, by their routes
    #[arg(long)]
    site: bool,
    /// The project's API
    #[arg(long)]
    api: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder rules list
  larder rules list --json | jq -r .domain")]
pub struct List {}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder rules verify www.bank.example
  larder rules delete shop.functions.localhost")]
pub struct Domains {
    /// The domains
    #[arg(required = true, value_name = "DOMAIN")]
    domains: Vec<String>,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let (client, console) = (session.client()?, &session.console);
    match command {
        Command::Create(Create { domain, reaches }) => {
            let (domain, at) = (Some(domain), |kind| [PATH, &[kind]].concat());
            let rule: Answer<RuleObject> = match reaches {
                Reaches { api: true, .. } => client.post(&at("api"), &NewApiRule { domain }).await?,
                Reaches { function: Some(id), .. } => {
                    let body = NewRule { domain, function_id: Some(id), branch: None };
                    client.post(&at("function"), &body).await?
                }
                Reaches { .. } => client.post(&at("site"), &NewSiteRule { domain, ..NewSiteRule::default() }).await?,
            };
            if console.json {
                return console.object(&rule);
            }
            console.note(&told(&rule));
            console.line(&rule.domain)
        }
        Command::Verify(Domains { domains }) => {
            for domain in domains {
                let id = id_of(&client, &domain).await?;
                let path = [PATH, &[id.as_str(), "verification"]].concat();
                let rule: Answer<RuleObject> = client.call(Method::PATCH, &path, &serde_json::json!({})).await?;
                console.note(&told(&rule));
            }
            Ok(())
        }
        Command::List(List {}) => {
            let rules = client.list_all::<RuleList>(PATH, &[Query::newest_first()]).await?;
            if console.json {
                return rules.iter().try_for_each(|rule| console.object_line(rule));
            }
            let rows = rules.iter().map(|row| [row.domain.clone(), reached(row), row.status.clone(), row.logs.clone()]);
            console.table(["DOMAIN", "REACHES", "STATUS", "WHY"], &rows.collect::<Vec<_>>())
        }
        Command::Delete(Domains { domains }) => {
            for domain in domains {
                client.delete(&[PATH, &[&id_of(&client, &domain).await?]].concat()).await?;
                console.note(&format!("{domain} calls nothing any more"));
            }
            Ok(())
        }
    }
}

/// What is reached at the domain of a rule.
fn reached(rule: &RuleObject) -> String {
    match (rule.r#type.as_str(), rule.deployment_resource_type.as_deref()) {
        ("api", _) => "the API".into(),
        (_, Some("site")) => "functions by route".into(),
        _ => rule.deployment_resource_id.clone(),
    }
}

fn told(rule: &RuleObject) -> String {
    let missing = if rule.logs.is_empty() { String::new() } else { format!(": {}", rule.logs) };
    let calls = if rule.status == "verified" { "calls" } else { "will call" };
    format!("{} {calls} {} ({}{missing})", rule.domain, reached(rule), rule.status)
}

async fn id_of(client: &Client, domain: &str) -> Result<String> {
    let domain = domain.to_ascii_lowercase();
    let found = client.list::<RuleList>(PATH, &[Query::equal("domain", &domain)]).await?;
    let found = found.rules.first().map(|rule| rule.id.clone());
    found.ok_or_else(|| Failure::failed(format!("no rule has the domain {domain}: `larder rules list` shows all")))
}

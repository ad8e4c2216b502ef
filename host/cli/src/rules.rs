//! `larder rules`: domains by which functions are called.

use larder_wire::queries::Query;
use larder_wire::rules::{NewRule, RuleList, RuleObject};

use crate::Session;
use crate::client::Client;
use crate::failure::{Failure, Result};

const PATH: &[&str] = &["proxy", "rules"];

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Give a function a domain, one label below the domain of functions
    Create(Create),
    /// List domains and their functions
    List(List),
    /// Take domains away: they are free for others at once
    Delete(Domains),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The function is called there by everybody whom its `execute` lets in.

Examples:
  larder rules create shop.functions.localhost --function shop")]
pub struct Create {
    /// The domain
    domain: String,
    /// The function's id
    #[arg(long, value_name = "ID")]
    function: String,
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
  larder rules delete shop.functions.localhost")]
pub struct Domains {
    /// The domains
    #[arg(required = true, value_name = "DOMAIN")]
    domains: Vec<String>,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let (client, console) = (session.client()?, &session.console);
    match command {
        Command::Create(Create { domain, function }) => {
            let body = NewRule { domain: Some(domain), function_id: Some(function), branch: None };
            let rule = client.post::<RuleObject>(&[PATH, &["function"]].concat(), &body).await?;
            if console.json {
                return console.object(&rule);
            }
            console.note(&format!("{} calls {}", rule.domain, rule.deployment_resource_id));
            console.line(&rule.domain)
        }
        Command::List(List {}) => {
            let rules = client.list_all::<RuleList>(PATH, &[Query::newest_first()]).await?;
            if console.json {
                return rules.iter().try_for_each(|rule| console.object_line(rule));
            }
            let rows = rules
                .iter()
                .map(|row| [&row.domain, &row.deployment_resource_id, &row.status, &row.logs].map(Clone::clone));
            console.table(["DOMAIN", "FUNCTION", "STATUS", "WHY"], &rows.collect::<Vec<_>>())
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

async fn id_of(client: &Client, domain: &str) -> Result<String> {
    let domain = domain.to_ascii_lowercase();
    let found = client.list::<RuleList>(PATH, &[Query::equal("domain", &domain)]).await?;
    let found = found.rules.first().map(|rule| rule.id.clone());
    found.ok_or_else(|| Failure::failed(format!("no rule has the domain {domain}: `larder rules list` shows all")))
}

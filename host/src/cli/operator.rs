//! `larder partner` and `larder key`: what the operator does with the operator key.

use serde_json::{Value, json};

use super::Session;
use super::console::field;
use super::failure::{Failure, Result};

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  larder partner create acme --name 'Acme Bank'
  larder partner list --json")]
pub enum PartnerCommand {
    /// Make a partner
    Create {
        /// The partner's id, which is also its subdomain
        id: String,
        /// Its name for people [default: the id]
        #[arg(long)]
        name: Option<String>,
    },
    /// List partners
    List,
}

#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  larder key create --partner acme --scopes functions.read,functions.write
  LARDER_KEY=$(larder key create --partner acme | tail -n 1)")]
pub enum KeyCommand {
    /// Make an API key for the partner given by --partner; it is shown this once
    Create(CreateKey),
}

#[derive(Debug, clap::Args)]
pub struct CreateKey {
    /// What the key is for
    #[arg(long, default_value = "cli")]
    name: String,
    /// What it may do, comma separated [default: what Larder gives to new keys]
    #[arg(long, value_delimiter = ',', value_name = "SCOPE,..")]
    scopes: Vec<String>,
    /// When it stops working, such as 2027-01-31T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME", value_parser = chrono::DateTime::parse_from_rfc3339)]
    expires: Option<chrono::DateTime<chrono::FixedOffset>>,
}

pub async fn run_partner(command: PartnerCommand, session: &Session) -> Result<()> {
    let client = session.operator()?;
    let console = &session.console;
    match command {
        PartnerCommand::Create { id, name } => {
            let body = json!({ "partnerId": id, "name": name.as_ref().unwrap_or(&id) });
            let partner = client.post(&["partners"], &body).await?;
            if console.json {
                return console.object(&partner);
            }
            console.note(&format!("created partner {}", field(&partner, "name")));
            console.line(&field(&partner, "$id"))
        }
        PartnerCommand::List => {
            if console.json {
                return console.object(&client.get(&["partners"]).await?);
            }
            let partners = client.list_all(&["partners"], "partners", &[]).await?;
            let rows: Vec<_> =
                partners.iter().map(|row| ["$id", "name", "$createdAt"].map(|name| field(row, name))).collect();
            console.table(["ID", "NAME", "CREATED"], &rows)
        }
    }
}

pub async fn run_key(KeyCommand::Create(args): KeyCommand, session: &Session) -> Result<()> {
    let partner = session.globals.connect(&session.console)?.partner;
    let partner = partner.ok_or_else(|| Failure::usage("no partner: give --partner or LARDER_PARTNER"))?;
    let mut body = json!({ "name": args.name });
    if !args.scopes.is_empty() {
        body["scopes"] = args.scopes.iter().map(|scope| scope.trim()).collect();
    }
    if let Some(expires) = args.expires {
        body["expire"] = Value::String(expires.to_utc().format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string());
    }
    let key = session.operator()?.post(&["partners", &partner, "keys"], &body).await?;
    let console = &session.console;
    if console.json {
        return console.object(&key);
    }
    let scopes: Vec<&str> = key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    console.note(&format!("created key {} of partner {partner}", field(&key, "$id")));
    console.note(&format!("may: {}", scopes.join(" ")));
    let expire = field(&key, "expire");
    console.note(&if expire.is_empty() { "never expires".to_owned() } else { format!("expires {expire}") });
    console.note("it is not shown again:");
    console.line(&field(&key, "secret"))
}

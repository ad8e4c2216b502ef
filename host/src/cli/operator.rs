//! `larder partner` and `larder key`: what the operator does with the operator key.

use serde_json::{Value, json};

use super::Session;
use super::client::Client;
use super::console::field;
use super::failure::{Failure, Result};

#[derive(Debug, clap::Subcommand)]
pub enum PartnerCommand {
    /// Make a partner
    #[command(after_help = "Examples:\n  larder partner create acme --name 'Acme Bank'")]
    Create {
        /// The partner's id, which is also its subdomain
        id: String,
        /// Its name for people [default: the id]
        #[arg(long)]
        name: Option<String>,
    },
    /// Change a partner
    #[command(after_help = "\
Examples:
  larder partner update acme --approval-by-another true
  larder partner update acme --name 'Acme Bank'")]
    Update {
        /// The partner's id
        id: String,
        /// Its name for people
        #[arg(long)]
        name: Option<String>,
        /// Grants that an upload widens must be approved by another key than the uploader's
        #[arg(long, value_name = "true|false")]
        approval_by_another: Option<bool>,
    },
    /// List partners
    #[command(after_help = "Examples:\n  larder partner list --json")]
    List,
}

#[derive(Debug, clap::Subcommand)]
pub enum KeyCommand {
    /// Make an API key for the partner given by --partner; it is shown this once
    Create(CreateKey),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The key is the last line of stdout, all else goes to stderr.

Examples:
  larder key create --partner acme --scopes functions.read,functions.write
  LARDER_KEY=$(larder key create --partner acme | tail -n 1)")]
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
    let client = Client::of_operator(&session.globals.connect()?)?;
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
        PartnerCommand::Update { id, name, approval_by_another } => {
            let mut body = json!({});
            if let Some(name) = name {
                body["name"] = name.into();
            }
            if let Some(another) = approval_by_another {
                body["approvalByAnother"] = another.into();
            }
            let partner = client.call(reqwest::Method::PATCH, &["partners", &id], &body).await?;
            if console.json {
                return console.object(&partner);
            }
            console.note(&format!("updated partner {}", field(&partner, "name")));
            console.line(&field(&partner, "$id"))
        }
        PartnerCommand::List => {
            let partners = client.list_all(&["partners"], "partners", &[]).await?;
            if console.json {
                return console.object(&json!({ "total": partners.len(), "partners": partners }));
            }
            let rows: Vec<_> =
                partners.iter().map(|row| ["$id", "name", "$createdAt"].map(|name| field(row, name))).collect();
            console.table(["ID", "NAME", "CREATED"], &rows)
        }
    }
}

pub async fn run_key(KeyCommand::Create(args): KeyCommand, session: &Session) -> Result<()> {
    let connection = session.globals.connect()?;
    let client = Client::of_operator(&connection)?;
    let partner = connection.partner.ok_or_else(|| Failure::usage("no partner: give --partner or LARDER_PARTNER"))?;
    let mut body = json!({ "name": args.name });
    if !args.scopes.is_empty() {
        body["scopes"] = args.scopes.iter().map(|scope| scope.trim()).collect();
    }
    if let Some(expires) = args.expires {
        body["expire"] = Value::String(expires.to_utc().format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string());
    }
    let key = client.post(&["partners", &partner, "keys"], &body).await?;
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

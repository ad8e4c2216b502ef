//! `larder partner` and `larder key`: what the operator does with the operator key.

use std::collections::BTreeSet;

use clap::builder::PossibleValuesParser;
use larder_wire::datetime;
use larder_wire::partners::{KeyList, KeyObject, NewKey, NewPartner, PartnerList, PartnerObject, PartnerPatch};
use larder_wire::scopes::Scope;
use serde_json::{Value, json};

use crate::Session;
use crate::client::{Answer, Client, whole_id};
use crate::console::Console;
use crate::failure::{Failure, Result};

#[derive(Debug, clap::Subcommand)]
pub enum PartnerCommand {
    /// Make a partner
    #[command(after_help = "\
The operator key is in the file that secrets.operator_key_file names; `larder dev` needs none of this.

Examples:
  larder partner create acme --name 'Acme Bank'
  larder --endpoint https://larder.example/v1 --operator-key \"$(cat operator.key)\" partner create acme")]
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
        /// Grants that an upload extends must be approved by another key than the uploader's
        #[arg(long, value_name = "true|false")]
        approval_by_another: Option<bool>,
    },
    /// Show a partner
    #[command(after_help = "Examples:\n  larder partner show acme --json")]
    Show {
        /// The partner's id
        id: String,
    },
    /// List partners
    #[command(after_help = "Examples:\n  larder partner list --json")]
    List,
}

#[derive(Debug, clap::Subcommand)]
pub enum KeyCommand {
    /// Make an API key for the partner given by --partner; it is shown this once
    Create(CreateKey),
    /// List the API keys of the partner given by --partner
    #[command(after_help = "Examples:\n  larder key list --partner acme\n  larder key list --partner acme --json")]
    List,
    /// Delete API keys of the partner given by --partner: they open nothing from then on
    Delete(DeleteKeys),
}

/// What a key may without being told: all that a developer of functions does. What extends what functions may reach is left
/// to keys that are made for it.
fn default_scopes() -> Vec<&'static str> {
    let left = [Scope::GrantsWrite, Scope::UpstreamsWrite, Scope::FeedsWrite, Scope::AuditRead];
    Scope::ALL.iter().filter(|scope| !left.contains(scope)).map(|scope| scope.words()[0]).collect()
}

fn every_scope() -> Vec<&'static str> {
    Scope::ALL.iter().flat_map(|scope| scope.words()).copied().collect::<BTreeSet<_>>().into_iter().collect()
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder key delete 01K9Z4 --partner acme")]
pub struct DeleteKeys {
    /// The keys' ids, as far as they are unique
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The key is the last line of stdout, all else goes to stderr. Without --scopes it may do all that a developer of functions \
does; not grants.write, upstreams.write and feeds.write, which extend what functions may reach, and not audit.read.

Examples:
  larder key create --partner acme
  larder key create --partner acme --name backend --scopes events.write,enrolments.write
  larder key create --partner acme --name approver --scopes grants.read,grants.write
  larder key create --partner acme --name anna --for 01k9z4q2m0000000000000anna
  LARDER_KEY=$(larder key create --partner acme | tail -n 1)")]
pub struct CreateKey {
    /// What the key is for
    #[arg(long, default_value = "cli")]
    name: String,
    /// What it may do, comma separated [default: all but grants.write, upstreams.write, feeds.write and audit.read]
    #[arg(long, value_delimiter = ',', value_name = "SCOPE,..", value_parser = PossibleValuesParser::new(every_scope()))]
    scopes: Vec<String>,
    /// When it stops working, such as 2027-01-31T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME", value_parser = chrono::DateTime::parse_from_rfc3339)]
    expires: Option<chrono::DateTime<chrono::FixedOffset>>,
    /// The person who uses it, by their id: they cannot approve what was uploaded with it where two persons are needed
    #[arg(long = "for", value_name = "ADMINISTRATOR")]
    of: Option<String>,
}

pub async fn run_partner(command: PartnerCommand, session: &Session) -> Result<()> {
    let client = Client::of_operator(&session.globals.connect()?)?;
    let console = &session.console;
    match command {
        PartnerCommand::Create { id, name } => {
            let body = NewPartner { name: name.or_else(|| Some(id.clone())), partner_id: Some(id) };
            let partner = client.post::<PartnerObject>(&["partners"], &body).await?;
            if console.json {
                return console.object(&partner);
            }
            console.note(&format!("created partner {}", partner.name));
            console.line(&partner.id)
        }
        PartnerCommand::Update { id, name, approval_by_another } => {
            let body = PartnerPatch { name, approval_by_another };
            let partner = client.call::<PartnerObject>(reqwest::Method::PATCH, &["partners", &id], &body).await?;
            if console.json {
                return console.object(&partner);
            }
            console.note(&format!("updated partner {}", partner.name));
            console.line(&partner.id)
        }
        PartnerCommand::Show { id } => {
            let partner = client.get::<PartnerObject>(&["partners", &id]).await?;
            if console.json {
                return console.object(&partner);
            }
            for (label, value) in [
                ("id", &partner.id),
                ("name", &partner.name),
                ("created", &partner.created_at),
                ("approval by another key", &partner.approval_by_another.to_string()),
            ] {
                console.line(&format!("{label:<25}{value}"))?;
            }
            Ok(())
        }
        PartnerCommand::List => {
            let partners = client.list_all::<PartnerList>(&["partners"], &[]).await?;
            if console.json {
                let sent: Vec<&Value> = partners.iter().map(Answer::sent).collect();
                return console.value(&json!({ "total": sent.len(), "partners": sent }));
            }
            let rows: Vec<_> =
                partners.iter().map(|row| [&row.id, &row.name, &row.created_at].map(Clone::clone)).collect();
            console.table(["ID", "NAME", "CREATED"], &rows)
        }
    }
}

pub async fn run_key(command: KeyCommand, session: &Session) -> Result<()> {
    let connection = session.globals.connect()?;
    let client = Client::of_operator(&connection)?;
    let partner = connection.partner.ok_or_else(|| Failure::usage("no partner: give --partner or LARDER_PARTNER"))?;
    match command {
        KeyCommand::Create(args) => create_key(&args, &partner, &client, &session.console).await,
        KeyCommand::List => list_keys(&partner, &client, &session.console).await,
        KeyCommand::Delete(DeleteKeys { ids }) => {
            let keys = client.get::<KeyList>(&["partners", &partner, "keys"]).await?;
            for given in ids {
                let id = whole_id(&keys.keys, &given)?;
                client.delete(&["partners", &partner, "keys", &id]).await?;
                session.console.note(&format!("deleted key {id} of partner {partner}"));
            }
            Ok(())
        }
    }
}

async fn list_keys(partner: &str, client: &Client, console: &Console) -> Result<()> {
    let answer = client.get::<KeyList>(&["partners", partner, "keys"]).await?;
    if console.json {
        return console.object(&answer);
    }
    let rows: Vec<_> = answer
        .keys
        .iter()
        .map(|row| {
            let expire = if row.expire.is_empty() { "never" } else { &row.expire };
            [row.id.clone(), row.name.clone(), row.created_at.clone(), expire.to_owned(), row.scopes.join(" ")]
        })
        .collect();
    console.table(["ID", "NAME", "CREATED", "EXPIRES", "SCOPES"], &rows)
}

async fn create_key(args: &CreateKey, partner: &str, client: &Client, console: &Console) -> Result<()> {
    let scopes = match args.scopes.is_empty() {
        true => default_scopes().into_iter().map(str::to_owned).collect(),
        false => args.scopes.clone(),
    };
    let body = NewKey {
        name: Some(args.name.clone()),
        scopes: Some(scopes),
        expire: args.expires.map(|expires| datetime(expires.timestamp_millis())),
        administrator_id: args.of.clone(),
    };
    let key = client.post::<KeyObject>(&["partners", partner, "keys"], &body).await?;
    if console.json {
        return console.object(&key);
    }
    console.note(&format!("created key {} of partner {partner}", key.id));
    console.note(&format!("may: {}", key.scopes.join(" ")));
    let expires = if key.expire.is_empty() { "never expires".to_owned() } else { format!("expires {}", key.expire) };
    console.note(&expires);
    console.note("it is not shown again:");
    console.line(key.secret.as_deref().unwrap_or_default())
}

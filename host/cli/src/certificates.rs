//! `larder certificates`: names of the installation and their certificates, as the operator sees them.

use larder_wire::certificates::{CertificateList, CertificateObject};
use serde_json::{Value, json};

use crate::Session;
use crate::client::{Answer, Client};
use crate::failure::Result;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List names with the state and the end of their certificates
    #[command(after_help = "Examples:\n  larder certificates list\n  larder certificates list --json")]
    List,
    /// Show why a name has no certificate, or when it is renewed
    #[command(after_help = "Examples:\n  larder certificates show acme.bank.example")]
    Show { name: String },
    /// Order a certificate now, whatever the one that is there
    #[command(after_help = "\
Authorities limit how many certificates a name gets in a week.

Examples:
  larder certificates renew acme.bank.example")]
    Renew { name: String },
}

const PATH: [&str; 2] = ["operator", "certificates"];

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let client = Client::of_operator(&session.globals.connect()?)?;
    let console = &session.console;
    let row = |one: &CertificateObject| {
        [one.id.clone(), one.status.clone(), one.not_after.clone(), one.due.clone(), one.error.clone()]
    };
    let columns = ["NAME", "STATUS", "ENDS", "ASKED FOR NEXT", "LAST FAILURE"];
    let show = |one: &Answer<CertificateObject>| match console.json {
        true => console.value(one.sent()),
        false => console.table(columns, &[row(one)]),
    };
    match command {
        Command::List => {
            let all = client.list_all::<CertificateList>(&PATH, &[]).await?;
            if console.json {
                let sent: Vec<&Value> = all.iter().map(Answer::sent).collect();
                return console.value(&json!({ "total": sent.len(), "certificates": sent }));
            }
            console.table(columns, &all.iter().map(|one| row(one)).collect::<Vec<_>>())
        }
        Command::Show { name } => show(&client.get(&[PATH[0], PATH[1], &name]).await?),
        Command::Renew { name } => {
            show(&client.post::<CertificateObject>(&[PATH[0], PATH[1], &name, "renewal"], &json!({})).await?)
        }
    }
}

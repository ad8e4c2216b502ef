//! `larder administrators`: people who sign in, as the operator manages them.

use larder_wire::administrators::{AdministratorInput, AdministratorList, AdministratorObject, LinkObject, RoleObject};
use serde_json::{Value, json};

use crate::Session;
use crate::client::{Answer, Client, whole_id};
use crate::console::Console;
use crate::failure::{Failure, Result};
use crate::input;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make an administrator, who can sign in from then on
    #[command(after_help = "\
The operator vouches for the address. The password has 12 to 256 characters and is read from stdin (-) or a file (@FILE), so that \
it stands in no list of processes.

Examples:
  larder administrators create anna@bank.example --name Anna --administers acme --password @password.txt
  openssl rand -base64 18 | tee password.txt | larder administrators create ops@bank.example --operator --password -")]
    Create {
        /// The e-mail address
        email: String,
        /// The name for people
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        roles: Roles,
        /// Where the password is: - or @FILE
        #[arg(long, value_name = "-|@FILE")]
        password: String,
    },
    /// Print a link with which somebody sets a password and can then sign in at their console
    #[command(after_help = "\
Who has no account yet gets one, with these roles. The link can be used once and expires after administrators.link; a newer one \
replaces it. Hand it over by a way that only this person reads.

Examples:
  larder administrators invite ops@bank.example --operator
  larder administrators invite anna@bank.example --name Anna --administers acme
  larder administrators invite bo@bank.example --role acme:approver --role other:viewer
  larder admin invite anna@bank.example                     # another link: the first has expired, or the password is forgotten")]
    Invite {
        /// The e-mail address
        email: String,
        /// The name for people, of a new account
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        roles: Roles,
    },
    /// Change an administrator; what is not given stays
    #[command(after_help = "\
A new password ends all sessions of the administrator. Roles are replaced as a whole.

Examples:
  larder administrators update anna@bank.example --password @password.txt
  larder administrators update anna@bank.example --administers acme --role other:developer
  larder administrators update anna@bank.example --no-second-factor   # somebody has lost theirs, and the recovery codes")]
    Update {
        /// The e-mail address, or the id as far as it is unique
        administrator: String,
        /// The name for people
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        roles: Roles,
        /// Where the new password is: - or @FILE
        #[arg(long, value_name = "-|@FILE")]
        password: Option<String>,
        /// Take the second factor away
        #[arg(long)]
        no_second_factor: bool,
    },
    /// List administrators
    #[command(after_help = "Examples:\n  larder administrators list\n  larder administrators list --json")]
    List,
    /// Delete administrators, whose sessions end
    #[command(after_help = "Examples:\n  larder administrators delete anna@bank.example")]
    Delete {
        /// The e-mail addresses, or the ids as far as they are unique
        #[arg(required = true, value_name = "ADMINISTRATOR")]
        administrators: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
pub struct Roles {
    /// A partner of which they are an administrator; may be given more than once
    #[arg(long = "administers", value_name = "PARTNER")]
    partners: Vec<String>,
    /// They are an operator of this installation
    #[arg(long)]
    operator: bool,
    /// A role in a partner, as PARTNER:ROLE (viewer, developer, approver, administrator), or in the installation (viewer,
    /// operator); may be given more than once
    #[arg(long = "role", value_name = "[PARTNER:]ROLE")]
    more: Vec<String>,
}

impl Roles {
    fn objects(&self) -> Vec<RoleObject> {
        let role = |partner: &str, role: &str| RoleObject { partner_id: partner.into(), role: role.into() };
        let of_partners = self.partners.iter().map(|partner| role(partner, "administrator"));
        let more = self.more.iter().map(|given| {
            let (partner, word) = given.rsplit_once(':').unwrap_or(("", given));
            role(partner, word)
        });
        of_partners.chain(self.operator.then(|| role("", "operator"))).chain(more).collect()
    }
}

/// From stdin or a file, without the end of its line.
fn password(given: &str) -> Result<String> {
    if given != "-" && !given.starts_with('@') {
        return Err(Failure::usage(
            "the password is read from stdin (-) or a file (@FILE), not from the line".to_owned(),
        ));
    }
    Ok(input::data(given)?.trim_end_matches(['\r', '\n']).to_owned())
}

const PATH: [&str; 2] = ["operator", "administrators"];

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let client = Client::of_operator(&session.globals.connect()?)?;
    let console = &session.console;
    match command {
        Command::Create { email, name, roles, password: given } => {
            let body = AdministratorInput {
                email: Some(email),
                name,
                password: Some(password(&given)?),
                roles: Some(roles.objects()),
                mfa: None,
            };
            show(console, "created", &client.post::<AdministratorObject>(&PATH, &body).await?)
        }
        Command::Invite { email, name, roles } => {
            let all = client.get::<AdministratorList>(&PATH).await?;
            let known = all.administrators.iter().find(|one| one.email.eq_ignore_ascii_case(email.trim()));
            let roles = roles.objects();
            let id = match known {
                Some(known) if !roles.is_empty() && !are_the_same(&roles, &known.roles) => {
                    let has = words(&known.roles);
                    let message = format!("{email} has an account already ({has}): change its roles by `update`");
                    return Err(Failure::usage(message));
                }
                Some(known) => known.id.clone(),
                None if roles.is_empty() => {
                    let message = format!(
                        "{email} has no account yet: say --operator, --administers PARTNER, or --role PARTNER:ROLE"
                    );
                    return Err(Failure::usage(message));
                }
                None => {
                    let body = AdministratorInput {
                        email: Some(email),
                        name,
                        roles: Some(roles),
                        ..AdministratorInput::default()
                    };
                    client.post::<AdministratorObject>(&PATH, &body).await?.id.clone()
                }
            };
            let link = client.post::<LinkObject>(&[PATH[0], PATH[1], &id, "link"], &json!({})).await?;
            if console.json {
                return console.object(&link);
            }
            console.note(&format!("good once, until {}", link.expires_at));
            console.line(&link.url)
        }
        Command::Update { administrator, name, roles, password: given, no_second_factor } => {
            let id = find(&client, &administrator).await?;
            let roles = Some(roles.objects()).filter(|roles| !roles.is_empty());
            let password = given.as_deref().map(password).transpose()?;
            let mfa = no_second_factor.then_some(false);
            let body = AdministratorInput { email: None, name, password, roles, mfa };
            let path = [PATH[0], PATH[1], &id];
            let changed = client.call::<AdministratorObject>(reqwest::Method::PATCH, &path, &body).await?;
            show(console, "updated", &changed)
        }
        Command::List => {
            let all = client.list_all::<AdministratorList>(&PATH, &[]).await?;
            if console.json {
                let sent: Vec<&Value> = all.iter().map(Answer::sent).collect();
                return console.value(&json!({ "total": sent.len(), "administrators": sent }));
            }
            let rows: Vec<_> = all
                .iter()
                .map(|row| [row.id.clone(), row.email.clone(), row.name.clone(), words(&row.roles)])
                .collect();
            console.table(["ID", "EMAIL", "NAME", "ROLES"], &rows)
        }
        Command::Delete { administrators } => {
            for given in administrators {
                let id = find(&client, &given).await?;
                client.delete(&[PATH[0], PATH[1], &id]).await?;
                console.note(&format!("deleted administrator {id}"));
            }
            Ok(())
        }
    }
}

/// Whatever their order is.
fn are_the_same(one: &[RoleObject], other: &[RoleObject]) -> bool {
    one.len() == other.len() && one.iter().all(|role| other.contains(role))
}

async fn find(client: &Client, given: &str) -> Result<String> {
    let all = client.get::<AdministratorList>(&PATH).await?;
    match all.administrators.iter().find(|one| one.email.eq_ignore_ascii_case(given)) {
        Some(found) => Ok(found.id.clone()),
        None => whole_id(&all.administrators, given),
    }
}

fn show(console: &Console, what: &str, administrator: &Answer<AdministratorObject>) -> Result<()> {
    if console.json {
        return console.object(administrator);
    }
    console.note(&format!("{what} administrator {} ({})", administrator.email, words(&administrator.roles)));
    console.line(&administrator.id)
}

fn words(roles: &[RoleObject]) -> String {
    let word = |role: &RoleObject| match role.partner_id.as_str() {
        "" => role.role.clone(),
        partner => format!("{} of {partner}", role.role),
    };
    if roles.is_empty() { "no role".into() } else { roles.iter().map(word).collect::<Vec<_>>().join(", ") }
}

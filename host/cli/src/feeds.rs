//! `larder feed`: what of outside services becomes events.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::console::field;
use crate::failure::{Failure, Result};
use crate::{Session, input};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a feed: poll an upstream, or take what is pushed, or both
    Create(Box<Create>),
    /// List feeds and how far each is behind
    List(List),
    /// Show a feed and how it stands
    Show(Named),
    /// Make a new secret for the push door; the present one stays good for a day
    Rotate(Rotate),
    /// End a feed; its events stay
    Delete(Named),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
An item's attributes are texts in which {/pointer} stands for a value of the item.

Examples:
  larder feed create goals --upstream aggregator --path '/goals?limit=100' --period 5s --items /items --cursor /next \\
      --id '{/goal}-{/revision}' --source /matches --type match.goal --subject '{/team}' --time '{/published}'
  larder feed create payments --push --id '{/id}' --source /payments --type 'payment.{/kind}' --time '{/at}'
  larder feed create orders --push --secret-file secret.txt --id '{/id}' --source /orders --type order.paid --time '{/ts}'
  larder feed create goals --operator --partners acme,bolt --upstream aggregator --path /goals \\
      --id '{/id}' --source /matches --type match.goal --time '{/published}'")]
pub struct Create {
    /// Its name: a-z, 0-9 and -
    name: String,
    /// The upstream to poll
    #[arg(long, value_name = "NAME", requires = "path")]
    upstream: Option<String>,
    /// Behind the upstream's URL, with the query
    #[arg(long, requires = "upstream")]
    path: Option<String>,
    /// Between two polls that find nothing new, such as 5s or 2m
    #[arg(long, value_name = "TIME", value_parser = parse_period, requires = "upstream")]
    period: Option<u64>,
    /// Where in an answer the cursor of the next page stands; without it, everything is asked for each time
    #[arg(long, value_name = "POINTER", requires = "upstream")]
    cursor: Option<String>,
    /// The parameter in which the cursor is sent [default: cursor]
    #[arg(long, value_name = "NAME", requires = "cursor")]
    cursor_parameter: Option<String>,
    /// Take what is pushed, signed by Standard Webhooks; a secret that is made is shown this once
    #[arg(long, required_unless_present = "upstream")]
    push: bool,
    #[command(flatten)]
    secret: Secret,
    /// Where in a page the items are [default: the page is the items, or one item]
    #[arg(long, value_name = "POINTER", default_value = "", hide_default_value = true)]
    items: String,
    /// An event's id, unique for its source
    #[arg(long, value_name = "TEXT")]
    id: String,
    #[arg(long, value_name = "TEXT")]
    source: String,
    #[arg(long = "type", value_name = "TEXT")]
    kind: String,
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// When the item was published: RFC 3339, or seconds or milliseconds since 1970
    #[arg(long, value_name = "TEXT")]
    time: String,
    /// Of a feed of the operator: who gets its events
    #[arg(long, value_delimiter = ',', value_name = "PARTNER,..", requires = "operator")]
    partners: Vec<String>,
    /// Make it the operator's (needs the operator key)
    #[arg(long)]
    operator: bool,
}

/// The sender's own secret, where there is one.
#[derive(Debug, clap::Args)]
struct Secret {
    /// The sender's own secret, as it shows it (whsec_..); others on this machine may see what a command line says
    #[arg(long, value_name = "TEXT", conflicts_with = "secret_file")]
    secret: Option<String>,
    /// A file that holds it, - for stdin
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

impl Secret {
    fn text(&self) -> Result<Option<String>> {
        let text = match &self.secret_file {
            Some(file) => Some(input::file(&file.display().to_string())?),
            None => self.secret.clone(),
        };
        Ok(text.map(|text| text.trim().to_owned()))
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder feed list
  larder feed list --json | jq '.feeds[] | select(.status == \"failing\") | .error'")]
pub struct List {
    /// Those of the operator (needs the operator key)
    #[arg(long)]
    operator: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder feed show goals
  larder feed delete goals --operator")]
pub struct Named {
    /// The feed's name
    name: String,
    /// One of the operator (needs the operator key)
    #[arg(long)]
    operator: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The secret is the last line of stdout, all else goes to stderr.

Examples:
  larder feed rotate payments
  larder feed rotate payments --keep 0s       # the present one leaked
  larder feed rotate payments --secret-file new.txt")]
pub struct Rotate {
    #[command(flatten)]
    feed: Named,
    #[command(flatten)]
    secret: Secret,
    /// How long the present secret stays good [default: a day]
    #[arg(long, value_name = "TIME", value_parser = parse_period)]
    keep: Option<u64>,
}

/// Whole seconds.
fn parse_period(text: &str) -> std::result::Result<u64, String> {
    let duration: Duration =
        text.parse::<humantime_serde::re::humantime::Duration>().map_err(|err| err.to_string())?.into();
    if duration.subsec_nanos() == 0 { Ok(duration.as_secs()) } else { Err("must be whole seconds".into()) }
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    match command {
        Command::Create(args) => create(&args, session).await,
        Command::List(List { operator }) => list(&Feeds::of(operator, session)?, session).await,
        Command::Show(Named { name, operator }) => show(&Feeds::of(operator, session)?.get(&name).await?, session),
        Command::Rotate(args) => {
            let mut body = args.keep.map_or(json!({}), |seconds| json!({ "keepSeconds": seconds }));
            if let Some(secret) = args.secret.text()? {
                body["secret"] = secret.into();
            }
            let feeds = Feeds::of(args.feed.operator, session)?;
            let feed = feeds.client.post(&feeds.path(&[&args.feed.name, "secret"]), &body).await?;
            told(&feed, "changed the secret of", session)
        }
        Command::Delete(Named { name, operator }) => {
            let feeds = Feeds::of(operator, session)?;
            feeds.client.delete(&feeds.path(&[&name])).await?;
            session.console.note(&format!("deleted feed {name}"));
            Ok(())
        }
    }
}

/// The partner's feeds, or the operator's.
struct Feeds {
    client: Client,
    operator: bool,
}

impl Feeds {
    fn of(operator: bool, session: &Session) -> Result<Feeds> {
        let client = if operator { Client::of_operator(&session.globals.connect()?)? } else { session.client()? };
        Ok(Feeds { client, operator })
    }

    fn path<'a>(&self, rest: &[&'a str]) -> Vec<&'a str> {
        let top: &[&str] = if self.operator { &["operator", "feeds"] } else { &["feeds"] };
        [top, rest].concat()
    }

    async fn get(&self, name: &str) -> Result<Value> {
        self.client.get(&self.path(&[name])).await
    }
}

async fn create(args: &Create, session: &Session) -> Result<()> {
    let mut mapping = json!({
        "items": args.items, "id": args.id, "source": args.source, "type": args.kind, "time": args.time,
    });
    if let Some(subject) = &args.subject {
        mapping["subject"] = subject.as_str().into();
    }
    let mut body = json!({ "name": args.name, "push": args.push, "mapping": mapping });
    if let (Some(upstream), Some(path)) = (&args.upstream, &args.path) {
        let mut poll = json!({ "upstream": upstream, "path": path });
        if let Some(seconds) = args.period {
            poll["periodSeconds"] = seconds.into();
        }
        if let Some(next) = &args.cursor {
            let mut cursor = Map::from_iter([("next".to_owned(), Value::from(next.as_str()))]);
            cursor
                .extend(args.cursor_parameter.iter().map(|name| ("parameter".to_owned(), Value::from(name.as_str()))));
            poll["cursor"] = cursor.into();
        }
        body["poll"] = poll;
    }
    if let Some(secret) = args.secret.text()? {
        body["secret"] = secret.into();
    }
    if !args.partners.is_empty() {
        body["partners"] = args.partners.iter().map(|partner| partner.trim()).collect();
    }
    let feeds = Feeds::of(args.operator, session)?;
    told(&feeds.client.post(&feeds.path(&[]), &body).await?, "created", session)
}

/// A feed that may have a secret to tell, which is then the last line.
fn told(feed: &Value, what: &str, session: &Session) -> Result<()> {
    let console = &session.console;
    if console.json {
        return console.object(feed);
    }
    console.note(&format!("{what} feed {}", field(feed, "name")));
    match field(feed, "secret") {
        secret if secret.is_empty() => Ok(()),
        secret => {
            console.note("pushes are signed with this secret, which is not shown again:");
            console.line(&secret)
        }
    }
}

async fn list(feeds: &Feeds, session: &Session) -> Result<()> {
    let answer = feeds.client.get(&feeds.path(&[])).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows =
        answer["feeds"].as_array().ok_or_else(|| Failure::failed("the answer has no `feeds`"))?.iter().map(|row| {
            let [name, owner, status, items, refused, failures] =
                ["name", "owner", "status", "items", "refused", "failures"].map(|name| field(row, name));
            let [good, newest] = ["goodSeconds", "newestItemSeconds"].map(|name| age(&row["lag"][name]));
            [name, owner, status, good, newest, items, refused, failures]
        });
    let heads = ["NAME", "OWNER", "STATUS", "LAST GOOD", "NEWEST ITEM", "ITEMS", "REFUSED", "FAILURES"];
    session.console.table(heads, &rows.collect::<Vec<_>>())
}

fn show(feed: &Value, session: &Session) -> Result<()> {
    let console = &session.console;
    if console.json {
        return console.object(feed);
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let (poll, mapping, lag) = (&feed["poll"], &feed["mapping"], &feed["lag"]);
    for (label, value) in [
        ("name", text(&feed["name"])),
        ("owner", text(&feed["owner"])),
        ("status", text(&feed["status"])),
        ("last good", age(&lag["goodSeconds"])),
        ("newest item", age(&lag["newestItemSeconds"])),
        ("items", format!("{} new, {} known, {} refused", feed["items"], feed["duplicates"], feed["refused"])),
        ("refused", text(&feed["lastRefused"])),
        ("failures", text(&feed["failures"])),
        ("error", text(&feed["error"])),
        ("upstream", text(&poll["upstream"])),
        ("path", text(&poll["path"])),
        ("period", if poll.is_object() { format!("{} s", poll["periodSeconds"]) } else { "null".into() }),
        ("next poll", text(&feed["nextPollAt"])),
        ("position", text(&feed["position"])),
        ("push", text(&feed["push"])),
        ("items at", text(&mapping["items"])),
        ("id", text(&mapping["id"])),
        ("source", text(&mapping["source"])),
        ("type", text(&mapping["type"])),
        ("subject", text(&mapping["subject"])),
        ("time", text(&mapping["time"])),
        (
            "partners",
            feed["partners"].as_array().map_or("null".into(), |all| all.iter().map(text).collect::<Vec<_>>().join(" ")),
        ),
    ] {
        if !value.is_empty() && value != "null" {
            console.line(&format!("{label:<13}{value}"))?;
        }
    }
    Ok(())
}

/// `12 s ago`.
fn age(seconds: &Value) -> String {
    seconds.as_f64().map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.0} s ago"))
}

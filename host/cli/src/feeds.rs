//! `larder feed`: what of outside services becomes events.

use std::path::PathBuf;
use std::time::Duration;

use larder_wire::feeds::{FeedList, FeedObject, NewCursor, NewFeed, NewMapping, NewPoll, Own, SecretRotation};

use crate::client::{Answer, Client};
use crate::failure::Result;
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
            let body = SecretRotation {
                keep_seconds: args.keep.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)),
                secret: args.secret.text()?,
            };
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

    async fn get(&self, name: &str) -> Result<Answer<FeedObject>> {
        self.client.get(&self.path(&[name])).await
    }
}

async fn create(args: &Create, session: &Session) -> Result<()> {
    let poll = args.upstream.clone().zip(args.path.clone()).map(|(upstream, path)| NewPoll {
        upstream,
        path,
        period_seconds: args.period,
        cursor: args.cursor.clone().map(|next| NewCursor { next, parameter: args.cursor_parameter.clone() }),
    });
    let body = NewFeed {
        name: args.name.clone(),
        push: args.push,
        mapping: NewMapping {
            items: args.items.clone(),
            id: args.id.clone(),
            source: args.source.clone(),
            r#type: args.kind.clone(),
            subject: args.subject.clone(),
            time: args.time.clone(),
        },
        poll,
        secret: args.secret.text()?,
        partners: args.partners.iter().map(|partner| partner.trim().to_owned()).collect(),
    };
    let feeds = Feeds::of(args.operator, session)?;
    told(&feeds.client.post(&feeds.path(&[]), &body).await?, "created", session)
}

/// A feed that may have a secret to tell, which is then the last line.
fn told(feed: &Answer<FeedObject>, what: &str, session: &Session) -> Result<()> {
    let console = &session.console;
    if console.json {
        return console.object(feed);
    }
    console.note(&format!("{what} feed {}", feed.name));
    match &feed.secret {
        None => Ok(()),
        Some(secret) => {
            console.note("pushes are signed with this secret, which is not shown again:");
            console.line(secret)
        }
    }
}

async fn list(feeds: &Feeds, session: &Session) -> Result<()> {
    let answer = feeds.client.get::<FeedList>(&feeds.path(&[])).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows = answer.feeds.iter().map(|row| {
        let [name, owner, status] = [&row.name, &row.owner, &row.status].map(Clone::clone);
        let [good, newest] = [row.lag.good_seconds, row.lag.newest_item_seconds].map(age);
        let [items, refused] = [row.items, row.refused].map(|number| number.to_string());
        [name, owner, status, good, newest, items, refused, row.failures.to_string()]
    });
    let heads = ["NAME", "OWNER", "STATUS", "LAST GOOD", "NEWEST ITEM", "ITEMS", "REFUSED", "FAILURES"];
    session.console.table(heads, &rows.collect::<Vec<_>>())
}

fn show(feed: &Answer<FeedObject>, session: &Session) -> Result<()> {
    let console = &session.console;
    if console.json {
        return console.object(feed);
    }
    let line = |label: &str, value: &str| match value {
        "" => Ok(()),
        value => console.line(&format!("{label:<13}{value}")),
    };
    line("name", &feed.name)?;
    line("owner", &feed.owner)?;
    line("status", &feed.status)?;
    line("last good", &age(feed.lag.good_seconds))?;
    line("newest item", &age(feed.lag.newest_item_seconds))?;
    line("items", &format!("{} new, {} known, {} refused", feed.items, feed.duplicates, feed.refused))?;
    // The rest is shown to the owner of the feed.
    let own = feed.own.as_ref();
    let of_own = |part: fn(&Own) -> &Option<String>| own.and_then(|own| part(own).clone()).unwrap_or_default();
    line("refused", &of_own(|own| &own.last_refused))?;
    line("failures", &feed.failures.to_string())?;
    let Some(own) = own else { return Ok(()) };
    line("error", &of_own(|own| &own.error))?;
    if let Some(poll) = &own.settings.poll {
        line("upstream", &poll.upstream)?;
        line("path", &poll.path)?;
        line("period", &format!("{} s", poll.period_seconds))?;
    }
    line("next poll", &of_own(|own| &own.next_poll_at))?;
    line("position", &of_own(|own| &own.position))?;
    line("push", &own.settings.push.to_string())?;
    let mapping = own.settings.mapping.clone();
    line("items at", &String::from(mapping.items))?;
    line("id", &String::from(mapping.id))?;
    line("source", &String::from(mapping.source))?;
    line("type", &String::from(mapping.kind))?;
    line("subject", &mapping.subject.map(String::from).unwrap_or_default())?;
    line("time", &String::from(mapping.time))?;
    line("partners", &own.settings.partners.iter().map(|partner| partner.as_str()).collect::<Vec<_>>().join(" "))
}

/// `12 s ago`.
fn age(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "never".to_owned(), |seconds| format!("{seconds:.0} s ago"))
}

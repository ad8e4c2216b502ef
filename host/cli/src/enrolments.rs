//! `larder enrolments`: who takes part in what.

use larder_model::EnrolmentStatus;
use larder_wire::enrolments::{EnrolmentChange, EnrolmentList, EnrolmentObject, NewEnrolment};
use larder_wire::queries::Query;
use reqwest::Method;

use crate::client::Client;
use crate::failure::Result;
use crate::{Session, input};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Enrol an end user in a function
    Create(Create),
    /// List enrolments, newest first
    List(List),
    /// Let a function pass over these enrolments until they are resumed
    Pause(Ids),
    /// Let a function run for these enrolments again
    Resume(Ids),
    /// End enrolments for good
    Delete(Ids),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder enrolments create --function save-league --end-user anna --topic team-aik --settings '{\"stake\":\"5.00\"}'
  larder enrolments create --function round-up --end-user anna --topic card-1 --settings @anna.json")]
pub struct Create {
    /// The function's id
    #[arg(long, value_name = "ID")]
    function: String,
    /// The end user, in a pseudonym of yours
    #[arg(long, value_name = "ID")]
    end_user: String,
    /// What they take part in: events whose subject equals it reach them
    #[arg(long)]
    topic: String,
    /// Their settings for the function: a JSON object, @FILE, or - for stdin
    #[arg(long, value_name = "DATA")]
    settings: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder enrolments list --function save-league --status active
  larder enrolments list --end-user anna --json")]
pub struct List {
    /// Only of this function
    #[arg(long, value_name = "ID")]
    function: Option<String>,
    /// Only of this end user
    #[arg(long, value_name = "ID")]
    end_user: Option<String>,
    /// Only with this topic
    #[arg(long)]
    topic: Option<String>,
    /// Only with this status
    #[arg(long, value_parser = ["active", "paused"])]
    status: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 25, value_name = "N")]
    limit: usize,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder enrolments pause 01K9Z4
  larder enrolments resume 01K9Z4 01K9Z5
  larder enrolments delete 01K9Z4")]
pub struct Ids {
    /// The enrolments' ids
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    match command {
        Command::Create(create) => self::create(&create, session).await,
        Command::List(list) => self::list(&list, session).await,
        Command::Pause(Ids { ids }) => set_status(&ids, EnrolmentStatus::Paused, session).await,
        Command::Resume(Ids { ids }) => set_status(&ids, EnrolmentStatus::Active, session).await,
        Command::Delete(Ids { ids }) => {
            let client = session.client()?;
            for id in ids {
                let id = whole(&client, &id).await?;
                client.delete(&["enrolments", &id]).await?;
                session.console.note(&format!("deleted enrolment {id}"));
            }
            Ok(())
        }
    }
}

/// The id of an enrolment that was typed as far as it is unique.
pub async fn whole(client: &Client, given: &str) -> Result<String> {
    client.whole_id::<EnrolmentList>(&["enrolments"], given).await
}

async fn create(args: &Create, session: &Session) -> Result<()> {
    let settings = match &args.settings {
        Some(given) => input::raw(&input::data(given)?, if given.starts_with('@') { given } else { "--settings" })?,
        None => input::raw("{}", "--settings")?,
    };
    let body = NewEnrolment {
        function_id: Some(args.function.clone()),
        function: None,
        end_user: Some(args.end_user.clone()),
        topic: Some(args.topic.clone()),
        settings: Some(settings),
    };
    let enrolment = session.client()?.post::<EnrolmentObject>(&["enrolments"], &body).await?;
    if session.console.json {
        return session.console.object(&enrolment);
    }
    session.console.note(&format!("enrolled {} in {}", args.end_user, args.function));
    session.console.line(&enrolment.id)
}

async fn list(args: &List, session: &Session) -> Result<()> {
    let filters =
        [("functionId", &args.function), ("endUser", &args.end_user), ("topic", &args.topic), ("status", &args.status)];
    let mut queries: Vec<Query> =
        filters.iter().filter_map(|(name, value)| value.as_ref().map(|value| Query::equal(name, value))).collect();
    queries.extend([Query::newest_first(), Query::limit(args.limit)]);
    let answer = session.client()?.list::<EnrolmentList>(&["enrolments"], &queries).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows: Vec<_> = answer
        .enrolments
        .iter()
        .map(|row| {
            let [id, function, end_user, topic, status] =
                [&row.id, &row.function_id, &row.end_user, &row.topic, &row.status].map(Clone::clone);
            [id, function, end_user, topic, status, row.settings.get().to_owned()]
        })
        .collect();
    session.console.table(["ID", "FUNCTION", "END USER", "TOPIC", "STATUS", "SETTINGS"], &rows)?;
    session.console.note(&format!("{} of {}", rows.len(), answer.total));
    Ok(())
}

async fn set_status(ids: &[String], status: EnrolmentStatus, session: &Session) -> Result<()> {
    let client = session.client()?;
    for id in ids {
        let id = &whole(&client, id).await?;
        let change = EnrolmentChange { status: Some(status.word().to_owned()), settings: None };
        let enrolment = client.call::<EnrolmentObject>(Method::PATCH, &["enrolments", id], &change).await?;
        if session.console.json {
            session.console.object_line(&enrolment)?;
        }
        session.console.note(&format!("enrolment {id} is {}", status.word()));
    }
    Ok(())
}

//! `larder bulk-actions`: many dead letters redriven or discarded, in the background.

use larder_wire::bulk_actions::{BulkActionInput, BulkActionList, BulkActionObject};
use larder_wire::queries::Query;
use serde_json::json;

use crate::Session;
use crate::client::Client;
use crate::failure::Result;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List them, newest first
    List(List),
    /// Show one: who asked for it, and how far it is
    #[command(after_help = "\
Examples:
  larder bulk-actions show 01K9Z4
  larder bulk-actions show 01K9Z4 --json | jq .done")]
    Show(Id),
    /// Put many dead letters back into the queue
    #[command(after_help = "\
Examples:
  larder bulk-actions redrive --function round-up --reason 'stopped after 300ms'
  larder bulk-actions redrive 01K9Z4ABCDEFGHJKMNPQRSTVWX 01K9Z5ABCDEFGHJKMNPQRSTVWX")]
    Redrive(Which),
    /// Leave many dead letters as failed executions, for good
    #[command(after_help = "\
Examples:
  larder bulk-actions discard --function round-up --reason 'rejected: no such card'
  larder bulk-actions discard --function round-up --reason 'rejected: no such card' --before 2026-11-30T00:00:00Z")]
    Discard(Which),
    /// Do nothing more of it until it is resumed
    #[command(after_help = "\
Examples:
  larder bulk-actions pause 01K9Z4")]
    Pause(Id),
    /// Go on with a paused one
    #[command(after_help = "\
Examples:
  larder bulk-actions resume 01K9Z4")]
    Resume(Id),
    /// End it for good; before it begins, nothing of it is done
    #[command(after_help = "\
Examples:
  larder bulk-actions cancel 01K9Z4")]
    Cancel(Id),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder bulk-actions list
  larder bulk-actions list --status running
  larder bulk-actions list --json | jq -r '.bulkActions[].failed'")]
pub struct List {
    /// Only with this status
    #[arg(long, value_parser = ["waiting", "running", "paused", "completed", "cancelled"])]
    status: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 25, value_name = "N")]
    limit: usize,
}

#[derive(Debug, clap::Args)]
pub struct Id {
    /// The bulk action's id, or its beginning
    id: String,
}

#[derive(Debug, clap::Args)]
pub struct Which {
    /// The dead letters' ids, whole
    #[arg(value_name = "ID", required_unless_present = "function", conflicts_with = "function")]
    ids: Vec<String>,
    /// Those of this function, with --reason
    #[arg(long, value_name = "ID", requires = "reason")]
    function: Option<String>,
    /// With this reason, as `larder dead-letters groups` says it
    #[arg(long, value_name = "TEXT", requires = "function")]
    reason: Option<String>,
    /// Only those that were given up before then
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
}

pub async fn run(command: Command, session: &Session) -> Result<()> {
    let client = session.client()?;
    match command {
        Command::List(args) => list(&args, &client, session).await,
        Command::Show(Id { id }) => {
            let id = &whole(&id, &client).await?;
            let action = client.get::<BulkActionObject>(&["bulk-actions", id]).await?;
            if session.console.json { session.console.object(&action) } else { show(&action, session) }
        }
        Command::Redrive(which) => begin("redrive", which, &client, session).await,
        Command::Discard(which) => begin("discard", which, &client, session).await,
        Command::Pause(Id { id }) => change(&id, "pause", &client, session).await,
        Command::Resume(Id { id }) => change(&id, "resume", &client, session).await,
        Command::Cancel(Id { id }) => change(&id, "cancel", &client, session).await,
    }
}

async fn list(args: &List, client: &Client, session: &Session) -> Result<()> {
    let mut queries: Vec<Query> = args.status.iter().map(|status| Query::equal("status", status)).collect();
    queries.extend([Query::newest_first(), Query::limit(args.limit)]);
    let answer = client.list::<BulkActionList>(&["bulk-actions"], &queries).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows: Vec<_> = answer
        .bulk_actions
        .iter()
        .map(|row| {
            let done = format!("{}/{}", row.done + row.failed, row.expected);
            let [at, action, function, status, id] =
                [&row.created_at, &row.action, &row.function_id, &row.status, &row.id].map(Clone::clone);
            [at, action, function, status, done, id, row.reason.chars().take(60).collect()]
        })
        .collect();
    session.console.table(["ASKED", "ACTION", "FUNCTION", "STATUS", "DONE", "ID", "REASON"], &rows)?;
    session.console.note(&format!("{} of {}", rows.len(), answer.total));
    Ok(())
}

async fn whole(id: &str, client: &Client) -> Result<String> {
    client.whole_id::<BulkActionList>(&["bulk-actions"], id).await
}

fn show(action: &BulkActionObject, session: &Session) -> Result<()> {
    for (label, value) in [
        ("id", &action.id),
        ("action", &action.action),
        ("function", &action.function_id),
        ("reason", &action.reason),
        ("before", &action.buried_before),
        ("asked by", &action.asked_by),
        ("asked", &action.created_at),
        ("begins", &action.begins_at),
        ("status", &action.status),
        ("held back", &action.held_back),
        ("expected", &action.expected.to_string()),
        ("done", &action.done.to_string()),
        ("failed", &action.failed.to_string()),
    ] {
        if !value.is_empty() {
            session.console.line(&format!("{label:<12}{value}"))?;
        }
    }
    Ok(())
}

async fn begin(action: &str, which: Which, client: &Client, session: &Session) -> Result<()> {
    let Which { ids, function, reason, before } = which;
    let body = BulkActionInput {
        action: Some(action.to_owned()),
        function_id: function,
        reason,
        ids: Some(ids).filter(|ids| !ids.is_empty()),
        buried_before: before,
    };
    let begun = client.post::<BulkActionObject>(&["bulk-actions"], &body).await?;
    if session.console.json {
        return session.console.object(&begun);
    }
    let id = &begun.id;
    session.console.note(&format!("{id} begins at {}; until then: larder bulk-actions cancel {id}", begun.begins_at));
    Ok(())
}

async fn change(id: &str, action: &str, client: &Client, session: &Session) -> Result<()> {
    let id = &whole(id, client).await?;
    let changed = client.post::<BulkActionObject>(&["bulk-actions", id, action], &json!({})).await?;
    if session.console.json {
        return session.console.object(&changed);
    }
    session.console.note(&format!("{id} is {}", changed.status));
    Ok(())
}

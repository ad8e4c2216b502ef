//! `larder executions`: what ran, newest first.

use std::cmp::Reverse;

use larder_wire::executions::{ExecutionList, ExecutionObject};
use larder_wire::functions::FunctionList;
use larder_wire::queries::Query;
use serde_json::{Value, json};

use crate::Session;
use crate::client::{Answer, Client};
use crate::failure::Result;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder executions
  larder executions round-up --status failed --limit 5
  larder executions --json | jq -r '.executions[].duration'")]
pub struct Args {
    /// Only of this function
    function: Option<String>,
    /// Only with this status
    #[arg(long, value_parser = ["scheduled", "waiting", "processing", "completed", "failed"])]
    status: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 25, value_name = "N")]
    limit: usize,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let client = session.client()?;
    let filters: Vec<Query> = args.status.iter().map(|status| Query::equal("status", status)).collect();
    let Newest { total, rows } = newest(&client, args.function.as_deref(), &filters, args.limit).await?;
    if session.console.json {
        let sent: Vec<&Value> = rows.iter().map(Answer::sent).collect();
        return session.console.value(&json!({ "total": total, "executions": sent }));
    }
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let code = row.response_status_code.to_string();
            let [created, function, trigger, status, id] =
                [&row.created_at, &row.function_id, &row.trigger, &row.status, &row.id].map(Clone::clone);
            [created, function, trigger, status, code, milliseconds(row), id]
        })
        .collect();
    session.console.table(["CREATED", "FUNCTION", "TRIGGER", "STATUS", "CODE", "DURATION", "ID"], &rows)?;
    session.console.note(&format!("{} of {total}", rows.len()));
    Ok(())
}

/// How long it took: `12.3 ms`.
pub fn milliseconds(execution: &ExecutionObject) -> String {
    format!("{:.1} ms", execution.duration * 1e3)
}

pub struct Newest {
    pub total: u64,
    pub rows: Vec<Answer<ExecutionObject>>,
}

/// The newest executions of a function. The wire lists them by function; without one, the lists of all functions become
/// one.
pub async fn newest(client: &Client, function: Option<&str>, filters: &[Query], most: usize) -> Result<Newest> {
    let mut queries = filters.to_vec();
    queries.extend([Query::newest_first(), Query::limit(most)]);
    if let Some(function) = function {
        let list = client.list::<ExecutionList>(&["functions", function, "executions"], &queries).await?;
        return Ok(Newest { total: list.total, rows: list.into_rows() });
    }
    let mut newest = Newest { total: 0, rows: vec![] };
    for function in function_ids(client).await? {
        let list = client.list::<ExecutionList>(&["functions", &function, "executions"], &queries).await?;
        newest.total += list.total;
        newest.rows.extend(list.into_rows());
    }
    newest.rows.sort_by_cached_key(|row| Reverse((row.created_at.clone(), row.id.clone())));
    newest.rows.truncate(most);
    Ok(newest)
}

pub async fn function_ids(client: &Client) -> Result<Vec<String>> {
    let functions = client.list_all::<FunctionList>(&["functions"], &[]).await?;
    Ok(functions.iter().map(|function| function.id.clone()).collect())
}

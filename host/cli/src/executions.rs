//! `larder executions`: what ran, newest first.

use serde_json::{Value, json};

use crate::Session;
use crate::client::{Client, equal, limit, newest_first};
use crate::console::field;
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
    let filters: Vec<Value> = args.status.iter().map(|status| equal("status", status)).collect();
    let list = newest(&client, args.function.as_deref(), &filters, args.limit).await?;
    if session.console.json {
        return session.console.object(&list);
    }
    let rows: Vec<_> = list["executions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| {
            let milliseconds = format!("{:.1} ms", row["duration"].as_f64().unwrap_or(0.0) * 1e3);
            let [created, function, trigger, status, code, id] =
                ["$createdAt", "functionId", "trigger", "status", "responseStatusCode", "$id"].map(|n| field(row, n));
            [created, function, trigger, status, code, milliseconds, id]
        })
        .collect();
    session.console.table(["CREATED", "FUNCTION", "TRIGGER", "STATUS", "CODE", "DURATION", "ID"], &rows)?;
    session.console.note(&format!("{} of {}", rows.len(), field(&list, "total")));
    Ok(())
}

/// The newest executions of a function, as the wire lists them. The wire lists them by function; without one, the lists
/// of all functions become one.
pub async fn newest(client: &Client, function: Option<&str>, filters: &[Value], most: usize) -> Result<Value> {
    let mut queries = filters.to_vec();
    queries.extend([newest_first(), limit(most)]);
    if let Some(function) = function {
        return client.list(&["functions", function, "executions"], &queries).await;
    }
    let mut total = 0;
    let mut rows: Vec<Value> = Vec::new();
    for function in function_ids(client).await? {
        let mut list = client.list(&["functions", &function, "executions"], &queries).await?;
        total += list["total"].as_u64().unwrap_or(0);
        if let Value::Array(found) = list["executions"].take() {
            rows.extend(found);
        }
    }
    rows.sort_by_cached_key(|row| std::cmp::Reverse((field(row, "$createdAt"), field(row, "$id"))));
    rows.truncate(most);
    Ok(json!({ "total": total, "executions": rows }))
}

pub async fn function_ids(client: &Client) -> Result<Vec<String>> {
    let functions = client.list_all(&["functions"], "functions", &[]).await?;
    Ok(functions.iter().map(|function| field(function, "$id")).collect())
}

//! `larder logs`: executions with what they logged, oldest first.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use larder_wire::executions::{ExecutionList, ExecutionObject};
use larder_wire::queries::Query;

use crate::Session;
use crate::client::{Answer, Client};
use crate::console::Console;
use crate::executions::{function_ids, milliseconds, newest};
use crate::failure::{Failure, Result};

const POLL: Duration = Duration::from_secs(1);
/// Executions of one moment are committed in groups, by several workers: one may appear after others that are younger.
/// So the cursor stays this far behind the youngest.
const OVERLAP: TimeDelta = TimeDelta::seconds(15);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With --json each execution is one line.

Examples:
  larder logs round-up
  larder logs -f
  larder logs round-up --limit 200 --json | jq -r .logs")]
pub struct Args {
    /// Only of this function
    function: Option<String>,
    /// Go on with what follows, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Begin with so many of the newest
    #[arg(long, default_value_t = 25, value_name = "N")]
    limit: usize,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let client = session.client()?;
    let mut rows = newest(&client, args.function.as_deref(), &[], args.limit.max(1)).await?.rows;
    rows.reverse();
    let mut tail = Tail::default();
    if args.limit == 0 {
        rows.iter().for_each(|row| tail.skip(row));
        rows.clear();
    }
    let mut lost = false;
    loop {
        for row in tail.take(rows, args.follow) {
            print(&row, &session.console)?;
        }
        if !args.follow {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
        rows = match tail.poll(&client, args.function.as_deref()).await {
            // A restart of Larder is no reason to stop watching it.
            Err(Failure::Unreachable(why)) => {
                if !std::mem::replace(&mut lost, true) {
                    session.console.note(&format!("{why}; trying again"));
                }
                Vec::new()
            }
            answer => {
                lost = false;
                answer?
            }
        };
    }
}

/// What was printed, and where to look for more.
#[derive(Default)]
struct Tail {
    /// The youngest that was seen.
    youngest: Option<DateTime<Utc>>,
    /// Printed, and young enough to be listed again.
    printed: HashSet<String>,
    /// Seen, but not at their end; by creation, with their functions.
    running: BTreeMap<(String, String), String>,
}

impl Tail {
    /// Those to print. Without `follow` nothing comes later, so running ones are printed as they are.
    fn take(&mut self, rows: Vec<Answer<ExecutionObject>>, follow: bool) -> Vec<Answer<ExecutionObject>> {
        let mut fresh = Vec::new();
        for row in rows {
            self.see(&row);
            let id = row.id.clone();
            let place = (row.created_at.clone(), id.clone());
            if self.printed.contains(&id) {
                continue;
            }
            if follow && !is_over(&row) {
                self.running.insert(place, row.function_id.clone());
                continue;
            }
            self.running.remove(&place);
            self.printed.insert(id);
            fresh.push(row);
        }
        fresh
    }

    fn skip(&mut self, row: &ExecutionObject) {
        self.see(row);
        self.printed.insert(row.id.clone());
    }

    fn see(&mut self, row: &ExecutionObject) {
        self.youngest = self.youngest.max(row.created_at.parse().ok());
    }

    /// Everything from the cursor on, and those that were running.
    async fn poll(&mut self, client: &Client, function: Option<&str>) -> Result<Vec<Answer<ExecutionObject>>> {
        let mut rows = Vec::new();
        let running: Vec<_> = self.running.iter().map(|(place, function)| (place.clone(), function.clone())).collect();
        for (place, function) in running {
            match client.get::<ExecutionObject>(&["functions", &function, "executions", &place.1]).await {
                Ok(row) => rows.push(row),
                Err(failure) if failure.is_not_found() => drop(self.running.remove(&place)),
                Err(failure) => return Err(failure),
            }
        }
        let functions = match function {
            Some(function) => vec![function.to_owned()],
            None => function_ids(client).await?,
        };
        let mut queries = vec![Query::oldest_first()];
        if let Some(youngest) = self.youngest {
            let from = (youngest - OVERLAP).to_rfc3339_opts(SecondsFormat::Millis, false);
            queries.push(Query::from_on("$createdAt", &from));
        }
        let mut listed = Vec::new();
        for function in functions {
            listed.extend(client.list_all::<ExecutionList>(&["functions", &function, "executions"], &queries).await?);
        }
        // What is no longer listed needs no remembering.
        let ids: HashSet<String> = listed.iter().map(|row| row.id.clone()).collect();
        self.printed.retain(|id| ids.contains(id));
        rows.extend(listed);
        rows.sort_by_cached_key(|row| (row.created_at.clone(), row.id.clone()));
        Ok(rows)
    }
}

fn is_over(row: &ExecutionObject) -> bool {
    matches!(row.status.as_str(), "completed" | "failed")
}

fn print(row: &Answer<ExecutionObject>, console: &Console) -> Result<()> {
    if console.json {
        return console.object_line(row);
    }
    let ExecutionObject { created_at, function_id, trigger, status, response_status_code, id, .. } = &**row;
    let took = milliseconds(row);
    console.line(&format!("{created_at} {function_id} {trigger} {status} {response_status_code} {took} {id}"))?;
    for (mark, text) in [("  ", &row.logs), ("! ", &row.errors)] {
        for line in text.lines() {
            console.line(&format!("{mark}{line}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, second: u32, status: &str) -> Answer<ExecutionObject> {
        let row = ExecutionObject {
            id: id.into(),
            created_at: format!("2026-11-21T10:00:{second:02}.000+00:00"),
            function_id: "f".into(),
            status: status.into(),
            ..ExecutionObject::default()
        };
        Answer::read(serde_json::to_value(row).unwrap()).unwrap()
    }

    fn ids(rows: Vec<Answer<ExecutionObject>>) -> Vec<String> {
        rows.iter().map(|row| row.id.clone()).collect()
    }

    #[test]
    fn following_prints_each_execution_once_and_when_it_is_over() {
        let mut tail = Tail::default();
        assert_eq!(ids(tail.take(vec![row("a", 1, "completed"), row("b", 2, "processing")], true)), ["a"]);
        assert_eq!(tail.running.values().collect::<Vec<_>>(), ["f"]);
        // A latecomer that is older than what was seen, and the end of the running one.
        let rows = vec![row("late", 0, "completed"), row("a", 1, "completed"), row("b", 2, "failed")];
        assert_eq!(ids(tail.take(rows, true)), ["late", "b"]);
        assert!(tail.running.is_empty());
        assert_eq!(tail.youngest, Some("2026-11-21T10:00:02Z".parse().unwrap()));
    }

    #[test]
    fn without_following_running_ones_are_printed_as_they_are() {
        assert_eq!(ids(Tail::default().take(vec![row("a", 1, "processing")], false)), ["a"]);
    }
}

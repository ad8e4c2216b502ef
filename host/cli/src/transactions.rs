//! `larder transactions`: what functions saved, for whom.

use larder_wire::queries::Query;
use larder_wire::transactions::TransactionList;

use crate::Session;
use crate::failure::Result;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder transactions
  larder transactions --function round-up --end-user anna --limit 5
  larder transactions --json | jq -r '.transactions[].amount'")]
pub struct Args {
    /// Only of this function
    #[arg(long, value_name = "ID")]
    function: Option<String>,
    /// Only of this end user
    #[arg(long, value_name = "ID")]
    end_user: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 25, value_name = "N")]
    limit: usize,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let filters = [("functionId", &args.function), ("endUser", &args.end_user)];
    let mut queries: Vec<Query> =
        filters.iter().filter_map(|(name, value)| value.as_ref().map(|value| Query::equal(name, value))).collect();
    queries.extend([Query::newest_first(), Query::limit(args.limit)]);
    let answer = session.client()?.list::<TransactionList>(&["transactions"], &queries).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows: Vec<_> = answer
        .transactions
        .iter()
        .map(|row| {
            [&row.created_at, &row.function_id, &row.end_user, &row.amount, &row.currency, &row.memo].map(Clone::clone)
        })
        .collect();
    session.console.table(["CREATED", "FUNCTION", "END USER", "AMOUNT", "CURRENCY", "MEMO"], &rows)?;
    session.console.note(&format!("{} of {}", rows.len(), answer.total));
    Ok(())
}

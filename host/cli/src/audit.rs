//! `larder audit`: who changed what.

use larder_wire::audit::AuditList;
use larder_wire::queries::Query;
use serde_json::Value;

use crate::Session;
use crate::client::Client;
use crate::failure::Result;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  larder audit
  larder audit --action deployment.approve --limit 5
  larder audit --actor admin-01k9z4q2m0000000000000anna --since 2026-12-01T00:00:00Z
  larder audit --subject round-up --json | jq -r '.records[].after'
  larder audit --operator --action session.sign_in_failed")]
pub struct Args {
    /// Only by this actor: a key, or admin-… for a person
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only this action, such as function.update
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what was done to this: a function, deployment, key and so on
    #[arg(long, value_name = "ID")]
    subject: Option<String>,
    /// Only from this time on
    #[arg(long, value_name = "TIME", value_parser = chrono::DateTime::parse_from_rfc3339)]
    since: Option<chrono::DateTime<chrono::FixedOffset>>,
    /// Of the installation (needs the operator key)
    #[arg(long)]
    operator: bool,
    /// At most so many
    #[arg(long, default_value_t = 25, value_name = "N")]
    limit: usize,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let (client, path): (Client, &[&str]) = match args.operator {
        true => (Client::of_operator(&session.globals.connect()?)?, &["operator", "audit"]),
        false => (session.client()?, &["audit"]),
    };
    let filters = [("actorId", &args.actor), ("action", &args.action), ("subjectId", &args.subject)];
    let mut queries: Vec<Query> =
        filters.iter().filter_map(|(name, value)| value.as_ref().map(|value| Query::equal(name, value))).collect();
    queries
        .extend(args.since.map(|since| Query::from_on("$createdAt", &larder_wire::datetime(since.timestamp_millis()))));
    queries.extend([Query::newest_first(), Query::limit(args.limit)]);
    let answer = client.list::<AuditList>(path, &queries).await?;
    if session.console.json {
        return session.console.object(&answer);
    }
    let rows: Vec<_> = answer
        .records
        .iter()
        .map(|row| {
            let who = [&row.actor_name, &row.actor_id, &row.actor_kind].into_iter().find(|text| !text.is_empty());
            let [at, action, subject, from] =
                [&row.created_at, &row.action, &row.subject_id, &row.address].map(Clone::clone);
            [at, who.cloned().unwrap_or_default(), action, subject, changed(&row.before, &row.after), from]
        })
        .collect();
    session.console.table(["AT", "WHO", "DID", "TO", "CHANGED", "FROM"], &rows)?;
    session.console.note(&format!("{} of {}", rows.len(), answer.total));
    Ok(())
}

/// The names of what differs.
fn changed(before: &Value, after: &Value) -> String {
    let members = [before, after].into_iter().filter_map(Value::as_object).flat_map(|object| object.keys());
    let names: std::collections::BTreeSet<&str> = members.map(String::as_str).collect();
    names.into_iter().collect::<Vec<_>>().join(",")
}

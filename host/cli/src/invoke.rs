//! `larder invoke`: one execution, its answer on stdout.

use std::collections::BTreeMap;

use larder_model::ExecutionStatus;
use larder_wire::enrolments::EnrolmentList;
use larder_wire::executions::{ExecutionInput, ExecutionObject, Headers};
use larder_wire::queries::Query;
use serde_json::Value;

use crate::client::Client;
use crate::executions::milliseconds;
use crate::failure::{Failure, Refusal, Result};
use crate::{Session, input};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The function's answer goes to stdout, its status, logs and errors to stderr. Exit code 1 if it failed.

Examples:
  larder invoke hello
  larder invoke round-up --data '{\"amount\":\"12.30\"}'
  larder invoke hello --method GET --path '/hello?name=you' --header 'accept: text/plain'
  larder invoke payday --end-user anna          # a function that runs per enrolment
  larder invoke round-up --enrolment 01K9Z4
  larder invoke slow --data @input.json --async --json")]
pub struct Args {
    /// The function's id
    function: String,
    /// The request's body: text, @FILE, or - for stdin
    #[arg(long, short, value_name = "DATA")]
    data: Option<String>,
    /// The request's method
    #[arg(long, default_value = "POST", ignore_case = true,
          value_parser = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])]
    method: String,
    /// The request's path and query
    #[arg(long, default_value = "/")]
    path: String,
    /// A header, `name: value`; may be given several times
    #[arg(long, value_name = "HEADER", value_parser = parse_header)]
    header: Vec<(String, String)>,
    /// Run it for this enrolment, if it runs per enrolment
    #[arg(long, value_name = "ID", conflicts_with = "end_user")]
    enrolment: Option<String>,
    /// Run it for the enrolment of this end user
    #[arg(long, value_name = "ID")]
    end_user: Option<String>,
    /// Do not wait: print the execution's id at once
    #[arg(long = "async")]
    in_background: bool,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let body = args.data.as_deref().map(input::data).transpose()?.unwrap_or_default();
    let mut headers: BTreeMap<String, String> =
        args.header.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    if serde_json::from_str::<Value>(&body).is_ok() {
        headers.entry("content-type".into()).or_insert_with(|| "application/json".into());
    }
    let client = session.client()?;
    let enrolment = enrolment(args, &client).await?;
    let request = ExecutionInput {
        body: Some(body),
        r#async: Some(args.in_background),
        path: Some(args.path.clone()),
        method: Some(args.method.to_ascii_uppercase()),
        headers: Some(Headers::Object(headers)),
        scheduled_at: None,
        enrolment_id: enrolment.clone(),
    };
    let execution = client.post::<ExecutionObject>(&["functions", &args.function, "executions"], &request).await;
    let execution = execution.map_err(|failure| match failure {
        Failure::Refused(Refusal { status: 400, message, .. })
            if enrolment.is_none() && message.contains("enrolmentId") =>
        {
            Failure::usage(format!(
                "{message}; whom to run it for is told by --end-user or --enrolment, and they are listed by\n  \
                 larder enrolments list --function {}",
                args.function
            ))
        }
        failure => failure,
    })?;
    let console = &session.console;
    if console.json {
        console.object(&execution)?;
    } else if args.in_background {
        console.note(&format!("accepted ({})", execution.status));
        console.line(&execution.id)?;
    } else {
        console.note(&format!(
            "{} {} in {} ({})",
            execution.status,
            execution.response_status_code,
            milliseconds(&execution),
            execution.id,
        ));
        for text in [&execution.logs, &execution.errors] {
            text.lines().for_each(|line| console.note(&format!("  {line}")));
        }
        console.raw(&execution.response_body)?;
    }
    if execution.status == ExecutionStatus::Failed.word() {
        return Err(Failure::failed(format!("{} failed", args.function)));
    }
    Ok(())
}

async fn enrolment(args: &Args, client: &Client) -> Result<Option<String>> {
    if let Some(given) = &args.enrolment {
        return crate::enrolments::whole(client, given).await.map(Some);
    }
    let Some(end_user) = &args.end_user else { return Ok(None) };
    let queries = [Query::equal("functionId", &args.function), Query::equal("endUser", end_user), Query::limit(2)];
    let found = client.list::<EnrolmentList>(&["enrolments"], &queries).await?;
    match &found.enrolments[..] {
        [one] => Ok(Some(one.id.clone())),
        [] => Err(Failure::failed(format!("{end_user} is not enrolled in {}", args.function))),
        _ => Err(Failure::usage(format!("{end_user} has several enrolments in {}: give --enrolment", args.function))),
    }
}

fn parse_header(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("must be `name: value`".into()),
    }
}

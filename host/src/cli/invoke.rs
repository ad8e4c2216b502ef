//! `larder invoke`: one execution, its answer on stdout.

use serde_json::{Map, Value, json};

use super::console::field;
use super::failure::{Failure, Result};
use super::{Session, input};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The function's answer goes to stdout, its status, logs and errors to stderr. Exit code 1 if it failed.

Examples:
  larder invoke hello
  larder invoke round-up --data '{\"amount\":\"12.30\"}'
  larder invoke hello --method GET --path '/hello?name=you' --header 'accept: text/plain'
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
    /// Do not wait: print the execution's id at once
    #[arg(long = "async")]
    in_background: bool,
}

pub async fn run(args: &Args, session: &Session) -> Result<()> {
    let body = args.data.as_deref().map(input::data).transpose()?.unwrap_or_default();
    let mut headers: Map<String, Value> =
        args.header.iter().map(|(name, value)| (name.to_ascii_lowercase(), json!(value))).collect();
    if serde_json::from_str::<Value>(&body).is_ok() {
        headers.entry("content-type").or_insert_with(|| "application/json".into());
    }
    let request = json!({
        "body": body, "async": args.in_background, "method": args.method.to_ascii_uppercase(), "path": args.path,
        "headers": headers,
    });
    let execution = session.client()?.post(&["functions", &args.function, "executions"], &request).await?;
    let console = &session.console;
    if console.json {
        console.object(&execution)?;
    } else if args.in_background {
        console.note(&format!("accepted ({})", field(&execution, "status")));
        console.line(&field(&execution, "$id"))?;
    } else {
        console.note(&format!(
            "{} {} in {:.1} ms ({})",
            field(&execution, "status"),
            field(&execution, "responseStatusCode"),
            execution["duration"].as_f64().unwrap_or(0.0) * 1e3,
            field(&execution, "$id"),
        ));
        for name in ["logs", "errors"] {
            field(&execution, name).lines().for_each(|line| console.note(&format!("  {line}")));
        }
        console.raw(&field(&execution, "responseBody"))?;
    }
    if execution["status"] == "failed" {
        return Err(Failure::failed(format!("{} failed", args.function)));
    }
    Ok(())
}

fn parse_header(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("must be `name: value`".into()),
    }
}

//! The savings of a day as a file for spreadsheets.

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use futures::TryStreamExt;
use http::{HeaderValue, header};
use larder_model::ids::PartnerId;
use larder_model::{Transaction, text};
use larder_store::listing::Listing;
use larder_wire::datetime;
use larder_wire::scopes::Scope;

use super::transactions::Wanted;
use crate::app::App;
use crate::console::account::Answer;
use crate::console::visitor::Desk;
use crate::problem::Problem;

/// Rows of a file. More than this are refused: a file that ends early looks like one that is whole.
const ROWS_MAX: u64 = 100_000;
/// Rows that are read and held at once.
const AT_ONCE: u32 = 500;

const HEAD: &str = "transaction,created,function,execution,endUser,amount,currency,memo\r\n";

/// Rows leave as they are read. If the database fails meanwhile the answer breaks off, which a browser shows as a failed download.
pub async fn csv(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::TransactionsRead)?;
    let wanted = Wanted::of(&app, &desk)?;
    let sums = app.store.sum_transactions(&desk.caller.partner, &wanted.listing).await?;
    let count: u64 = sums.iter().map(|row| row.count).sum();
    if count > ROWS_MAX {
        let why =
            format!("has {count} savings that fit; a file has at most {ROWS_MAX}: filter by function or end user");
        return Err(Problem::argument("day", why).into());
    }
    let first = Listing { cursor: None, ..wanted.listing };
    let rest = pages(app, desk.caller.partner.clone(), first);
    let head = futures::stream::once(async { Ok::<_, larder_store::Error>(HEAD.to_owned()) });
    let name = format!("attachment; filename=\"savings-{}.csv\"", wanted.day);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8; header=present")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&name).map_err(Problem::internal)?),
    ];
    Ok((headers, Body::from_stream(futures::StreamExt::chain(head, rest))).into_response())
}

/// The lines of all pages of a list.
fn pages(
    app: App,
    partner: PartnerId,
    first: Listing,
) -> impl futures::Stream<Item = Result<String, larder_store::Error>> + Send + 'static {
    let first = Listing { limit: AT_ONCE, ..first };
    futures::stream::try_unfold(Some(first), move |next| {
        let (app, partner) = (app.clone(), partner.clone());
        async move {
            let Some(listing) = next else { return Ok(None) };
            let rows = app.store.list_transactions(&partner, &listing).await?.rows;
            let last = rows.last().filter(|_| rows.len() == AT_ONCE as usize).map(|row| row.id.clone());
            let next = last.map(|id| Listing { cursor: Some((id, false)), ..listing });
            Ok(Some((rows.iter().map(line).collect::<String>(), next)))
        }
    })
    .into_stream()
}

/// Amounts have a point, whatever the reader's language: this is for machines.
fn line(row: &Transaction) -> String {
    let fields = [
        row.id.as_str(),
        &datetime(row.created_at_ms),
        row.function.as_str(),
        row.execution.as_str(),
        &row.end_user,
        &row.amount.to_string(),
        &row.amount.currency().to_string(),
        row.memo.as_deref().unwrap_or_default(),
    ];
    let mut line = fields.map(field).join(",");
    line.push_str("\r\n");
    line
}

/// A text of a function or an end user is text, and no formula: what a spreadsheet would compute begins with an apostrophe.
fn field(text: &str) -> String {
    let text = text::cleaned(text);
    let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
    let is_formula = text.trim_start().starts_with(['=', '+', '-', '@', '\t', '\r', '|', '%']) && !is_number;
    let guard = if is_formula { "'" } else { "" };
    if is_formula || text.contains([',', '"', '\n', '\r', ';', '\t']) {
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        text.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_formula() {
        for (text, written) in [
            ("rent", "rent"),
            ("a,\"b\"\n", "\"a,\"\"b\"\"\n\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
            ("  =1+1", "\"'  =1+1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("-cmd|' /c calc'!A0", "\"'-cmd|' /c calc'!A0\""),
            ("\t=1", "\"'\t=1\""),
            ("-12.50", "-12.50"),
            ("a\u{202e}b", "a\u{fffd}b"),
        ] {
            assert_eq!(field(text), written);
        }
    }
}

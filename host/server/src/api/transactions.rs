//! Transactions: the savings that functions created. They are read here and never changed.

use axum::Json;
use axum::extract::{RawQuery, State};
use larder_platform::common::Common;
use larder_store::filters;
use larder_wire::scopes::Scope;
use larder_wire::transactions::{TransactionList, TransactionObject};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::{self, ListParams};
use crate::api::requests::Ids;
use crate::app::App;
use crate::auth::Caller;
use crate::problem::{Kind, Problem};

/// `{execution}-{ordinal}`.
const ID_CHARS_MAX: usize = 48;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

#[utoipa::path(get, path = "/v1/transactions", tag = "transactions", operation_id = "listTransactions", params(ListParams),
    responses((status = 200, body = TransactionList)))]
async fn list(
    State(common): State<Common>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<TransactionList>, Problem> {
    caller.may(Scope::TransactionsRead)?;
    let query = queries::parse(query.as_deref(), filters::TRANSACTIONS, &[])?;
    let page = common.store.list_transactions(&caller.partner, &query.listing).await?;
    Ok(Json(TransactionList { total: page.total, transactions: page.rows.into_iter().map(Into::into).collect() }))
}

#[utoipa::path(get, path = "/v1/transactions/{transactionId}", tag = "transactions", operation_id = "getTransaction",
    responses((status = 200, body = TransactionObject)))]
async fn get(State(common): State<Common>, caller: Caller, ids: Ids) -> Result<Json<TransactionObject>, Problem> {
    caller.may(Scope::TransactionsRead)?;
    let id = ids.text("transactionId")?;
    let is_id =
        (1..=ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if !is_id {
        return Err(Problem::argument("transactionId", format!("must be 1 to {ID_CHARS_MAX} of A-Z a-z 0-9 . _ -")));
    }
    let found = common.store.transaction(&caller.partner, id).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found(Kind::TransactionNotFound, "Transaction"))?.into()))
}

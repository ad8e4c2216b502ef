//! Who I am, and what I have saved.

use axum::Json;
use axum::extract::{RawQuery, State};
use larder_platform::common::Common;
use larder_store::filters;
use larder_wire::datetime;
use larder_wire::me::{MeObject, MyTransactionList, MyTransactionObject, SavingList, SavingObject};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::queries::{self, ListParams};
use crate::app::App;
use crate::me::Me;
use crate::problem::Problem;

pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(me)).routes(routes!(savings)).routes(routes!(transactions))
}

/// The end user that the token names.
#[utoipa::path(get, path = "/_larder/me", tag = "me", operation_id = "getMe", security(("token" = [])),
    responses((status = 200, body = MeObject)))]
async fn me(me: Me) -> Json<MeObject> {
    Json(MeObject { end_user: me.user.id, verified: me.user.verified, labels: me.user.labels })
}

/// What I have saved: a sum for each function and currency, over all transactions or those that `queries` select.
#[utoipa::path(get, path = "/_larder/me/savings", tag = "me", operation_id = "listMySavings", security(("token" = [])),
    params(ListParams), responses((status = 200, body = SavingList)))]
async fn savings(State(common): State<Common>, me: Me, RawQuery(query): RawQuery) -> Result<Json<SavingList>, Problem> {
    let query = queries::parse(query.as_deref(), filters::MY_TRANSACTIONS, &[])?;
    let sums = common.store.sum_transactions_of(&me.partner, &me.user.id, &query.listing).await?;
    let savings: Vec<SavingObject> = sums
        .into_iter()
        .map(|sum| SavingObject {
            function_name: me.name_of(sum.function.as_str()),
            function_id: sum.function.into(),
            currency: sum.amount.currency().to_string(),
            amount: sum.amount.to_string(),
            transactions: sum.count,
            last_at: datetime(sum.last_at_ms),
        })
        .collect();
    Ok(Json(SavingList { total: savings.len(), savings }))
}

/// My savings, one by one.
#[utoipa::path(get, path = "/_larder/me/transactions", tag = "me", operation_id = "listMyTransactions",
    security(("token" = [])), params(ListParams), responses((status = 200, body = MyTransactionList)))]
async fn transactions(
    State(common): State<Common>,
    me: Me,
    RawQuery(query): RawQuery,
) -> Result<Json<MyTransactionList>, Problem> {
    let query = queries::parse(query.as_deref(), filters::MY_TRANSACTIONS, &[])?;
    let page = common.store.list_transactions_of(&me.partner, &me.user.id, &super::bounded(query.listing)).await?;
    let object = |transaction: larder_model::Transaction| MyTransactionObject {
        function_name: me.name_of(transaction.function.as_str()),
        transaction: transaction.into(),
    };
    Ok(Json(MyTransactionList { total: page.total, transactions: page.rows.into_iter().map(object).collect() }))
}

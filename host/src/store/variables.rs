//! Variables of functions, sealed by `secrets` before they come here.

use super::db::{Row, Value};
use super::listing::{self, Column, Kind, Listing, Page, Source};
use super::{Error, Result, Store, partners};
use crate::args;
use crate::ids::{FunctionId, PartnerId, VariableId};
use crate::model::Variable;

const COLUMNS: &str = "partner_id, id, function_id, name, sealed, secret, created_at_ms, updated_at_ms";
const SOURCE: Source = Source { name: "variables", table: "variables", columns: COLUMNS, id: "id" };

/// What lists of variables can be filtered by.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "$updatedAt", column: "updated_at_ms", kind: Kind::Time },
    Column { attribute: "key", column: "name", kind: Kind::Text },
    Column { attribute: "secret", column: "secret", kind: Kind::Flag },
    Column { attribute: "resourceId", column: "function_id", kind: Kind::Text },
];

impl Store {
    pub async fn insert_variable(&self, variable: &Variable) -> Result<()> {
        self.db
            .tx("insert_variable", variable, |tx, v| {
                Box::pin(async move {
                    partners::touch(tx, &v.partner).await?;
                    if !super::functions::exists(tx, &v.partner, &v.function).await? {
                        return Err(Error::NotFound { what: "function" });
                    }
                    let row = args![
                        &v.partner,
                        &v.id,
                        &v.function,
                        &v.name,
                        v.sealed.clone(),
                        v.secret,
                        v.created_at_ms,
                        v.updated_at_ms
                    ];
                    tx.insert(&format!("-- insert_variable\n INSERT INTO variables ({COLUMNS})"), vec![row]).await
                })
            })
            .await
    }

    pub async fn update_variable(&self, v: &Variable) -> Result<()> {
        const UPDATE: &str = "-- update_variable
            UPDATE variables SET name = ?, sealed = ?, secret = ?, updated_at_ms = ?
            WHERE partner_id = ? AND function_id = ? AND id = ?";
        let args = args![&v.name, v.sealed.clone(), v.secret, v.updated_at_ms, &v.partner, &v.function, &v.id];
        self.change_variable(&v.partner, UPDATE, args).await
    }

    pub async fn delete_variable(&self, partner: &PartnerId, function: &FunctionId, id: &VariableId) -> Result<()> {
        const DELETE: &str = "-- delete_variable
            DELETE FROM variables WHERE partner_id = ? AND function_id = ? AND id = ?";
        self.change_variable(partner, DELETE, args![partner, function, id]).await
    }

    async fn change_variable(&self, partner: &PartnerId, sql: &'static str, args: Vec<Value>) -> Result<()> {
        self.db
            .tx("change_variable", &(partner, args), |tx, (partner, args)| {
                Box::pin(async move {
                    partners::touch(tx, partner).await?;
                    tx.run(sql, args.clone()).await?.exactly_one("variable")
                })
            })
            .await
    }

    pub async fn variable(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        id: &VariableId,
    ) -> Result<Option<Variable>> {
        Ok(self.list_variables(partner, function, &Listing::first(1).equal("id", id)).await?.rows.pop())
    }

    /// All variables of this function, or of all the partner's functions.
    pub async fn variables(&self, partner: &PartnerId, function: Option<&FunctionId>) -> Result<Vec<Variable>> {
        let of = if function.is_some() { "AND function_id = ?" } else { "" };
        let sql = format!(
            "-- all_variables\n SELECT {COLUMNS} FROM variables WHERE partner_id = ? {of} ORDER BY created_at_ms, id"
        );
        let mut args = args![partner];
        args.extend(function.map(Into::into));
        self.db.rows(&sql, args).await?.iter().map(variable).collect()
    }

    pub async fn list_variables(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        listing: &Listing,
    ) -> Result<Page<Variable>> {
        let scope = vec![("partner_id", partner.into()), ("function_id", function.into())];
        listing::list(&self.db, &SOURCE, scope, listing, variable).await
    }
}

fn variable(row: &Row) -> Result<Variable> {
    Ok(Variable {
        partner: row.id(0, "variables.partner_id")?,
        id: row.id(1, "variables.id")?,
        function: row.id(2, "variables.function_id")?,
        name: row.text(3)?,
        sealed: row.bytes(4)?,
        secret: row.flag(5)?,
        created_at_ms: row.int(6)?,
        updated_at_ms: row.int(7)?,
    })
}

//! Variables of functions and of the project, which have an empty `function_id`. `secrets` seals their values before they are stored.

use larder_model::Variable;
use larder_model::ids::{FunctionId, PartnerId, VariableId};

use crate::db::{Row, Tx};
use crate::grants::{self, Changer};
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Result, Store, args, partners};

const COLUMNS: &str = "partner_id, id, function_id, name, sealed, secret, revision, created_at_ms, updated_at_ms";
pub(super) const SOURCE: Source = Source {
    name: "variables",
    table: "variables",
    columns: COLUMNS,
    id: "id",
    indexed: &[],
    by_time: false,
    long: &[],
};

/// The columns by which lists of variables can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "$updatedAt", column: "updated_at_ms", kind: Kind::Time },
    Column { attribute: "key", column: "name", kind: Kind::Text },
    Column { attribute: "secret", column: "secret", kind: Kind::Flag },
    Column { attribute: "resourceId", column: "function_id", kind: Kind::Text },
    Column { attribute: "resourceType", column: RESOURCE_TYPE, kind: Kind::Text },
];

const RESOURCE_TYPE: &str = "(CASE WHEN function_id = '' THEN 'project' ELSE 'function' END)";

impl Store {
    pub async fn insert_variable(&self, variable: &Variable, by: &Changer<'_>) -> Result<()> {
        self.db
            .tx("insert_variable", &(variable, by), |tx, (v, by)| {
                Box::pin(async move {
                    partners::touch(tx, &v.partner).await?;
                    if let Some(function) = &v.function
                        && !crate::functions::exists(tx, &v.partner, function).await?
                    {
                        return Err(Error::NotFound { what: "function" });
                    }
                    let before = grants::by_secret(tx, v, &[&v.name]).await?;
                    let row = args![
                        &v.partner,
                        &v.id,
                        owner(v.function.as_ref()),
                        &v.name,
                        v.sealed.clone(),
                        v.secret,
                        &v.revision,
                        v.created_at_ms,
                        v.updated_at_ms
                    ];
                    tx.insert(&format!("-- insert_variable\n INSERT INTO variables ({COLUMNS})"), vec![row]).await?;
                    before.changed(tx, by, "was created").await
                })
            })
            .await
    }

    /// Updates a variable. `Contended` if it has been changed since it was read as `old`.
    pub async fn update_variable(&self, old: &Variable, new: &Variable, by: &Changer<'_>) -> Result<()> {
        const UPDATE: &str = "-- update_variable
            UPDATE variables SET name = ?, sealed = ?, secret = ?, revision = ?, updated_at_ms = ?
            WHERE partner_id = ? AND function_id = ? AND id = ? AND revision = ?";
        self.db
            .tx("update_variable", &(old, new, by), |tx, (old, v, by)| {
                Box::pin(async move {
                    partners::touch(tx, &v.partner).await?;
                    let before = grants::by_secret(tx, v, &[&old.name, &v.name]).await?;
                    let mut args = args![&v.name, v.sealed.clone(), v.secret, &v.revision, v.updated_at_ms];
                    args.extend(args![&v.partner, owner(v.function.as_ref()), &v.id, &old.revision]);
                    if tx.run(UPDATE, args).await?.exactly_one("variable").is_err() {
                        return Err(Error::Contended("the variable was changed meanwhile".into()));
                    }
                    match (old.name == v.name, old.revision == v.revision) {
                        (true, true) => Ok(()),
                        (true, false) => before.changed(tx, by, "was changed").await,
                        (false, _) => before.changed(tx, by, &format!("was renamed to {}", v.name)).await,
                    }
                })
            })
            .await
    }

    pub async fn delete_variable(&self, v: &Variable, by: &Changer<'_>) -> Result<()> {
        const DELETE: &str = "-- delete_variable
            DELETE FROM variables WHERE partner_id = ? AND function_id = ? AND id = ?";
        self.db
            .tx("delete_variable", &(v, by), |tx, (v, by)| {
                Box::pin(async move {
                    partners::touch(tx, &v.partner).await?;
                    let before = grants::by_secret(tx, v, &[&v.name]).await?;
                    let id = args![&v.partner, owner(v.function.as_ref()), &v.id];
                    tx.run(DELETE, id).await?.exactly_one("variable")?;
                    before.changed(tx, by, "was deleted").await
                })
            })
            .await
    }

    /// A variable of the function or, with `None`, of the project.
    pub async fn variable(
        &self,
        partner: &PartnerId,
        function: Option<&FunctionId>,
        id: &VariableId,
    ) -> Result<Option<Variable>> {
        let scope = vec![("partner_id", partner.into()), ("function_id", owner(function).into())];
        listing::one(&self.db, &SOURCE, scope, id, variable).await
    }

    /// All variables of the partner, of functions and of the project.
    pub async fn variables(&self, partner: &PartnerId) -> Result<Vec<Variable>> {
        let sql = format!(
            "-- all_variables\n SELECT {COLUMNS} FROM variables WHERE partner_id = ? ORDER BY created_at_ms, id"
        );
        self.db.rows(&sql, args![partner]).await?.iter().map(variable).collect()
    }

    /// All variables of the function or, with `None`, of the project.
    pub async fn variables_of(&self, partner: &PartnerId, function: Option<&FunctionId>) -> Result<Vec<Variable>> {
        let sql = format!(
            "-- variables_of\n SELECT {COLUMNS} FROM variables WHERE partner_id = ? AND function_id = ? ORDER BY created_at_ms, id"
        );
        self.db.rows(&sql, args![partner, owner(function)]).await?.iter().map(variable).collect()
    }

    pub async fn list_variables(
        &self,
        partner: &PartnerId,
        function: Option<&FunctionId>,
        listing: &Listing,
    ) -> Result<Page<Variable>> {
        let scope = vec![("partner_id", partner.into()), ("function_id", owner(function).into())];
        listing::list(&self.lists, &SOURCE, scope, listing, variable).await
    }
}

/// What the function has, the project's included.
pub(super) async fn effective(tx: &mut Tx<'_>, partner: &PartnerId, function: &FunctionId) -> Result<Vec<Variable>> {
    let sql = format!(
        "-- variables_of_function\n SELECT {COLUMNS} FROM variables WHERE partner_id = ? AND function_id IN (?, '')"
    );
    let all: Vec<Variable> =
        tx.rows(&sql, args![partner, function]).await?.iter().map(variable).collect::<Result<_>>()?;
    let (own, of_project): (Vec<_>, Vec<_>) = all.into_iter().partition(|variable| variable.function.is_some());
    Ok(larder_model::variables::effective(own, &of_project))
}

/// As the column has it.
fn owner(function: Option<&FunctionId>) -> &str {
    function.map_or("", FunctionId::as_str)
}

fn variable(row: &Row) -> Result<Variable> {
    Ok(Variable {
        partner: row.id(0, "variables.partner_id")?,
        id: row.id(1, "variables.id")?,
        function: match row.text(2)?.as_str() {
            "" => None,
            _ => Some(row.id(2, "variables.function_id")?),
        },
        name: row.text(3)?,
        sealed: row.bytes(4)?,
        secret: row.flag(5)?,
        revision: row.text(6)?,
        created_at_ms: row.int(7)?,
        updated_at_ms: row.int(8)?,
    })
}

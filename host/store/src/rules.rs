//! Proxy rules. They are in the directory's snapshot, so a change of one touches the partner.

use larder_model::Rule;
use larder_model::ids::{DeploymentId, FunctionId, PartnerId, RuleId};

use crate::db::{Row, Tx};
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Result, Store, args, functions, partners};

const COLUMNS: &str =
    "partner_id, id, function_id, domain, kind, made_by, resource_kind, branch, created_at_ms, updated_at_ms";
/// The active deployment of the rule's function.
const DEPLOYMENT: &str =
    "(SELECT f.deployment_id FROM functions f WHERE f.partner_id = rules.partner_id AND f.id = rules.function_id)";
pub(super) const SOURCE: Source = Source {
    name: "rules",
    table: "rules",
    columns: "partner_id, id, function_id, domain, created_at_ms, updated_at_ms, \
              (SELECT f.deployment_id FROM functions f WHERE f.partner_id = rules.partner_id AND f.id = rules.function_id)",
    id: "id",
    indexed: &[],
    by_time: false,
    long: &[],
};

/// The columns by which lists of rules can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "$updatedAt", column: "updated_at_ms", kind: Kind::Time },
    Column { attribute: "domain", column: "domain", kind: Kind::Text },
    Column { attribute: "type", column: "kind", kind: Kind::Text },
    Column { attribute: "trigger", column: "made_by", kind: Kind::Text },
    Column { attribute: "deploymentResourceType", column: "resource_kind", kind: Kind::Text },
    Column { attribute: "deploymentResourceId", column: "function_id", kind: Kind::Text },
    Column { attribute: "deploymentId", column: DEPLOYMENT, kind: Kind::Text },
    Column { attribute: "deploymentVcsProviderBranch", column: "branch", kind: Kind::Text },
];

/// A rule with the active deployment of its function.
pub type DeployedRule = (Rule, Option<DeploymentId>);

impl Store {
    /// Inserts a rule. `Conflict` if its domain is taken, by whatever partner; `NotFound` without its function.
    pub async fn insert_rule(&self, rule: &Rule) -> Result<()> {
        self.db
            .tx("insert_rule", rule, |tx, r| {
                Box::pin(async move {
                    partners::touch(tx, &r.partner).await?;
                    if !functions::exists(tx, &r.partner, &r.function).await? {
                        return Err(Error::NotFound { what: "function" });
                    }
                    let row = args![
                        &r.partner,
                        &r.id,
                        &r.function,
                        &r.domain,
                        "deployment",
                        "manual",
                        "function",
                        "",
                        r.created_at_ms,
                        r.updated_at_ms
                    ];
                    tx.insert(&format!("-- insert_rule\n INSERT INTO rules ({COLUMNS})"), vec![row]).await
                })
            })
            .await
    }

    pub async fn delete_rule(&self, partner: &PartnerId, id: &RuleId) -> Result<()> {
        const DELETE: &str = "-- delete_rule
            DELETE FROM rules WHERE partner_id = ? AND id = ?";
        self.db
            .tx("delete_rule", &(partner, id), |tx, (partner, id)| {
                Box::pin(async move {
                    partners::touch(tx, partner).await?;
                    tx.run(DELETE, args![*partner, *id]).await?.exactly_one("rule")
                })
            })
            .await
    }

    pub async fn rule(&self, partner: &PartnerId, id: &RuleId) -> Result<Option<DeployedRule>> {
        listing::one(&self.db, &SOURCE, vec![("partner_id", partner.into())], id, rule).await
    }

    pub async fn list_rules(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<DeployedRule>> {
        listing::list(&self.lists, &SOURCE, vec![("partner_id", partner.into())], listing, rule).await
    }

    /// Domain and function of all rules of the partner.
    pub async fn rules(&self, partner: &PartnerId) -> Result<Vec<(String, FunctionId)>> {
        const ALL: &str = "-- all_rules
            SELECT domain, function_id FROM rules WHERE partner_id = ?";
        let rule = |row: &Row| Ok((row.text(0)?, row.id(1, "rules.function_id")?));
        self.db.rows(ALL, args![partner]).await?.iter().map(rule).collect()
    }
}

/// Deletes the rules of a function in the transaction that deletes it: its domains are free from then on.
pub(super) async fn delete_of_function(tx: &mut Tx<'_>, partner: &PartnerId, function: &FunctionId) -> Result<()> {
    const DELETE: &str = "-- delete_rules_of_function
        DELETE FROM rules WHERE partner_id = ? AND function_id = ?";
    tx.run(DELETE, args![partner, function]).await.map(|_| ())
}

fn rule(row: &Row) -> Result<DeployedRule> {
    let rule = Rule {
        partner: row.id(0, "rules.partner_id")?,
        id: row.id(1, "rules.id")?,
        function: row.id(2, "rules.function_id")?,
        domain: row.text(3)?,
        created_at_ms: row.int(4)?,
        updated_at_ms: row.int(5)?,
    };
    Ok((rule, row.maybe_id(6, "functions.deployment_id")?))
}

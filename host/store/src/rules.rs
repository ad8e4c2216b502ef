//! Proxy rules. They are in the directory's snapshot, so a change of one touches the partner.
//!
//! The rule: **a domain belongs to one rule at most**, by the unique index of `domain`. A rule whose partner has not proved its
//! domain has a placeholder there, so it holds up nobody.

use larder_model::Rule;
use larder_model::ids::{DeploymentId, FunctionId, PartnerId, RuleId};
use larder_model::rules::{Proof, Reaches};
use larder_model::time::Millis;

use crate::db::{Row, Tx};
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Result, Store, args, functions, partners};

/// The active deployment of the rule's function.
const DEPLOYMENT: &str = "(SELECT f.deployment_id FROM functions f \
    WHERE f.partner_id = rules.partner_id AND f.id = rules.function_id AND rules.resource_kind = 'function')";
macro_rules! columns {
    () => {
        "partner_id, id, kind, resource_kind, function_id, name, domain, check_due_at_ms, lost_at_ms, why, created_at_ms, \
         updated_at_ms"
    };
}
const COLUMNS: &str = columns!();
pub(super) const SOURCE: Source = Source {
    name: "rules",
    table: "rules",
    columns: concat!(
        columns!(),
        ", (SELECT f.deployment_id FROM functions f WHERE f.partner_id = rules.partner_id AND f.id = rules.function_id \
            AND rules.resource_kind = 'function'), \
         (SELECT o.error FROM certificate_orders o WHERE o.name = rules.domain), \
         (SELECT o.due_at_ms FROM certificate_orders o WHERE o.name = rules.domain), \
         (SELECT c.not_after_ms FROM certificates c WHERE c.name = rules.domain)"
    ),
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
    Column { attribute: "domain", column: "name", kind: Kind::Text },
    Column { attribute: "type", column: "kind", kind: Kind::Text },
    Column { attribute: "trigger", column: "made_by", kind: Kind::Text },
    Column { attribute: "deploymentResourceType", column: "resource_kind", kind: Kind::Text },
    Column { attribute: "deploymentResourceId", column: "function_id", kind: Kind::Text },
    Column { attribute: "deploymentId", column: DEPLOYMENT, kind: Kind::Text },
    Column { attribute: "deploymentVcsProviderBranch", column: "branch", kind: Kind::Text },
];

/// A rule, and how far what belongs to it is.
#[derive(Clone, Debug)]
pub struct ListedRule {
    pub rule: Rule,
    /// The active deployment of its function.
    pub deployment: Option<DeploymentId>,
    pub certificate: Option<DomainCertificate>,
}

/// The certificate of a domain, if the installation orders certificates.
#[derive(Clone, Debug)]
pub struct DomainCertificate {
    /// Why there is none, or none newer; else empty.
    pub error: String,
    pub due_at_ms: Millis,
    pub not_after_ms: Option<Millis>,
}

impl Store {
    /// Inserts a rule. `Conflict` if its domain is taken; `NotFound` without its function.
    pub async fn insert_rule(&self, rule: &Rule) -> Result<()> {
        const OWN: &str = "-- rules_of_domain
            SELECT id FROM rules WHERE partner_id = ? AND name = ?";
        const INSERT: &str = "-- insert_rule
            INSERT INTO rules (partner_id, id, function_id, name, domain, kind, made_by, resource_kind, branch, check_due_at_ms,
                why, created_at_ms, updated_at_ms)";
        self.db
            .tx("insert_rule", rule, |tx, r| {
                Box::pin(async move {
                    partners::touch(tx, &r.partner).await?;
                    if let Reaches::Function(function) = &r.reaches
                        && !functions::exists(tx, &r.partner, function).await?
                    {
                        return Err(Error::NotFound { what: "function" });
                    }
                    if !tx.rows(OWN, args![&r.partner, &r.domain]).await?.is_empty() {
                        return Err(Error::Conflict { key: "domain".into() });
                    }
                    let (kind, resource) = match &r.reaches {
                        Reaches::Function(_) => ("deployment", "function"),
                        Reaches::Functions => ("deployment", "site"),
                        Reaches::Api => ("api", ""),
                    };
                    let function = match &r.reaches {
                        Reaches::Function(function) => function.as_str(),
                        // A process of an older release reads an id here.
                        Reaches::Functions | Reaches::Api => r.partner.as_str(),
                    };
                    let holds = r.proof.as_ref().is_none_or(|proof| proof.holds);
                    let domain = if holds { r.domain.clone() } else { placeholder(&r.partner, &r.id) };
                    let due = r.proof.as_ref().map(|proof| proof.due_at_ms);
                    let why = r.proof.as_ref().map_or("", |proof| &proof.why);
                    let row = args![
                        &r.partner,
                        &r.id,
                        function,
                        &r.domain,
                        domain,
                        kind,
                        "manual",
                        resource,
                        "",
                        due,
                        why,
                        r.created_at_ms,
                        r.updated_at_ms
                    ];
                    tx.insert(INSERT, vec![row]).await
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

    /// Gives the rule its domain, because its partner has proved it. `Conflict` if the domain is another rule's.
    pub async fn prove_rule(&self, rule: &Rule, now: Millis, due_at: Millis) -> Result<()> {
        const PROVE: &str = "-- prove_rule
            UPDATE rules SET domain = name, check_due_at_ms = ?, lost_at_ms = NULL, why = '', updated_at_ms = ?
            WHERE partner_id = ? AND id = ? AND name = ?";
        self.db
            .tx("prove_rule", &(rule, now, due_at), |tx, (r, now, due_at)| {
                Box::pin(async move {
                    partners::touch(tx, &r.partner).await?;
                    let args = args![*due_at, *now, &r.partner, &r.id, &r.domain];
                    tx.run(PROVE, args).await?.exactly_one("rule")
                })
            })
            .await
    }

    /// Takes the domain from the rule: it is whoever's proves it.
    pub async fn lose_rule(&self, rule: &Rule, why: &str, now: Millis, due_at: Millis) -> Result<()> {
        const LOSE: &str = "-- lose_rule
            UPDATE rules SET domain = ?, check_due_at_ms = ?, lost_at_ms = NULL, why = ?, updated_at_ms = ?
            WHERE partner_id = ? AND id = ?";
        self.db
            .tx("lose_rule", &(rule, why, now, due_at), |tx, (r, why, now, due_at)| {
                Box::pin(async move {
                    partners::touch(tx, &r.partner).await?;
                    let domain = placeholder(&r.partner, &r.id);
                    let args = args![domain, *due_at, *why, *now, &r.partner, &r.id];
                    tx.run(LOSE, args).await?.exactly_one("rule")
                })
            })
            .await
    }

    /// Stores what a look at the proof found that changes nothing of what is served. `NotFound` if the rule is gone.
    pub async fn note_rule(&self, rule: &Rule, proof: &Proof) -> Result<()> {
        const NOTE: &str = "-- note_rule
            UPDATE rules SET check_due_at_ms = ?, lost_at_ms = ?, why = ? WHERE partner_id = ? AND id = ?";
        let args = args![proof.due_at_ms, proof.lost_at_ms, &proof.why, &rule.partner, &rule.id];
        self.db.run(NOTE, args).await?.exactly_one("rule")
    }

    /// Claims a look at the proof of a rule. `false` if somebody looked after `since`.
    pub async fn claim_rule(&self, rule: &Rule, since: Millis, now: Millis) -> Result<bool> {
        const CLAIM: &str = "-- claim_rule
            UPDATE rules SET checked_at_ms = ? WHERE partner_id = ? AND id = ? AND checked_at_ms <= ?";
        Ok(self.db.run(CLAIM, args![now, &rule.partner, &rule.id, since]).await?.0 == 1)
    }

    /// Partners with a rule whose proof is due, the longest due first.
    pub async fn partners_with_due_rules(&self, now: Millis, limit: u32) -> Result<Vec<PartnerId>> {
        let sql = format!(
            "-- partners_with_due_rules
            SELECT partner_id, MIN(check_due_at_ms) FROM rules WHERE check_due_at_ms <= ?
            GROUP BY partner_id ORDER BY 2 LIMIT {limit}"
        );
        let rows = self.db.rows(&sql, args![now]).await?;
        rows.iter().map(|row| row.id(0, "rules.partner_id")).collect()
    }

    /// The rule of a partner whose proof is the longest due.
    pub async fn due_rule(&self, partner: &PartnerId, now: Millis) -> Result<Option<Rule>> {
        let sql = format!(
            "-- due_rule
            SELECT {COLUMNS} FROM rules WHERE partner_id = ? AND check_due_at_ms <= ? ORDER BY check_due_at_ms LIMIT 1"
        );
        self.db.row(&sql, args![partner, now]).await?.as_ref().map(rule).transpose()
    }

    /// The rule to which a domain belongs, of whatever partner.
    pub async fn holder_of_domain(&self, domain: &str) -> Result<Option<Rule>> {
        let sql = format!("-- holder_of_domain\n SELECT {COLUMNS} FROM rules WHERE domain = ?");
        self.db.row(&sql, args![domain]).await?.as_ref().map(rule).transpose()
    }

    pub async fn rule(&self, partner: &PartnerId, id: &RuleId) -> Result<Option<ListedRule>> {
        listing::one(&self.db, &SOURCE, vec![("partner_id", partner.into())], id, listed).await
    }

    pub async fn list_rules(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<ListedRule>> {
        listing::list(&self.lists, &SOURCE, vec![("partner_id", partner.into())], listing, listed).await
    }

    /// All rules of the partner.
    pub async fn rules(&self, partner: &PartnerId) -> Result<Vec<Rule>> {
        let sql = format!("-- all_rules\n SELECT {COLUMNS} FROM rules WHERE partner_id = ?");
        self.db.rows(&sql, args![partner]).await?.iter().map(rule).collect()
    }
}

/// Deletes the rules of a function in the transaction that deletes it: its domains are free from then on.
pub(super) async fn delete_of_function(tx: &mut Tx<'_>, partner: &PartnerId, function: &FunctionId) -> Result<()> {
    const DELETE: &str = "-- delete_rules_of_function
        DELETE FROM rules WHERE partner_id = ? AND function_id = ? AND resource_kind = 'function'";
    tx.run(DELETE, args![partner, function]).await.map(|_| ())
}

/// What a rule has for a domain that is not its own: no host equals it.
fn placeholder(partner: &PartnerId, id: &RuleId) -> String {
    format!("{partner}/{id}")
}

fn rule(row: &Row) -> Result<Rule> {
    let (kind, resource) = (row.text(2)?, row.text(3)?);
    let reaches = match (kind.as_str(), resource.as_str()) {
        ("deployment", "function") => Reaches::Function(row.id(4, "rules.function_id")?),
        ("deployment", "site") => Reaches::Functions,
        ("api", _) => Reaches::Api,
        _ => return Err(Error::BadRow { table: "rules", column: "kind", why: format!("{kind:?} {resource:?}") }),
    };
    let (name, domain) = (row.text(5)?, row.text(6)?);
    // A process of an older release leaves the name out.
    let name = if name.is_empty() { domain.clone() } else { name };
    let (lost_at_ms, why, holds) = (row.maybe_int(8)?, row.text(9)?, name == domain);
    Ok(Rule {
        partner: row.id(0, "rules.partner_id")?,
        id: row.id(1, "rules.id")?,
        reaches,
        domain: name,
        proof: row.maybe_int(7)?.map(|due_at_ms| Proof { holds, due_at_ms, lost_at_ms, why }),
        created_at_ms: row.int(10)?,
        updated_at_ms: row.int(11)?,
    })
}

fn listed(row: &Row) -> Result<ListedRule> {
    let certificate = match row.maybe_int(14)? {
        Some(due_at_ms) => {
            Some(DomainCertificate { error: row.text(13)?, due_at_ms, not_after_ms: row.maybe_int(15)? })
        }
        None => None,
    };
    Ok(ListedRule { rule: rule(row)?, deployment: row.maybe_id(12, "functions.deployment_id")?, certificate })
}

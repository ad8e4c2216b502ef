//! Certificates of the installation's names: which are wanted, who asks for them, what was got, and the answers to challenges.
//! These queries belong to the installation.
//!
//! The rule: **one order per name**. A claim is a lease; its holder writes only under its own attempt.

use std::collections::{BTreeMap, BTreeSet};

use larder_model::certificates::{Certificate, Challenge, ChallengeKind, Order};
use larder_model::ids::PartnerId;
use larder_model::time::Millis;

use crate::db::{Lock, Row, Tx, parts};
use crate::{Error, Result, Store, args};

/// The claim of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderClaim {
    pub name: String,
    /// Whose the name is; `None`: the installation's.
    pub partner: Option<PartnerId>,
    pub holder: String,
    pub attempt: i64,
    pub failures: u32,
    /// An operator wants it now, whatever the certificate that is there.
    pub is_forced: bool,
}

/// Due at once, and whatever the certificate that is there.
const FORCED: Millis = 0;
const ORDERS: &str = "SELECT o.name, o.due_at_ms, o.failures, o.error, c.not_after_ms \
                      FROM certificate_orders o LEFT JOIN certificates c ON c.name = o.name";

impl Store {
    /// Asks for these names, each with its partner, from now on, and for no others: what is known of the others is forgotten.
    pub async fn want_certificates(&self, names: &BTreeMap<String, Option<PartnerId>>, now: Millis) -> Result<()> {
        match self.db.tx("want_certificates", &(names, now), |tx, (names, now)| Box::pin(want(tx, names, *now))).await {
            // Another process does the same.
            Err(Error::Conflict { .. }) => Ok(()),
            done => done,
        }
    }

    /// Claims a name that is due, until `until`; `None` if there is none. Partners take turns: the name is one of the partner
    /// that comes after `last`, and of none that has a claim already.
    pub async fn claim_certificate_order(
        &self,
        holder: &str,
        last: &str,
        now: Millis,
        until: Millis,
    ) -> Result<Option<OrderClaim>> {
        const CLAIM: &str = "-- claim_certificate_order
            UPDATE certificate_orders SET holder = ?, attempt = attempt + 1, lease_until_ms = ?
            WHERE name = ? AND attempt = ? AND lease_until_ms < ?";
        let due = |turns: &str| {
            format!(
                "-- due_certificate_order
                SELECT o.name, o.attempt, o.failures, o.due_at_ms, o.partner_id FROM certificate_orders o
                WHERE o.due_at_ms <= ? AND o.lease_until_ms < ? AND o.partner_id {turns} ? AND NOT EXISTS
                    (SELECT 1 FROM certificate_orders b WHERE b.partner_id = o.partner_id AND b.lease_until_ms >= ?)
                ORDER BY o.partner_id, o.due_at_ms, o.name LIMIT 1"
            )
        };
        let after = self.db.row(&due(">"), args![now, now, last, now]).await?;
        let row = match after {
            Some(row) => row,
            None => match self.db.row(&due("<="), args![now, now, last, now]).await? {
                Some(row) => row,
                None => return Ok(None),
            },
        };
        let (name, attempt, failures, is_forced) =
            (row.text(0)?, row.int(1)?, row.int(2)? as u32, row.int(3)? == FORCED);
        let partner = match row.text(4)?.as_str() {
            "" => None,
            _ => Some(row.id(4, "certificate_orders.partner_id")?),
        };
        let claimed = self.db.run(CLAIM, args![holder, until, &name, attempt, now]).await?;
        let claim = OrderClaim { name, partner, holder: holder.to_owned(), attempt: attempt + 1, failures, is_forced };
        Ok((claimed.0 == 1).then_some(claim))
    }

    /// Counts an order for a name of this partner, before it is sent. If there are `most` since `since` already, it is not
    /// counted, and the answer is when the oldest of the last `most` was.
    pub async fn count_certificate_order(
        &self,
        partner: &PartnerId,
        order: (&str, &str),
        since: Millis,
        now: Millis,
        most: Option<u32>,
    ) -> Result<Option<Millis>> {
        const LOCK: &str = "-- lock_partner_of_orders
            SELECT id FROM partners WHERE id = ?";
        const COUNTED: &str = "-- certificates_ordered
            SELECT at_ms FROM certificates_ordered WHERE partner_id = ? ORDER BY at_ms DESC";
        const FORGET: &str = "-- forget_certificates_ordered
            DELETE FROM certificates_ordered WHERE partner_id = ? AND at_ms <= ?";
        const INSERT: &str = "-- count_certificate_order
            INSERT INTO certificates_ordered (partner_id, at_ms, id, name) VALUES (?, ?, ?, ?)";
        self.db
            .tx(
                "count_certificate_order",
                &(partner, order, since, now, most),
                |tx, (partner, (id, name), since, now, most)| {
                    Box::pin(async move {
                        // Of two processes one waits here.
                        let _ = tx.locked(Lock::Exclusive, LOCK, args![*partner]).await?;
                        let _ = tx.run(FORGET, args![*partner, *since]).await?;
                        let counted = tx.rows(COUNTED, args![*partner]).await?;
                        let oldest = most.and_then(|most| counted.get(most.saturating_sub(1) as usize));
                        if let Some(oldest) = oldest {
                            return oldest.int(0).map(Some);
                        }
                        tx.run(INSERT, args![*partner, *now, *id, *name]).await?.exactly_one("order")?;
                        Ok(None)
                    })
                },
            )
            .await
    }

    /// How many orders were counted since.
    pub async fn certificates_ordered(&self, partner: &PartnerId, since: Millis) -> Result<u64> {
        const COUNT: &str = "-- count_certificates_ordered
            SELECT COUNT(*) FROM certificates_ordered WHERE partner_id = ? AND at_ms > ?";
        self.db.row(COUNT, args![partner, since]).await?.map_or(Ok(0), |row| row.int(0).map(|count| count as u64))
    }

    /// Extends a claim. `NotFound` if it was lost.
    pub async fn hold_certificate_order(&self, claim: &OrderClaim, until: Millis) -> Result<()> {
        const HOLD: &str = "-- hold_certificate_order
            UPDATE certificate_orders SET lease_until_ms = ? WHERE name = ? AND holder = ? AND attempt = ?";
        let args = args![until, &claim.name, &claim.holder, claim.attempt];
        self.db.run(HOLD, args).await?.exactly_one("claim of a certificate")
    }

    /// Ends a claim without an order, and says why; empty: it is not time for one. `NotFound` if it was lost.
    pub async fn defer_certificate_order(&self, claim: &OrderClaim, why: &str, due_at: Millis) -> Result<()> {
        const DEFER: &str = "-- defer_certificate_order
            UPDATE certificate_orders SET error = ?, due_at_ms = ?, lease_until_ms = 0
            WHERE name = ? AND holder = ? AND attempt = ?";
        let args = args![why, due_at, &claim.name, &claim.holder, claim.attempt];
        self.db.run(DEFER, args).await?.exactly_one("claim of a certificate")
    }

    /// Ends a claim with a failure, and forgets its challenges. `NotFound` if it was lost.
    pub async fn fail_certificate_order(&self, claim: &OrderClaim, error: &str, due_at: Millis) -> Result<()> {
        const FAIL: &str = "-- fail_certificate_order
            UPDATE certificate_orders SET failures = failures + 1, error = ?, due_at_ms = ?, lease_until_ms = 0
            WHERE name = ? AND holder = ? AND attempt = ?";
        self.db
            .tx("fail_certificate_order", &(claim, error, due_at), |tx, (claim, error, due_at)| {
                Box::pin(async move {
                    let args = args![*error, *due_at, &claim.name, &claim.holder, claim.attempt];
                    tx.run(FAIL, args).await?.exactly_one("claim of a certificate")?;
                    forget_challenges(tx, &claim.name).await
                })
            })
            .await
    }

    /// Ends a claim with a certificate, and forgets its challenges. `NotFound` if it was lost.
    pub async fn store_certificate(
        &self,
        claim: &OrderClaim,
        certificate: &Certificate,
        renew_at: Millis,
    ) -> Result<()> {
        const DONE: &str = "-- end_certificate_order
            UPDATE certificate_orders SET failures = 0, error = '', due_at_ms = ?, lease_until_ms = 0
            WHERE name = ? AND holder = ? AND attempt = ?";
        self.db
            .tx("store_certificate", &(claim, certificate, renew_at), |tx, (claim, c, renew_at)| {
                Box::pin(async move {
                    let args = args![*renew_at, &claim.name, &claim.holder, claim.attempt];
                    tx.run(DONE, args).await?.exactly_one("claim of a certificate")?;
                    let row = args![
                        &c.name,
                        &c.chain,
                        c.sealed_key.as_slice(),
                        c.not_before_ms,
                        c.not_after_ms,
                        c.changed_at_ms
                    ];
                    let set = ["chain", "sealed_key", "not_before_ms", "not_after_ms", "changed_at_ms"];
                    tx.upsert("certificates", &["name"], &set, vec![row]).await?;
                    forget_challenges(tx, &claim.name).await
                })
            })
            .await
    }

    /// Lets a name be asked for at once. `NotFound` if it is not wanted.
    pub async fn hurry_certificate_order(&self, name: &str) -> Result<()> {
        const FIND: &str = "-- lock_certificate_order
            SELECT due_at_ms FROM certificate_orders WHERE name = ?";
        const HURRY: &str = "-- hurry_certificate_order
            UPDATE certificate_orders SET due_at_ms = ? WHERE name = ?";
        self.db
            .tx("hurry_certificate_order", name, |tx, name| {
                Box::pin(async move {
                    let found = tx.locked(Lock::Exclusive, FIND, args![name]).await?;
                    let due = found.first().ok_or(Error::NotFound { what: "certificate" })?.int(0)?;
                    if due != FORCED {
                        tx.run(HURRY, args![FORCED, name]).await?.exactly_one("certificate")?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// How many names there are, and up to `limit` of them after this one, in order.
    pub async fn certificate_orders(&self, after: &str, limit: u32) -> Result<(usize, Vec<Order>)> {
        const COUNT: &str = "-- count_certificate_orders
            SELECT COUNT(*) FROM certificate_orders";
        let total = self.db.row(COUNT, vec![]).await?.map_or(Ok(0), |row| row.int(0))?;
        let sql = format!("-- certificate_orders\n {ORDERS} WHERE o.name > ? ORDER BY o.name LIMIT {limit}");
        let rows = self.db.rows(&sql, args![after]).await?;
        Ok((total as usize, rows.iter().map(order).collect::<Result<_>>()?))
    }

    pub async fn certificate_order(&self, name: &str) -> Result<Option<Order>> {
        let sql = format!("-- certificate_order\n {ORDERS} WHERE o.name = ?");
        self.db.row(&sql, args![name]).await?.as_ref().map(order).transpose()
    }

    /// Certificates that have changed since.
    pub async fn certificates_since(&self, since: Millis) -> Result<Vec<Certificate>> {
        const CHANGED: &str = "-- certificates_since
            SELECT name, chain, sealed_key, not_before_ms, not_after_ms, changed_at_ms FROM certificates WHERE changed_at_ms >= ?";
        self.db.rows(CHANGED, args![since]).await?.iter().map(certificate).collect()
    }

    pub async fn certificate(&self, name: &str) -> Result<Option<Certificate>> {
        const ONE: &str = "-- certificate
            SELECT name, chain, sealed_key, not_before_ms, not_after_ms, changed_at_ms FROM certificates WHERE name = ?";
        self.db.row(ONE, args![name]).await?.as_ref().map(certificate).transpose()
    }

    /// Those of these names that have a certificate.
    pub async fn with_certificate(&self, names: &[String]) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for part in parts(names.iter().map(Into::into)) {
            let sql = format!("-- with_certificate\n SELECT name FROM certificates WHERE name IN ({})", part.marks);
            let rows = self.db.rows(&sql, part.args).await?;
            found.extend(rows.iter().map(|row| row.text(0)).collect::<Result<Vec<_>>>()?);
        }
        Ok(found)
    }

    pub async fn put_challenge(&self, challenge: &Challenge) -> Result<()> {
        self.db
            .tx("put_challenge", challenge, |tx, c| {
                Box::pin(async move {
                    let row = args![&c.name, c.kind.as_str(), &c.token, &c.answer, c.expires_at_ms];
                    let (key, set) = (["name", "kind", "token"], ["answer", "expires_at_ms"]);
                    tx.upsert("acme_challenges", &key, &set, vec![row]).await
                })
            })
            .await
    }

    /// The answer to a challenge; with an empty token, to the newest one of this kind.
    pub async fn challenge(&self, name: &str, kind: ChallengeKind, token: &str, now: Millis) -> Result<Option<String>> {
        const FIND: &str = "-- challenge
            SELECT answer FROM acme_challenges WHERE name = ? AND kind = ? AND token = ? AND expires_at_ms > ?";
        const NEWEST: &str = "-- newest_challenge
            SELECT answer FROM acme_challenges WHERE name = ? AND kind = ? AND expires_at_ms > ?
            ORDER BY expires_at_ms DESC LIMIT 1";
        let found = match token {
            "" => self.db.row(NEWEST, args![name, kind.as_str(), now]).await?,
            token => self.db.row(FIND, args![name, kind.as_str(), token, now]).await?,
        };
        found.map(|row| row.text(0)).transpose()
    }

    /// The sealed credentials of the installation's account at an authority.
    pub async fn acme_account(&self, directory: &str) -> Result<Option<Vec<u8>>> {
        const FIND: &str = "-- acme_account
            SELECT sealed_credentials FROM acme_accounts WHERE directory = ?";
        self.db.row(FIND, args![directory]).await?.map(|row| row.bytes(0)).transpose()
    }

    /// Stores a new account. `Conflict` if another process has made one.
    pub async fn insert_acme_account(&self, directory: &str, sealed: &[u8], now: Millis) -> Result<()> {
        const INSERT: &str = "-- insert_acme_account
            INSERT INTO acme_accounts (directory, sealed_credentials, created_at_ms) VALUES (?, ?, ?)";
        self.db.run(INSERT, args![directory, sealed, now]).await?.exactly_one("account")
    }
}

async fn want(tx: &mut Tx<'_>, names: &BTreeMap<String, Option<PartnerId>>, now: Millis) -> Result<()> {
    const KNOWN: &str = "-- certificate_names
        SELECT name, partner_id FROM certificate_orders";
    const INSERT: &str = "-- insert_certificate_orders
        INSERT INTO certificate_orders (name, partner_id, due_at_ms, failures, error, holder, attempt, lease_until_ms)";
    const GIVE: &str = "-- give_certificate_order
        UPDATE certificate_orders SET partner_id = ? WHERE name = ?";
    let known = tx.locked(Lock::Exclusive, KNOWN, vec![]).await?;
    let known: BTreeMap<String, String> =
        known.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<_>>()?;
    let of = |partner: &Option<PartnerId>| partner.as_ref().map_or("", |partner| partner.as_str()).to_owned();
    let new = names.iter().filter(|(name, _)| !known.contains_key(*name));
    let row = |(name, partner): (&String, &Option<PartnerId>)| args![name, of(partner), now, 0i64, "", "", 0i64, 0i64];
    tx.insert(INSERT, new.map(row).collect()).await?;
    for (name, partner) in names {
        if known.get(name).is_some_and(|known| *known != of(partner)) {
            tx.run(GIVE, args![of(partner), name]).await?.exactly_one("certificate")?;
        }
    }
    let forgotten = known.keys().filter(|name| !names.contains_key(*name));
    for part in parts(forgotten.map(|name| name.as_str().into())) {
        for table in ["certificate_orders", "certificates", "acme_challenges"] {
            let sql = format!("-- forget_certificates\n DELETE FROM {table} WHERE name IN ({})", part.marks);
            let _ = tx.run(&sql, part.args.clone()).await?;
        }
    }
    Ok(())
}

async fn forget_challenges(tx: &mut Tx<'_>, name: &str) -> Result<()> {
    const FORGET: &str = "-- forget_challenges
        DELETE FROM acme_challenges WHERE name = ?";
    tx.run(FORGET, args![name]).await.map(drop)
}

fn order(row: &Row) -> Result<Order> {
    Ok(Order {
        name: row.text(0)?,
        due_at_ms: row.int(1)?,
        failures: row.int(2)? as u32,
        error: row.text(3)?,
        not_after_ms: row.maybe_int(4)?,
    })
}

fn certificate(row: &Row) -> Result<Certificate> {
    Ok(Certificate {
        name: row.text(0)?,
        chain: row.text(1)?,
        sealed_key: row.bytes(2)?,
        not_before_ms: row.int(3)?,
        not_after_ms: row.int(4)?,
        changed_at_ms: row.int(5)?,
    })
}

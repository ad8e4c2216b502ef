//! Webhooks. `secrets` seals what they are sent with before they are stored.

use larder_model::ids::{PartnerId, WebhookId};
use larder_model::{Webhook, json};

use crate::db::Row;
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Result, Store, args};

const COLUMNS: &str =
    "partner_id, id, name, url, events, enabled, tls, auth_username, sealed, created_at_ms, updated_at_ms";
pub(super) const SOURCE: Source =
    Source { name: "webhooks", table: "webhooks", columns: COLUMNS, id: "id", indexed: &[], by_time: false, long: &[] };

/// The columns by which lists of webhooks can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "$updatedAt", column: "updated_at_ms", kind: Kind::Time },
    Column { attribute: "name", column: "name", kind: Kind::Text },
    Column { attribute: "url", column: "url", kind: Kind::Text },
    Column { attribute: "enabled", column: "enabled", kind: Kind::Flag },
];

impl Store {
    pub async fn insert_webhook(&self, webhook: &Webhook) -> Result<()> {
        self.db
            .tx("insert_webhook", webhook, |tx, w| {
                Box::pin(async move {
                    let row = args![
                        &w.partner,
                        &w.id,
                        &w.name,
                        &w.url,
                        json(&w.events),
                        w.enabled,
                        w.tls,
                        &w.auth_username,
                        w.sealed.clone(),
                        w.created_at_ms,
                        w.updated_at_ms
                    ];
                    tx.insert(&format!("-- insert_webhook\n INSERT INTO webhooks ({COLUMNS})"), vec![row]).await
                })
            })
            .await
    }

    /// Replaces the webhook. `Contended` if it has been changed since it was read as of `read_at_ms`.
    pub async fn update_webhook(&self, w: &Webhook, read_at_ms: i64) -> Result<()> {
        const UPDATE: &str = "-- update_webhook
            UPDATE webhooks SET name = ?, url = ?, events = ?, enabled = ?, tls = ?, auth_username = ?, sealed = ?, updated_at_ms = ?
            WHERE partner_id = ? AND id = ? AND updated_at_ms = ?";
        let mut args = args![&w.name, &w.url, json(&w.events), w.enabled, w.tls, &w.auth_username, w.sealed.clone()];
        args.extend(args![w.updated_at_ms, &w.partner, &w.id, read_at_ms]);
        let changed = self.db.run(UPDATE, args).await?.exactly_one("webhook");
        changed.map_err(|_| Error::Contended("the webhook was changed meanwhile".into()))
    }

    pub async fn delete_webhook(&self, partner: &PartnerId, id: &WebhookId) -> Result<()> {
        const DELETE: &str = "-- delete_webhook
            DELETE FROM webhooks WHERE partner_id = ? AND id = ?";
        self.db.run(DELETE, args![partner, id]).await?.exactly_one("webhook")
    }

    pub async fn webhook(&self, partner: &PartnerId, id: &WebhookId) -> Result<Option<Webhook>> {
        listing::one(&self.db, &SOURCE, vec![("partner_id", partner.into())], id, webhook).await
    }

    pub async fn list_webhooks(&self, partner: &PartnerId, listing: &Listing) -> Result<Page<Webhook>> {
        listing::list(&self.lists, &SOURCE, vec![("partner_id", partner.into())], listing, webhook).await
    }

    /// How many the partner has.
    pub async fn count_webhooks(&self, partner: &PartnerId) -> Result<u64> {
        listing::count(&self.db, &SOURCE, vec![("partner_id", partner.into())], &Listing::first(1)).await
    }
}

fn webhook(row: &Row) -> Result<Webhook> {
    Ok(Webhook {
        partner: row.id(0, "webhooks.partner_id")?,
        id: row.id(1, "webhooks.id")?,
        name: row.text(2)?,
        url: row.text(3)?,
        events: row.json(4, "webhooks.events")?,
        enabled: row.flag(5)?,
        tls: row.flag(6)?,
        auth_username: row.text(7)?,
        sealed: row.bytes(8)?,
        created_at_ms: row.int(9)?,
        updated_at_ms: row.int(10)?,
    })
}

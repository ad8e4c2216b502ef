//! Webhooks: where a partner wants to be told of events. They are kept; nothing is delivered yet.

use larder_model::Webhook;
use larder_model::audit::Action;
use larder_model::ids::{PartnerId, WebhookId};
use larder_model::webhooks::{WebhookSecrets, check_event, check_url};

use crate::audit::{self, Change, fields};
use crate::common::{Common, Sealer};
use crate::error::{Error, Result};
use crate::quotas::{Cap, Exceeded};

const EVENTS_MAX: usize = 100;
const SECRET_CHARS: std::ops::RangeInclusive<usize> = 8..=256;
const SECRET_BYTES: usize = 64;

/// What a caller sets.
pub struct WebhookSettings {
    pub name: String,
    pub url: String,
    pub events: Vec<String>,
    pub enabled: bool,
    pub tls: bool,
    pub auth_username: String,
    /// `None`: of a change, the one that it has.
    pub auth_password: Option<String>,
}

fn check(settings: &WebhookSettings) -> Result<()> {
    check_url(&settings.url).map_err(|why| Error::invalid("url", why))?;
    if !(1..=EVENTS_MAX).contains(&settings.events.len()) {
        return Err(Error::invalid("events", format!("must have 1 to {EVENTS_MAX} values")));
    }
    for event in &settings.events {
        check_event(event).map_err(|why| Error::invalid("events", format!("{event:?} {why}")))?;
    }
    Ok(())
}

/// The secret as it is given, or a new one.
fn secret(given: Option<String>) -> Result<String> {
    match given.filter(|secret| !secret.is_empty()) {
        Some(secret) if SECRET_CHARS.contains(&secret.chars().count()) => Ok(secret),
        Some(_) => Err(Error::invalid("secret", "must have 8 to 256 characters")),
        None => {
            let mut bytes = [0; SECRET_BYTES];
            getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
            Ok(hex::encode(bytes))
        }
    }
}

fn seal(sealer: &Sealer, webhook: &Webhook, secrets: &WebhookSecrets) -> Vec<u8> {
    let text = serde_json::to_vec(secrets).expect("texts serialise");
    sealer.secrets.seal(&webhook.place(), &text)
}

fn open(sealer: &Sealer, webhook: &Webhook) -> Result<WebhookSecrets> {
    let text = sealer.secrets.open(&webhook.place(), &webhook.sealed)?;
    serde_json::from_slice(&text).map_err(|err| {
        let (table, column, why) = ("webhooks", "sealed", err.to_string());
        larder_store::Error::BadRow { table, column, why }.into()
    })
}

/// Creates a webhook. Returns its secret too, which is told this once.
pub async fn create(
    sealer: &Sealer,
    partner: &PartnerId,
    id: WebhookId,
    settings: WebhookSettings,
    given: Option<String>,
) -> Result<(Webhook, String)> {
    check(&settings)?;
    let secret = secret(given)?;
    let (most, has) = (sealer.settings.server.webhooks_per_partner as u64, sealer.store.count_webhooks(partner).await?);
    if has >= most {
        return Err(Exceeded::new(Cap::Webhooks, most, has).into());
    }
    let now = sealer.clock.now_ms();
    let mut webhook = Webhook {
        partner: partner.clone(),
        id,
        name: settings.name,
        url: settings.url,
        events: settings.events,
        enabled: settings.enabled,
        tls: settings.tls,
        auth_username: settings.auth_username,
        sealed: vec![],
        created_at_ms: now,
        updated_at_ms: now,
    };
    let secrets = WebhookSecrets { secret: secret.clone(), auth_password: settings.auth_password.unwrap_or_default() };
    webhook.sealed = seal(sealer, &webhook, &secrets);
    let change = Change::new(Action::WebhookCreate, webhook.id.as_str()).after(fields::webhook(&webhook));
    let store = audit::of(sealer, partner.clone(), change);
    store.insert_webhook(&webhook).await.map_err(Error::WebhookExists.on_conflict())?;
    Ok((webhook, secret))
}

pub async fn update(sealer: &Sealer, webhook: &mut Webhook, settings: WebhookSettings) -> Result<()> {
    check(&settings)?;
    let before = fields::webhook(webhook);
    if let Some(auth_password) = settings.auth_password {
        let secrets = WebhookSecrets { auth_password, ..open(sealer, webhook)? };
        webhook.sealed = seal(sealer, webhook, &secrets);
    }
    (webhook.name, webhook.url, webhook.events) = (settings.name, settings.url, settings.events);
    (webhook.enabled, webhook.tls, webhook.auth_username) = (settings.enabled, settings.tls, settings.auth_username);
    let change = Change::new(Action::WebhookUpdate, "").from_to(before, fields::webhook(webhook));
    store(sealer, webhook, change).await
}

/// Replaces the secret; returns the new one.
pub async fn rotate(sealer: &Sealer, webhook: &mut Webhook, given: Option<String>) -> Result<String> {
    let secret = secret(given)?;
    let secrets = WebhookSecrets { secret: secret.clone(), ..open(sealer, webhook)? };
    webhook.sealed = seal(sealer, webhook, &secrets);
    store(sealer, webhook, Change::new(Action::WebhookRotateSecret, "")).await?;
    Ok(secret)
}

async fn store(sealer: &Sealer, webhook: &mut Webhook, change: Change<'_>) -> Result<()> {
    let id = webhook.id.clone();
    let change = Change { subject: id.as_str(), ..change };
    let read_at_ms = webhook.updated_at_ms;
    webhook.updated_at_ms = sealer.clock.now_ms().max(read_at_ms + 1);
    Ok(audit::of(sealer, webhook.partner.clone(), change).update_webhook(webhook, read_at_ms).await?)
}

pub async fn delete(common: &Common, partner: &PartnerId, id: &WebhookId) -> Result<()> {
    let old = common.store.webhook(partner, id).await?;
    let change = Change::new(Action::WebhookDelete, id.as_str());
    let change = change.before(old.as_ref().map(fields::webhook).unwrap_or_default());
    Ok(audit::of(common, partner.clone(), change).delete_webhook(partner, id).await?)
}

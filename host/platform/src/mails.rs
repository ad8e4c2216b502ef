//! Letters to people who sign in: written with the link that they carry, in one transaction, and sent by [`crate::jobs::mails`].
//!
//! What a letter says is sealed, because its link lets somebody in, and is forgotten once a server has taken it.

use larder_model::administrators::Administrator;
use larder_model::ids::MailId;
use larder_model::mails::{Mail, MailKind, MailStatus};
use larder_model::time::Millis;
use larder_secrets::Secrets;
use larder_store::NewMail;
use serde::{Deserialize, Serialize};

use crate::administrators::Administration;
use crate::error::Result;

const HOUR_MS: Millis = 60 * 60 * 1_000;

/// What a letter says, as text and as HTML.
#[derive(Debug, Serialize, Deserialize)]
pub struct Letter {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// The context to which a letter is sealed.
fn context(id: &MailId) -> [&str; 2] {
    ["mail", id.as_str()]
}

pub(crate) fn open(secrets: &Secrets, id: &MailId, sealed: &[u8]) -> Result<Letter> {
    let plain = secrets.open(&context(id), sealed)?;
    serde_json::from_str(&plain.text()).map_err(|_| larder_secrets::Error::Sealed.into())
}

/// A letter to be stored; `None` if there is no mail here, or this address has had as many in this hour as it may.
pub(crate) async fn write(
    administration: &Administration,
    to: &Administrator,
    expires_at_ms: Millis,
    letter: &Letter,
) -> Result<Option<NewMail>> {
    let settings = &administration.settings.mail;
    if !settings.is_on() {
        return Ok(None);
    }
    let now = administration.clock.now_ms();
    let had = administration.store.mails_to(&to.email, now - HOUR_MS, settings.per_recipient).await?;
    if had >= settings.per_recipient {
        tracing::warn!(administrator.id = %to.id, "no letter is written: {had} were written to the address within an hour (mail.per_recipient)");
        metrics::counter!("larder_mails_total", "end" => "too_many").increment(1);
        return Ok(None);
    }
    let id = MailId::generate(&administration.clock);
    let plain = serde_json::to_vec(letter).expect("texts");
    let sealed = administration.secrets.seal(&context(&id), &plain);
    let mail = Mail {
        id,
        administrator: to.id.clone(),
        kind: if to.password_hash.is_empty() { MailKind::Invitation } else { MailKind::Reset },
        recipient: to.email.clone(),
        status: MailStatus::Waiting,
        attempts: 0,
        error: String::new(),
        due_at_ms: now,
        expires_at_ms,
        created_at_ms: now,
        updated_at_ms: now,
    };
    Ok(Some(NewMail { mail, sealed }))
}

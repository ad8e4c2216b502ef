//! Letters to people who sign in.

use serde::{Deserialize, Serialize};

use crate::ids::{AdministratorId, MailId};
use crate::time::Millis;
use crate::words::words;

words! {
    /// What a letter is about.
    MailKind {
        /// Somebody may set their first password.
        Invitation = "invitation",
        /// Somebody may set another password.
        Reset = "reset",
    }
}

words! {
    /// How far a letter is.
    MailStatus {
        Waiting = "waiting",
        /// A server has taken it.
        Sent = "sent",
        /// It was refused for good, or its link has expired before a server took it.
        GivenUp = "given_up",
        /// A newer one was written before it was sent.
        Replaced = "replaced",
    }
}

/// A letter, without what it says.
#[derive(Clone, Debug)]
pub struct Mail {
    pub id: MailId,
    pub administrator: AdministratorId,
    pub kind: MailKind,
    pub recipient: String,
    pub status: MailStatus,
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: String,
    /// When it is tried next.
    pub due_at_ms: Millis,
    /// When its link is no longer good.
    pub expires_at_ms: Millis,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

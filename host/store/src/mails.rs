//! Letters to people who sign in, and how far each is. These queries belong to the installation.

use larder_model::ids::{AdministratorId, MailId};
use larder_model::mails::{Mail, MailKind, MailStatus};
use larder_model::time::Millis;

use crate::db::{Row, Tx, Value};
use crate::{Result, Store, args};

const COLUMNS: &str = "id, administrator_id, kind, recipient, status, attempts, error, due_at_ms, expires_at_ms, created_at_ms, updated_at_ms";

/// A letter that was just written.
pub struct NewMail {
    pub mail: Mail,
    pub sealed: Vec<u8>,
}

impl Store {
    /// Letters to this address since then, at most `limit`.
    pub async fn mails_to(&self, recipient: &str, since: Millis, limit: u64) -> Result<u64> {
        let sql = format!(
            "-- count_mails_to
            SELECT COUNT(*) FROM (SELECT 1 FROM mails WHERE recipient = ? AND created_at_ms >= ? LIMIT {limit}) AS some"
        );
        let row = self.db.row(&sql, args![recipient, since]).await?;
        row.map_or(Ok(0), |row| row.int(0)).map(|count| count as u64)
    }

    /// Letters that are due, the oldest first.
    pub async fn due_mails(&self, now: Millis, limit: u32) -> Result<Vec<Mail>> {
        let sql = format!(
            "-- due_mails
            SELECT {COLUMNS} FROM mails WHERE status = 'waiting' AND due_at_ms <= ? ORDER BY due_at_ms LIMIT {limit}"
        );
        self.db.rows(&sql, args![now]).await?.iter().map(mail).collect()
    }

    /// Takes a letter until then, if it is still as it was seen; returns what it says.
    pub async fn take_mail(&self, seen: &Mail, until: Millis, now: Millis) -> Result<Option<Vec<u8>>> {
        const TAKE: &str = "-- take_mail
            UPDATE mails SET due_at_ms = ?, attempts = attempts + 1, updated_at_ms = ?
            WHERE id = ? AND status = 'waiting' AND due_at_ms = ?";
        const READ: &str = "-- letter_of_mail
            SELECT sealed_letter FROM mails WHERE id = ?";
        self.db
            .tx("take_mail", &(seen, until, now), |tx, (seen, until, now)| {
                Box::pin(async move {
                    if tx.run(TAKE, args![*until, *now, &seen.id, seen.due_at_ms]).await?.0 == 0 {
                        return Ok(None);
                    }
                    tx.row(READ, args![&seen.id]).await?.map_or(Ok(None), |row| row.maybe_bytes(0))
                })
            })
            .await
    }

    /// How an attempt has ended, if the letter is still taken as it was: `until` is the end of that.
    pub async fn end_mail_attempt(
        &self,
        id: &MailId,
        until: Millis,
        status: MailStatus,
        error: &str,
        due_at_ms: Millis,
        now: Millis,
    ) -> Result<()> {
        const END: &str = "-- end_mail_attempt
            UPDATE mails SET sealed_letter = CASE WHEN ? = 'waiting' THEN sealed_letter END, status = ?, error = ?, due_at_ms = ?, updated_at_ms = ?
            WHERE id = ? AND status = 'waiting' AND due_at_ms = ?";
        let args = args![status.word(), status.word(), error, due_at_ms, now, id, until];
        self.db.run(END, args).await.map(|_| ())
    }

    /// The newest letters.
    pub async fn mails(&self, limit: u32) -> Result<Vec<Mail>> {
        let sql =
            format!("-- list_mails\n SELECT {COLUMNS} FROM mails ORDER BY created_at_ms DESC, id DESC LIMIT {limit}");
        self.db.rows(&sql, vec![]).await?.iter().map(mail).collect()
    }

    pub async fn mail(&self, id: &MailId) -> Result<Option<Mail>> {
        let sql = format!("-- find_mail\n SELECT {COLUMNS} FROM mails WHERE id = ?");
        self.db.row(&sql, args![id]).await?.as_ref().map(mail).transpose()
    }
}

/// Writes a letter with the link that it has; letters to the same person that wait are replaced.
pub(crate) async fn insert(tx: &mut Tx<'_>, new: &NewMail) -> Result<()> {
    let NewMail { mail, sealed } = new;
    replace(tx, &mail.administrator, mail.created_at_ms).await?;
    let row = args![
        &mail.id,
        &mail.administrator,
        mail.kind.word(),
        &mail.recipient,
        mail.status.word(),
        mail.attempts,
        &mail.error,
        mail.due_at_ms,
        mail.expires_at_ms,
        mail.created_at_ms,
        mail.updated_at_ms,
        Value::Blob(sealed.clone())
    ];
    tx.insert(&format!("-- insert_mail\n INSERT INTO mails ({COLUMNS}, sealed_letter)"), vec![row]).await
}

/// What waits for somebody has a link that is no longer good.
pub(crate) async fn replace(tx: &mut Tx<'_>, of: &AdministratorId, now: Millis) -> Result<()> {
    const REPLACE: &str = "-- replace_mails
        UPDATE mails SET status = 'replaced', sealed_letter = NULL, updated_at_ms = ? WHERE administrator_id = ? AND status = 'waiting'";
    tx.run(REPLACE, args![now, of]).await.map(|_| ())
}

fn mail(row: &Row) -> Result<Mail> {
    Ok(Mail {
        id: row.id(0, "mails.id")?,
        administrator: row.id(1, "mails.administrator_id")?,
        kind: row.parse(2, "mails.kind", MailKind::from_word)?,
        recipient: row.text(3)?,
        status: row.parse(4, "mails.status", MailStatus::from_word)?,
        attempts: row.int(5)? as u32,
        error: row.text(6)?,
        due_at_ms: row.int(7)?,
        expires_at_ms: row.int(8)?,
        created_at_ms: row.int(9)?,
        updated_at_ms: row.int(10)?,
    })
}

//! Audit records, written in the transaction of the change.
//!
//! * [`Recorder`]: the database of a [`Store`]. [`Store::recording`] gives a handle whose next transaction also writes a record.
//! * [`Said`]: what a transaction that may have changed nothing says of it.
//!
//! The rule: **a change and its record commit together, or neither does**. Each owner's records are numbered without a gap: the
//! number is the last thing that a transaction locks, so it is held shortly and in no other order.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::BoxFuture;
use larder_model::audit::{Action, Actor, ActorKind, AuditEntry, AuditRecord, Door};
use larder_model::ids::PartnerId;

use crate::db::{Changed, Db, Row, Tx, Value};
use crate::listing::{self, Column, Kind, Listing, Page, Source};
use crate::{Error, Result, Store, args};

const COLUMNS: &str = "partner_id, id, number, created_at_ms, actor_kind, actor_id, actor_name, action, subject_id, about, before_json, \
                       after_json, address, door, request_id";
pub(super) const SOURCE: Source = Source {
    name: "audit_records",
    table: "audit_records",
    columns: COLUMNS,
    id: "id",
    indexed: &[],
    by_time: true,
    long: &[],
};

/// The columns by which lists of records can be filtered.
pub const FILTERS: &[Column] = &[
    Column { attribute: "$id", column: "id", kind: Kind::Text },
    Column { attribute: "$createdAt", column: "created_at_ms", kind: Kind::Time },
    Column { attribute: "actorId", column: "actor_id", kind: Kind::Text },
    Column { attribute: "action", column: "action", kind: Kind::Text },
    Column { attribute: "subjectId", column: "subject_id", kind: Kind::Text },
];

/// A record to be written with the next change.
pub struct Pending {
    pub entry: AuditEntry,
    /// In whose records it is written, and the id there.
    pub owners: Vec<(Option<PartnerId>, String)>,
    written: AtomicBool,
}

impl Pending {
    pub fn new(entry: AuditEntry, owners: Vec<(Option<PartnerId>, String)>) -> Pending {
        Pending { entry, owners, written: AtomicBool::new(false) }
    }
}

/// What the result of a transaction says of its record.
pub(super) enum Said {
    /// Nothing was changed.
    Nothing,
    /// What was asked for was done.
    Done,
    /// The same, and this is what it is afterwards, as JSON.
    After(String),
}

impl Said {
    pub fn when(done: bool) -> Said {
        if done { Said::Done } else { Said::Nothing }
    }
}

/// A database whose next transaction may have a record to write.
#[derive(Clone)]
pub(crate) struct Recorder {
    db: Db,
    pending: Option<Arc<Pending>>,
}

impl Deref for Recorder {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

impl From<Db> for Recorder {
    fn from(db: Db) -> Recorder {
        Recorder { db, pending: None }
    }
}

impl Recorder {
    /// [`Db::tx`], with the record.
    pub async fn tx<C, T, F>(&self, name: &'static str, with: &C, body: F) -> Result<T>
    where
        C: Sync + ?Sized,
        F: for<'t> Fn(&'t mut Tx<'_>, &'t C) -> BoxFuture<'t, Result<T>> + Sync,
        T: Send,
    {
        self.tx_when(name, with, |_| Said::Done, body).await
    }

    /// The same for a body that may change nothing: its result says so.
    pub async fn tx_when<C, T, F>(
        &self,
        name: &'static str,
        with: &C,
        say: impl Fn(&T) -> Said + Sync,
        body: F,
    ) -> Result<T>
    where
        C: Sync + ?Sized,
        F: for<'t> Fn(&'t mut Tx<'_>, &'t C) -> BoxFuture<'t, Result<T>> + Sync,
        T: Send,
    {
        let pending = self.pending.as_ref().filter(|pending| !pending.written.load(Ordering::Relaxed));
        let Some(pending) = pending else { return self.db.tx(name, with, body).await };
        let all = (with, pending, body, say);
        let done = self.db.tx(name, &all, |tx, (with, pending, body, say)| {
            Box::pin(async move {
                let done = body(tx, with).await?;
                let said = say(&done);
                let wrote = !matches!(said, Said::Nothing);
                if wrote {
                    write(tx, pending, said).await?;
                }
                Ok((done, wrote))
            })
        });
        let (done, wrote) = done.await?;
        pending.written.store(wrote, Ordering::Relaxed);
        Ok(done)
    }

    /// [`Db::run`], with the record if it changes something.
    pub async fn run(&self, sql: &'static str, args: Vec<Value>) -> Result<Changed> {
        let changes = |changed: &Changed| Said::when(changed.0 > 0);
        self.tx_when("single_statement", &args, changes, move |tx, args| {
            Box::pin(async move { tx.run(sql, args.clone()).await })
        })
        .await
    }
}

impl Store {
    /// A handle whose next transaction that changes something also writes this record.
    pub fn recording(&self, pending: Pending) -> Store {
        let db = Recorder { db: self.db.db.clone(), pending: Some(Arc::new(pending)) };
        Store { db, ..self.clone() }
    }

    /// Writes a record of something that changes nothing else.
    pub async fn record(&self, pending: Pending) -> Result<()> {
        let alone = self.recording(pending);
        alone.db.tx("audit", &(), |_, ()| Box::pin(async move { Ok(()) })).await
    }

    /// Records of a partner, or of the installation.
    pub async fn list_audit_records(&self, owner: Option<&PartnerId>, listing: &Listing) -> Result<Page<AuditRecord>> {
        listing::list(&self.lists, &SOURCE, vec![("partner_id", column(owner).into())], listing, record).await
    }

    pub async fn audit_record(&self, owner: Option<&PartnerId>, id: &str) -> Result<Option<AuditRecord>> {
        listing::one(&self.db, &SOURCE, vec![("partner_id", column(owner).into())], id, record).await
    }
}

async fn write(tx: &mut Tx<'_>, pending: &Pending, said: Said) -> Result<()> {
    let Pending { entry, owners, .. } = pending;
    let after = if let Said::After(after) = said { after } else { entry.after.clone() };
    let about = owners.iter().find_map(|(owner, _)| owner.as_ref());
    for (owner, id) in owners {
        let about = about.filter(|_| owner.is_none());
        let row = args![
            column(owner.as_ref()),
            id,
            next(tx, column(owner.as_ref()), entry.created_at_ms).await?,
            entry.created_at_ms,
            entry.actor.kind.word(),
            &entry.actor.id,
            &entry.actor.name,
            entry.action.word(),
            &entry.subject,
            about.map_or("", PartnerId::as_str),
            &entry.before,
            after.clone(),
            &entry.address,
            entry.door.word(),
            &entry.request
        ];
        tx.insert(&format!("-- insert_audit_record\n INSERT INTO audit_records ({COLUMNS})"), vec![row]).await?;
    }
    Ok(())
}

/// The number of the owner's next record. Its row stays locked until the transaction ends.
async fn next(tx: &mut Tx<'_>, owner: &str, now: i64) -> Result<i64> {
    const COUNT: &str = "-- count_audit_record
        UPDATE audit_heads SET number = number + 1, updated_at_ms = ? WHERE partner_id = ?";
    const NUMBER: &str = "-- number_of_audit_record
        SELECT number FROM audit_heads WHERE partner_id = ?";
    if tx.run(COUNT, args![now, owner]).await?.0 == 0 {
        // The first one: whoever comes first makes the row, which begins at 0.
        tx.upsert("audit_heads", &["partner_id"], &["updated_at_ms"], vec![args![owner, now]]).await?;
        tx.run(COUNT, args![now, owner]).await?.exactly_one("audit head")?;
    }
    tx.row(NUMBER, args![owner]).await?.ok_or(Error::NotFound { what: "audit head" })?.int(0)
}

/// The owner of the records of the installation. No partner can have this id.
const INSTALLATION: &str = "OPERATOR";

fn column(owner: Option<&PartnerId>) -> &str {
    owner.map_or(INSTALLATION, PartnerId::as_str)
}

fn record(row: &Row) -> Result<AuditRecord> {
    let partner = |at, column| match row.text(at)?.as_str() {
        "" | INSTALLATION => Ok(None),
        _ => row.id(at, column).map(Some),
    };
    Ok(AuditRecord {
        owner: partner(0, "audit_records.partner_id")?,
        id: row.text(1)?,
        number: row.int(2)?,
        about: partner(9, "audit_records.about")?,
        entry: AuditEntry {
            created_at_ms: row.int(3)?,
            actor: Actor {
                kind: row.parse(4, "audit_records.actor_kind", ActorKind::from_word)?,
                id: row.text(5)?,
                name: row.text(6)?,
            },
            action: row.parse(7, "audit_records.action", Action::from_word)?,
            subject: row.text(8)?,
            before: row.text(10)?,
            after: row.text(11)?,
            address: row.text(12)?,
            door: row.parse(13, "audit_records.door", Door::from_word)?,
            request: row.text(14)?,
        },
    })
}

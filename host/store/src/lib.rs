//! All SQL of Larder. No other crate contains any.
//!
//! * [`db`]: the two databases behind one interface, with statements, arguments and rows.
//! * `schema/`: the tables, one set for both databases.
//! * [`listing`]: filters, orders and pages of list calls.
//! * One file per entity: each query is a constant beside the method that runs it.
//!
//! The rules: **every query binds the partner** (except those of the queue and the operator, which say so), **one text per
//! query serves all databases**, and **what changes together changes in one [`db::Db::tx`]**.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use larder_model::ids::{FunctionId, PartnerId};
use larder_model::settings;

use self::listing::Plan;

mod administrator_links;
mod administrators;
mod audit;
mod bulk_actions;
mod certificates;
pub mod db;
mod dead_letters;
mod deliveries;
mod deployments;
mod enrolments;
mod event_roots;
mod events;
mod executions;
mod fairness;
mod fanouts;
mod feeds;
mod fronts;
mod functions;
mod grants;
mod idempotency;
mod identities;
pub mod ledger;
mod letter_groups;
pub mod listing;
mod mails;
mod mariadb;
mod master_keys;
mod packs;
mod partners;
mod provider_accounts;
mod ranges;
mod removals;
pub mod retention;
mod rules;
mod run_keys;
mod schedules;
pub mod sealed;
mod second_factors;
mod sessions;
mod sqlite;
pub mod state;
mod stored;
mod transactions;
mod upload_chunks;
mod upstreams;
mod usage;
mod variables;
mod webhooks;

pub use audit::Pending;
pub use bulk_actions::Batch;
pub use certificates::OrderClaim;
pub use db::Db;
pub use dead_letters::Redriven;
pub use deliveries::{COUNTED_MAX, Delivery, EventHead, EventName};
pub use deployments::{ActiveDeployment, Heads};
pub use event_roots::Root;
pub use events::{NewEvent, Routed, RoutedEvent, WaitingEvent};
pub use executions::{Claimed, NewExecution, Wanted};
pub use fairness::{Queue, Waiting};
pub use feeds::{Moved, Received};
pub use fronts::{AUTHORITY, FrontAuthority, FrontEnrolled};
pub use grants::{Approved, Changer};
pub use idempotency::{KeptAnswer, KeyHolder, KeyRequest, Taken};
pub use letter_groups::LetterGroup;
pub use mails::NewMail;
pub use master_keys::{Agreed, KeyUser, SealingKey};
pub use ranges::{Claimant, ClaimedRange, RangeClaim, StateOf};
pub use removals::{Removal, Removed, Swept};
pub use rules::{DomainCertificate, ListedRule};
pub use schedules::Firing;
pub use sessions::AttemptKey;
pub use stored::Counting;
pub use transactions::Saved;
pub use upload_chunks::{Chunk, ChunkResult};
pub use upstreams::OPERATORS;
pub use usage::{Built, Steps, UsageSpan, Used};

/// The filter columns of each entity's lists.
pub mod filters {
    pub use super::audit::FILTERS as AUDIT;
    pub use super::bulk_actions::FILTERS as BULK_ACTIONS;
    pub use super::dead_letters::FILTERS as DEAD_LETTERS;
    pub use super::deployments::FILTERS as DEPLOYMENTS;
    pub use super::enrolments::FILTERS as ENROLMENTS;
    pub use super::enrolments::MY_FILTERS as MY_ENROLMENTS;
    pub use super::executions::FILTERS as EXECUTIONS;
    pub use super::fanouts::FILTERS as FANOUTS;
    pub use super::functions::FILTERS as FUNCTIONS;
    pub use super::grants::FILTERS as GRANT_CHANGES;
    pub use super::rules::FILTERS as RULES;
    pub use super::transactions::FILTERS as TRANSACTIONS;
    pub use super::transactions::MY_FILTERS as MY_TRANSACTIONS;
    pub use super::variables::FILTERS as VARIABLES;
    pub use super::webhooks::FILTERS as WEBHOOKS;
}

/// The ledger commits one group of outcomes at once, one of records, and [`RANGES_AT_ONCE`] ranges; another connection looks up
/// commits whose answer was lost.
const LEDGER_CONNECTIONS: usize = RANGES_AT_ONCE + 3;
/// Ranges of fan-outs that one process may commit at once.
pub const RANGES_AT_ONCE: usize = 4;

/// The persistent state of Larder.
#[derive(Clone)]
pub struct Store {
    pub(crate) db: audit::Recorder,
    /// Connections reserved for the ledger, so that outcomes never wait for other reads and writes.
    pub(crate) ledger: Db,
    /// Connections for list calls, whose statements end at `database.list_timeout`. They are used only to read.
    lists: Db,
    list_timeout: Duration,
    warnings: Arc<[String]>,
    /// The unique name of whoever commits groups with this handle, one after the other.
    committer: Arc<str>,
}

impl Store {
    /// Opens the database of the settings, or exclusively the embedded one in this folder, and migrates its schema.
    pub async fn open(settings: &settings::Database, folder: &Path) -> Result<Store> {
        let (list_connections, list_timeout) = (settings.list_connections_max, settings.list_timeout);
        let (db, ledger, lists, warnings) = if settings.url.is_empty() {
            let db = sqlite::Sqlite::open(folder)?;
            let lists = db.readers_beside(folder, list_connections, list_timeout)?;
            // The one writer is shared by all; a transaction is never long.
            (Db::Sqlite(db.clone()), Db::Sqlite(db), Db::Sqlite(lists), vec![])
        } else {
            let (db, warnings) = mariadb::MariaDb::open(settings).await?;
            let ledger = db.beside(LEDGER_CONNECTIONS);
            let lists = db.with_deadline(settings, list_connections, list_timeout)?;
            (Db::MariaDb(db), Db::MariaDb(ledger), Db::MariaDb(lists), warnings)
        };
        db.migrate().await?;
        Ok(Store {
            db: db.into(),
            ledger,
            lists,
            list_timeout,
            warnings: warnings.into(),
            committer: ledger::committer().into(),
        })
    }

    /// A handle whose commits of outcomes are looked up apart from those of other handles ([`Store::commit_outcomes`]).
    pub fn with_own_commits(&self) -> Store {
        Store { committer: ledger::committer().into(), ..self.clone() }
    }

    /// Returns the query plans of a partner's lists (see [`listing::plans`]): a test checks that an index serves each of
    /// them.
    pub async fn list_plans(&self, partner: &PartnerId, function: &FunctionId) -> Result<Vec<Plan>> {
        let of_partner = [("partner_id", partner.into())];
        let of_function = [("partner_id", partner.into()), ("function_id", function.into())];
        let of_end_user = [("partner_id", partner.into()), ("end_user", "anna".into())];
        let mut all = Vec::new();
        for (source, scope, always, columns) in [
            (&functions::SOURCE, &of_partner[..], vec![], functions::FILTERS),
            (&deployments::SOURCE, &of_function, vec![], deployments::FILTERS),
            (&variables::SOURCE, &of_function, vec![], variables::FILTERS),
            (&executions::SOURCE, &of_function, vec![], executions::FILTERS),
            (&packs::SOURCE, &of_function, vec![], packs::FILTERS),
            (&dead_letters::SOURCE, &of_partner, vec![dead_letters::only_dead_letters()], dead_letters::FILTERS),
            (&enrolments::SOURCE, &of_partner, vec![], enrolments::FILTERS),
            (&fanouts::SOURCE, &of_partner, vec![], fanouts::FILTERS),
            (&transactions::SOURCE, &of_partner, vec![], transactions::FILTERS),
            (&enrolments::MINE, &of_end_user, vec![], enrolments::MY_FILTERS),
            (&transactions::MINE, &of_end_user, vec![], transactions::MY_FILTERS),
            (&grants::SOURCE, &of_partner, vec![], grants::FILTERS),
            (&rules::SOURCE, &of_partner, vec![], rules::FILTERS),
            (&webhooks::SOURCE, &of_partner, vec![], webhooks::FILTERS),
            (&audit::SOURCE, &of_partner, vec![], audit::FILTERS),
        ] {
            all.extend(listing::plans(&self.lists, source, scope, &always, columns).await?);
        }
        Ok(all)
    }

    /// Is this process the only one that can use the database?
    pub fn is_embedded(&self) -> bool {
        matches!(*self.db, Db::Sqlite(_))
    }

    /// Warnings about settings of the database server under which committed data can be lost.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The maximum bytes of a body that fit into a row together with the other columns.
    pub fn body_bytes_max(&self) -> usize {
        /// Reserved for logs, errors, the request and the rest.
        const ROW_BYTES_MAX: usize = 4 << 20;
        match &*self.db {
            Db::Sqlite(_) => 512 << 20,
            Db::MariaDb(db) => db.packet_bytes().saturating_sub(ROW_BYTES_MAX),
        }
    }

    /// The database's own clock, in seconds since 1970.
    pub async fn time(&self) -> Result<i64> {
        self.db.time().await
    }

    /// Runs one cheap query to check that the database answers.
    pub async fn ping(&self) -> Result<()> {
        self.db
            .row(
                "-- ping
            SELECT COUNT(*) FROM schema_versions",
                vec![],
            )
            .await
            .map(|_| ())
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A change found nothing to change.
    #[error("{what} not found")]
    NotFound { what: &'static str },
    /// A key is taken.
    #[error("{key} is taken")]
    Conflict { key: String },
    /// Rows of a deleted function with this id still exist.
    #[error("function {0} is being removed")]
    BeingRemoved(larder_model::ids::FunctionId),
    /// The route belongs to another function of the partner.
    #[error("route {route} belongs to function {function}")]
    RouteTaken { route: String, function: larder_model::ids::FunctionId },
    /// Every attempt of a transaction lost a race: a later retry may succeed.
    #[error("the database is busy: {0}")]
    Contended(String),
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// The connection broke during COMMIT: look up what was to be written.
    #[error("it is unknown whether this was committed: {0}")]
    Unknown(String),
    /// A page exceeds its limit of bytes; this many rows fit.
    #[error("the page is too large: {rows} rows of it fit")]
    PageTooLarge { rows: usize },
    /// A statement of a list exceeded its time limit.
    #[error("{0} took too long")]
    TooSlow(String),
    /// A row that this program would not have written.
    #[error("broken row in {table}, column {column}: {why}")]
    BadRow { table: &'static str, column: &'static str, why: String },
    /// A statement or one of its values is larger than the server accepts.
    #[error("{statement} has {bytes} bytes, the database takes {max} (max_allowed_packet)")]
    TooLarge { statement: String, bytes: usize, max: usize },
    /// The statement or its use is wrong: a bug of Larder.
    #[error("{statement}: {why}")]
    Statement { statement: String, why: String },
}

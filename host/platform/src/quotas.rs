//! The limits of one partner.
//!
//! * [`Cap`]: a line in the table below for each limit: its setting, what it counts, and how it refuses.
//! * [`Exceeded`]: why something was refused. It names the setting, its value and the current use.
//!
//! The rule: **everything that a partner can make grow has a line here**. So `GET /v1/limits` shows every limit with its use,
//! and a refusal always names the limit. To add one: a line in the table, an arm in [`Cap::limit`] and in [`Cap::used`], and
//! `Exceeded::new(Cap::…, …)` where it is enforced.

use larder_model::certificates;
use larder_model::settings::Settings;

use crate::backlog;
use crate::common::Common;
use crate::directory::Tenant;

/// How a refusal is reported to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// 429: the same request may succeed when less is in use.
    Later,
    /// 413: something must be removed first, or the request must be smaller.
    TooLarge,
}

macro_rules! caps {
    ($($(#[$doc:meta])* $cap:ident = $setting:literal, $unit:literal, $refused:ident;)*) => {
        /// A limit of one partner.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Cap { $($(#[$doc])* $cap,)* }

        impl Cap {
            pub const ALL: &[Cap] = &[$(Cap::$cap,)*];

            /// The setting of the limit, which is also its name.
            pub fn setting(self) -> &'static str {
                match self { $(Cap::$cap => $setting,)* }
            }

            /// What is counted, in the plural.
            pub fn unit(self) -> &'static str {
                match self { $(Cap::$cap => $unit,)* }
            }

            pub fn refused(self) -> Refused {
                match self { $(Cap::$cap => Refused::$refused,)* }
            }
        }
    };
}

caps! {
    /// At once, in this process.
    CallsAtOnce = "server.calls_per_partner", "calls in progress", Later;
    /// Of the API, at once, in this process.
    ReadsAtOnce = "server.reads_per_partner", "reads in progress", Later;
    /// Of a burst, as far as this process knows.
    Requests = "rates.per_partner", "requests of a burst", Later;
    /// At once, in this process: of all end users of the partner for what is theirs.
    EndUsersRequests = "identity.requests_per_partner", "requests of end users in progress", Later;
    /// At once, in this process: the most that one end user may have.
    EndUserRequests = "identity.requests_per_end_user", "requests of one end user in progress", Later;
    /// Over all processes.
    CallsPerMinute = "server.calls_per_minute", "calls in this minute", Later;
    /// At once, in this process.
    GuestMemory = "runtime.memory_bytes_per_partner", "bytes of memory of calls in progress", Later;
    /// At once, in this process.
    Uploads = "build.uploads_per_partner", "uploads in progress", Later;
    /// At once, in this process.
    UploadBytes = "build.staged_bytes_per_partner", "bytes of uploads in progress", Later;
    /// At once, in this process.
    AnswerBytes = "server.answer_bytes_per_partner", "bytes of answers that were not taken yet", Later;
    /// At once, in this process.
    BodyBytes = "server.body_bytes_per_partner", "bytes of request bodies", Later;
    Upstreams = "egress.upstreams_per_partner", "upstreams", TooLarge;
    Feeds = "feeds.per_partner", "feeds", TooLarge;
    Rules = "server.rules_per_partner", "proxy rules", TooLarge;
    /// In 7 days. A name beyond that waits for its certificate.
    CertificatesOrdered = "acme.orders_per_partner", "certificates ordered in 7 days", Later;
    Webhooks = "server.webhooks_per_partner", "webhooks", TooLarge;
    /// That have not ended.
    BulkActions = "worker.bulk_actions_per_partner", "bulk actions", Later;
    IdempotencyKeys = "records.idempotency_keys_per_partner", "idempotency keys", Later;
    /// For a time to come, too.
    ExecutionsWaiting = "worker.waiting_per_partner", "executions and fan-outs waiting", Later;
    /// To be handed to functions.
    EventsWaiting = "worker.events_per_partner", "events waiting", Later;
    /// The most that any of its events, firings and calls has led to.
    Descendants = "worker.descendants_per_event", "events that come of one event", TooLarge;
    /// As far as they are counted (`stored`).
    StoredBytes = "records.bytes_per_partner", "bytes stored", TooLarge;
}

impl Cap {
    /// The limit; 0 if there is none.
    pub fn limit(self, settings: &Settings) -> u64 {
        match self {
            Cap::CallsAtOnce => settings.server.calls_per_partner as u64,
            Cap::ReadsAtOnce => settings.server.reads_per_partner as u64,
            Cap::Requests if !settings.rates.enabled => 0,
            Cap::Requests => settings.rates.per_partner,
            Cap::EndUsersRequests => settings.identity.requests_per_partner as u64,
            Cap::EndUserRequests => settings.identity.requests_per_end_user.into(),
            Cap::CallsPerMinute => settings.server.calls_per_minute,
            Cap::GuestMemory => settings.runtime.memory_bytes_per_partner,
            Cap::Uploads => settings.build.uploads_per_partner,
            Cap::UploadBytes => settings.build.staged_bytes_per_partner,
            Cap::AnswerBytes => settings.server.answer_bytes_per_partner,
            Cap::BodyBytes => settings.server.body_bytes_per_partner,
            Cap::Upstreams => settings.egress.upstreams_per_partner as u64,
            Cap::Feeds => settings.feeds.per_partner as u64,
            Cap::Rules => settings.server.rules_per_partner as u64,
            Cap::CertificatesOrdered if settings.acme.directory.is_empty() => 0,
            Cap::CertificatesOrdered => settings.acme.orders_per_partner.into(),
            Cap::Webhooks => settings.server.webhooks_per_partner as u64,
            Cap::BulkActions => settings.worker.bulk_actions_per_partner.into(),
            Cap::IdempotencyKeys => settings.records.idempotency_keys_per_partner,
            Cap::ExecutionsWaiting => settings.worker.waiting_per_partner.into(),
            Cap::EventsWaiting => settings.worker.events_per_partner.into(),
            Cap::Descendants => settings.worker.descendants_per_event,
            Cap::StoredBytes => settings.records.bytes_per_partner,
        }
    }

    /// The partner's current use.
    pub async fn used(self, common: &Common, tenant: &Tenant) -> larder_store::Result<u64> {
        Ok(match self {
            Cap::CallsAtOnce => {
                let free = tenant.permits.available_permits() as u64;
                self.limit(&common.settings).saturating_sub(free)
            }
            Cap::Requests => common.rates.taken(&tenant.rate),
            Cap::EndUsersRequests => self.limit(&common.settings).saturating_sub(tenant.end_users.free() as u64),
            Cap::EndUserRequests => tenant.end_users.most().into(),
            Cap::GuestMemory => tenant.memory_reserved(),
            Cap::Uploads => tenant.uploads.count(),
            Cap::UploadBytes => tenant.uploads.bytes(),
            Cap::AnswerBytes => tenant.bodies.answers(),
            Cap::BodyBytes => tenant.bodies.held(),
            Cap::Upstreams => common.store.upstreams(Some(&tenant.partner.id)).await?.len() as u64,
            Cap::Feeds => common.store.feeds(Some(&tenant.partner.id)).await?.len() as u64,
            Cap::Rules => common.store.rules(&tenant.partner.id).await?.len() as u64,
            Cap::CertificatesOrdered => {
                let since = common.clock.now_ms() - certificates::COUNTED_MS;
                common.store.certificates_ordered(&tenant.partner.id, since).await?
            }
            Cap::Webhooks => common.store.count_webhooks(&tenant.partner.id).await?,
            Cap::BulkActions => common.store.count_bulk_actions(&tenant.partner.id).await?,
            Cap::IdempotencyKeys => {
                let most = match self.limit(&common.settings) {
                    0 => i64::MAX as u64,
                    limit => limit,
                };
                common.store.count_idempotency_keys(&tenant.partner.id, most).await?
            }
            Cap::ReadsAtOnce => {
                let free = tenant.reads.available_permits() as u64;
                self.limit(&common.settings).saturating_sub(free)
            }
            Cap::StoredBytes => tenant.stored.bytes(),
            Cap::CallsPerMinute => tenant.calls.known(common.clock.now_ms().div_euclid(crate::admission::MINUTE_MS)),
            Cap::ExecutionsWaiting => backlog::executions(&backlog::count_waiting(common, tenant).await?),
            Cap::EventsWaiting => backlog::count_waiting(common, tenant).await?.events,
            Cap::Descendants => common.store.most_descendants(&tenant.partner.id).await?,
        })
    }
}

/// A partner has reached one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the project may have {limit} {} and has {used} ({} = {limit})", .cap.unit(), .cap.setting())]
pub struct Exceeded {
    pub cap: Cap,
    pub limit: u64,
    pub used: u64,
    /// Seconds after which the caller may retry; only of a [`Refused::Later`].
    pub retry_after_s: u32,
}

impl Exceeded {
    /// Also counts the refusal in `larder_refused_total`.
    pub fn new(cap: Cap, limit: u64, used: u64) -> Exceeded {
        metrics::counter!("larder_refused_total", "cap" => cap.setting()).increment(1);
        Exceeded { cap, limit, used, retry_after_s: 1 }
    }

    pub fn retry_after_s(self, seconds: u32) -> Exceeded {
        Exceeded { retry_after_s: seconds, ..self }
    }
}

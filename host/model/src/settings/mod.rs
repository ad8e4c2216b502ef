//! Settings: the commented defaults compiled in, then the operator's file, then `LARDER_…` from the environment.
//!
//! They are read once, in `main`. Wrong ones stop the process with all complaints, each naming its key.

mod addresses;
mod front;
mod layers;
mod tls;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use addresses::{address, networks};
use ipnet::IpNet;
use layers::Layers;
pub use layers::left_alone;
use serde::Deserialize;

use crate::administrators::Role;
use crate::certificates::ChallengeKind;

/// The partner that `larder dev` makes.
pub const DEV_PARTNER: &str = "demo";

/// The defaults, which are also the reference.
pub const DEFAULTS: &str = include_str!("default.toml");

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    };
}

section! { Settings {
    data: PathBuf,
    database: Database,
    redis: Redis,
    objects: Objects,
    server: Server,
    doors: Doors,
    tls: Tls,
    acme: Acme,
    front: Front,
    partners: Partners,
    rates: Rates,
    administrators: Administrators,
    functions: Functions,
    build: Build,
    runtime: Runtime,
    worker: Worker,
    scheduler: Scheduler,
    feeds: Feeds,
    identity: Identity,
    egress: Egress,
    records: Records,
    secrets: Secrets,
    log: Log,
} }
section! { Database {
    url: String,
    password_file: PathBuf,
    ca_file: PathBuf,
    connections_max: usize,
    #[serde(with = "humantime_serde")] timeout: Duration,
    list_connections_max: usize,
    #[serde(with = "humantime_serde")] list_timeout: Duration,
} }
section! { Redis {
    url: String,
    password_file: PathBuf,
    ca_file: PathBuf,
    prefix: String,
    #[serde(with = "humantime_serde")] timeout: Duration,
} }
section! { Objects {
    url: String,
    endpoint: String,
    region: String,
    access_key_file: PathBuf,
} }
section! { Partners {
    #[serde(with = "humantime_serde")] poll: Duration,
} }
section! { Administrators {
    #[serde(with = "humantime_serde")] session_idle: Duration,
    #[serde(with = "humantime_serde")] session_max: Duration,
    sign_ins_at_once: usize,
    #[serde(with = "humantime_serde")] link: Duration,
    second_factor_for: Vec<Role>,
} }
section! { Server {
    listen: SocketAddr,
    internal: SocketAddr,
    root_url: String,
    bare_partner: String,
    functions_domain: String,
    domain_target: String,
    #[serde(with = "humantime_serde")] domain_recheck: Duration,
    #[serde(with = "humantime_serde")] domain_grace: Duration,
    rules_per_partner: usize,
    webhooks_per_partner: usize,
    connections_max: usize,
    connections_per_address: usize,
    http2_prior_knowledge: bool,
    streams_per_connection: u32,
    #[serde(with = "networks")] proxies: Vec<IpNet>,
    proxies_file: PathBuf,
    proxy_header: ProxyHeader,
    proxy_protocol: bool,
    #[serde(with = "humantime_serde")] client_timeout: Duration,
    #[serde(with = "humantime_serde")] answer_timeout: Duration,
    body_bytes_max: usize,
    #[serde(with = "humantime_serde")] body_timeout: Duration,
    body_rate_min: u64,
    body_bytes_held_max: u64,
    body_bytes_per_partner: u64,
    answer_bytes_held_max: u64,
    answer_bytes_per_partner: u64,
    refused_bytes_max: u64,
    #[serde(with = "humantime_serde")] call_timeout: Duration,
    calls_per_partner: usize,
    reads_per_partner: usize,
    calls_per_minute: u64,
    #[serde(with = "humantime_serde")] drain_delay: Duration,
    #[serde(with = "humantime_serde")] grace: Duration,
} }
section! { Doors {
    #[serde(with = "networks")] api: Vec<IpNet>,
    #[serde(with = "networks")] admin: Vec<IpNet>,
    #[serde(with = "networks")] operator: Vec<IpNet>,
    #[serde(with = "networks")] bare: Vec<IpNet>,
} }
section! { Tls {
    #[serde(with = "address")] listen: Option<SocketAddr>,
    certificate_file: PathBuf,
    key_file: PathBuf,
    #[serde(with = "humantime_serde")] poll: Duration,
    #[serde(with = "address")] redirect_listen: Option<SocketAddr>,
    hsts: String,
} }
section! { Acme {
    directory: String,
    contact: String,
    terms_of_service_agreed: bool,
    challenge: ChallengeKind,
    http_port: u16,
    tls_port: u16,
    orders_per_partner: u32,
    external_account: String,
    external_account_key_file: PathBuf,
    #[serde(with = "humantime_serde")] poll: Duration,
} }
section! { Front {
    #[serde(with = "address")] listen: Option<SocketAddr>,
    connections_max: usize,
    connections_per_address: usize,
    #[serde(with = "humantime_serde")] lifetime: Duration,
    cores: Vec<String>,
    folder: PathBuf,
    #[serde(with = "humantime_serde")] connect_timeout: Duration,
    #[serde(with = "humantime_serde")] answer_timeout: Duration,
    #[serde(with = "humantime_serde")] poll: Duration,
} }
section! { Functions {
    #[serde(with = "humantime_serde")] timeout_max: Duration,
} }
section! { Build {
    upload_bytes_max: usize,
    unpacked_bytes_max: u64,
    #[serde(with = "humantime_serde")] deadline: Duration,
    memory_bytes: u64,
    cache_bytes_max: u64,
    at_once: usize,
    uploads_per_partner: u64,
    staged_bytes_per_partner: u64,
    #[serde(with = "humantime_serde")] unfinished_uploads: Duration,
} }
section! { Runtime {
    instances_max: u32,
    memory_bytes_max: u64,
    memory_bytes_per_partner: u64,
} }
section! { Worker {
    executions_max: u32,
    executions_per_partner: u32,
    #[serde(with = "humantime_serde")] lease: Duration,
    #[serde(with = "humantime_serde")] poll: Duration,
    attempts: u32,
    #[serde(with = "humantime_serde")] retry_delay: Duration,
    #[serde(with = "humantime_serde")] retry_delay_max: Duration,
    #[serde(with = "humantime_serde")] retry_host_failures_for: Duration,
    attempts_lost: u32,
    fanout_failures_percent: u32,
    due_max: u32,
    waiting_per_partner: u32,
    events_per_partner: u32,
    descendants_per_event: u64,
} }
section! { Scheduler {
    zoneinfo: PathBuf,
    #[serde(with = "humantime_serde")] poll: Duration,
    #[serde(with = "humantime_serde")] catch_up: Duration,
} }
section! { Feeds {
    #[serde(with = "humantime_serde")] poll: Duration,
    polls_max: usize,
    #[serde(with = "humantime_serde")] timeout: Duration,
    bytes_max: usize,
    items_max: usize,
    per_partner: usize,
    #[serde(with = "humantime_serde")] rest_max: Duration,
} }
section! { Identity {
    #[serde(with = "humantime_serde")] keys_refresh: Duration,
    #[serde(with = "humantime_serde")] keys_rest: Duration,
    #[serde(with = "humantime_serde")] fetch_timeout: Duration,
    enrolments_per_end_user: u32,
    requests_per_partner: usize,
    requests_per_end_user: u32,
} }
section! { Rates {
    enabled: bool,
    per_partner: u64,
    per_key: u64,
    per_end_user: u64,
    per_address: u64,
    #[serde(with = "humantime_serde")] burst: Duration,
    #[serde(with = "networks")] exempt: Vec<IpNet>,
} }
section! { Egress {
    private_networks: Vec<String>,
    ca_file: PathBuf,
    dns_servers: Vec<SocketAddr>,
    #[serde(with = "humantime_serde")] connect_timeout: Duration,
    #[serde(with = "humantime_serde")] first_byte_timeout: Duration,
    #[serde(with = "humantime_serde")] between_bytes_timeout: Duration,
    #[serde(with = "humantime_serde")] timeout: Duration,
    #[serde(with = "humantime_serde")] idle_timeout: Duration,
    connections_max: usize,
    connections_per_partner: usize,
    body_bytes_max: u64,
    calls_at_once: usize,
    #[serde(with = "humantime_serde")] time_per_execution: Duration,
    upstreams_per_partner: usize,
} }
section! { Records {
    all: bool,
    #[serde(with = "humantime_serde")] flush: Duration,
    buffer: usize,
    bytes_per_partner: u64,
    #[serde(with = "humantime_serde")] retention: Duration,
    #[serde(with = "humantime_serde")] idempotency_keys: Duration,
    idempotency_keys_per_partner: u64,
} }
section! { Secrets {
    master_key_file: PathBuf,
    #[serde(with = "humantime_serde")] poll: Duration,
    #[serde(with = "humantime_serde")] settle: Duration,
    operator_key_file: PathBuf,
} }
section! { Log {
    format: LogFormat,
    filter: String,
} }

/// The header in which proxies name the client.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Events are kept at least that long, however short the retention: their keys make a repeated one a duplicate.
const EVENTS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

impl Records {
    pub fn events_kept(&self) -> Duration {
        self.retention.max(EVENTS_KEPT)
    }
}

/// Everything that is wrong with the settings, each line naming its key.
#[derive(Debug, Default)]
pub struct Complaints(Vec<String>);

impl Complaints {
    fn add(&mut self, why: String) {
        self.0.push(why);
    }

    /// Says by which variable a setting came that the environment sets.
    fn naming(self, layers: &Layers) -> Complaints {
        let named = |line: String| match line.split_once(' ') {
            Some((key, why)) => format!("{} {why}", layers.named(key)),
            None => line,
        };
        Complaints(self.0.into_iter().map(named).collect())
    }

    fn unless(&mut self, fine: bool, key: &str, why: &str) {
        if !fine {
            self.0.push(format!("{key} {why}"));
        }
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings are wrong:\n  {}", self.0.join("\n  "))
    }
}

impl std::error::Error for Complaints {}

/// What operators of the replaced platform know: its variable, our key, and how its value becomes ours.
const ALIASES: [(&str, &str, Alias); 8] = [
    ("_APP_DOMAIN_TARGET", "server.domain_target", Alias::Text),
    ("_APP_DOMAIN_FUNCTIONS", "server.functions_domain", Alias::Text),
    ("_APP_FUNCTIONS_TIMEOUT", "functions.timeout_max", Alias::Number("s")),
    ("_APP_FUNCTIONS_SIZE_LIMIT", "build.upload_bytes_max", Alias::Number("")),
    ("_APP_COMPUTE_SIZE_LIMIT", "build.upload_bytes_max", Alias::Number("")),
    ("_APP_FUNCTIONS_BUILD_TIMEOUT", "build.deadline", Alias::Number("s")),
    ("_APP_COMPUTE_BUILD_TIMEOUT", "build.deadline", Alias::Number("s")),
    ("_APP_MAINTENANCE_RETENTION_EXECUTION", "records.retention", Alias::Number("s")),
];

/// The one of these that is no number: `enabled` or `disabled`.
const ABUSE: (&str, &str) = ("_APP_OPTIONS_ABUSE", "rates.enabled");
enum Alias {
    Text,
    /// A whole number, with this unit put behind it.
    Number(&'static str),
}

impl Settings {
    /// Reads the settings. `overrides` are `key = value` pairs of the command line.
    pub fn load(file: Option<&Path>, overrides: &[(&str, String)]) -> Result<Settings, Complaints> {
        let mut layers = Layers::new();
        if let Some(file) = file {
            layers.file(file);
        }
        for (variable, key, alias) in ALIASES {
            let Some(value) = std::env::var_os(variable) else { continue };
            match (value.to_str(), alias) {
                (Some(text), Alias::Text) => layers.text(key, text, Some(variable)),
                (Some(number), Alias::Number(unit)) if number.parse::<u64>().is_ok() => {
                    layers.text(key, &format!("{number}{unit}"), Some(variable));
                }
                (None, Alias::Text) => layers.complaints.add(format!("{variable} is no text in UTF-8")),
                (_, Alias::Number(_)) => {
                    layers.complaints.add(format!("{variable} must be a whole number, not {value:?}"));
                }
            }
        }
        let (variable, key) = ABUSE;
        match std::env::var_os(variable).as_deref().map(|value| value.to_str()) {
            None | Some(Some("")) => {}
            Some(Some("enabled")) => layers.text(key, "true", Some(variable)),
            Some(Some("disabled")) => layers.text(key, "false", Some(variable)),
            Some(_) => layers.complaints.add(format!("{variable} must be enabled or disabled")),
        }
        layers.environment();
        for (key, value) in overrides {
            layers.text(key, value, None);
        }
        let mut settings = layers.settings::<Settings>().map_err(|why| layers.complaints.add(why)).ok();
        if let Some(server) = settings.as_mut().map(|settings| &mut settings.server)
            && !server.proxies_file.as_os_str().is_empty()
        {
            match networks::of_file(&server.proxies_file) {
                Ok(more) => server.proxies.extend(more),
                Err(why) => layers.complaints.add(format!("server.proxies_file {why}")),
            }
        }
        match settings {
            Some(settings) if layers.complaints.0.is_empty() => {
                settings.check().map_err(|found| found.naming(&layers)).map(|()| settings)
            }
            _ => Err(layers.complaints),
        }
    }

    fn check(&self) -> Result<(), Complaints> {
        let mut found = Complaints::default();
        let second = Duration::from_secs(1);
        found.unless(
            self.root_host().is_some(),
            "server.root_url",
            "must be http:// or https:// and a host, with or without a port",
        );
        let bare = &self.server.bare_partner;
        found.unless(
            bare.is_empty() || bare.parse::<crate::ids::PartnerId>().is_ok(),
            "server.bare_partner",
            "must be empty or the id of a partner",
        );
        found.unless(
            !self.server.proxy_protocol || !self.server.proxies.is_empty(),
            "server.proxy_protocol",
            "needs the proxies in server.proxies: whoever is none of them cannot connect",
        );
        let functions = &self.server.functions_domain;
        let root = self.root_host().unwrap_or_default();
        found.unless(
            functions.is_empty() || (is_domain(functions) && !format!(".{root}").ends_with(&format!(".{functions}"))),
            "server.functions_domain",
            "must be empty or a domain in lower case, neither the host of server.root_url nor above it",
        );
        let target = &self.server.domain_target;
        found.unless(
            target.is_empty() || is_domain(target),
            "server.domain_target",
            "must be empty or a domain in lower case",
        );
        found.unless(self.server.domain_recheck >= second, "server.domain_recheck", "must be at least 1s");
        found.unless(
            (1..=10_000).contains(&self.server.rules_per_partner),
            "server.rules_per_partner",
            "must be 1 to 10000",
        );
        found.unless(
            (1..=1_000).contains(&self.server.webhooks_per_partner),
            "server.webhooks_per_partner",
            "must be 1 to 1000",
        );
        let database = &self.database.url;
        found.unless(
            database.is_empty() || database.starts_with("mysql://"),
            "database.url",
            "must be empty or begin with mysql://",
        );
        found.unless(
            (1..=1_000).contains(&self.database.connections_max),
            "database.connections_max",
            "must be 1 to 1000",
        );
        found.unless(self.database.timeout >= second, "database.timeout", "must be at least 1s");
        found.unless(
            (1..=1_000).contains(&self.database.list_connections_max),
            "database.list_connections_max",
            "must be 1 to 1000",
        );
        let list_timeouts = Duration::from_millis(1)..self.database.timeout;
        found.unless(
            list_timeouts.contains(&self.database.list_timeout),
            "database.list_timeout",
            "must be at least 1ms and less than database.timeout",
        );
        let redis = &self.redis.url;
        found.unless(
            redis.is_empty() || redis.starts_with("redis://") || redis.starts_with("rediss://"),
            "redis.url",
            "must be empty or begin with redis:// or rediss://",
        );
        found.unless(
            redis.is_empty() || !database.is_empty(),
            "redis.url",
            "needs database.url: the embedded database serves one process, which needs no Redis",
        );
        found.unless(!self.redis.prefix.is_empty(), "redis.prefix", "must not be empty");
        found.unless(!self.redis.timeout.is_zero(), "redis.timeout", "must be more than 0");
        let objects = &self.objects.url;
        found.unless(
            objects.is_empty() || objects.starts_with("file:///") || objects.starts_with("s3://"),
            "objects.url",
            "must be empty or begin with file:/// or s3://",
        );
        found.unless(!self.partners.poll.is_zero(), "partners.poll", "must be more than 0");
        let people = &self.administrators;
        found.unless(people.session_idle >= second, "administrators.session_idle", "must be at least 1s");
        found.unless(
            people.session_max >= people.session_idle,
            "administrators.session_max",
            "must be at least administrators.session_idle",
        );
        found.unless((1..=64).contains(&people.sign_ins_at_once), "administrators.sign_ins_at_once", "must be 1 to 64");
        found.unless(self.server.connections_max > 0, "server.connections_max", "must be at least 1");
        found.unless(self.server.reads_per_partner > 0, "server.reads_per_partner", "must be at least 1");
        let server = &self.server;
        found.unless(server.connections_per_address > 0, "server.connections_per_address", "must be at least 1");
        found.unless(
            (1..=10_000).contains(&server.streams_per_connection),
            "server.streams_per_connection",
            "must be 1 to 10000",
        );
        self.tls.check(&self.acme, &self.front, &mut found);
        self.acme.check(&mut found);
        self.front.check(&mut found);
        found.unless(!server.body_timeout.is_zero(), "server.body_timeout", "must be more than 0");
        found.unless(server.body_rate_min > 0, "server.body_rate_min", "must be at least 1");
        found.unless(server.body_bytes_per_partner > 0, "server.body_bytes_per_partner", "must be at least 1");
        found.unless(
            server.body_bytes_held_max >= server.body_bytes_per_partner,
            "server.body_bytes_held_max",
            "must be at least server.body_bytes_per_partner",
        );
        found.unless(server.answer_bytes_per_partner > 0, "server.answer_bytes_per_partner", "must be at least 1");
        found.unless(
            server.answer_bytes_held_max >= server.answer_bytes_per_partner,
            "server.answer_bytes_held_max",
            "must be at least server.answer_bytes_per_partner",
        );
        found.unless(self.server.calls_per_partner > 0, "server.calls_per_partner", "must be at least 1");
        found.unless(!self.server.client_timeout.is_zero(), "server.client_timeout", "must be more than 0");
        found.unless(!self.server.answer_timeout.is_zero(), "server.answer_timeout", "must be more than 0");
        found.unless(self.server.call_timeout >= second, "server.call_timeout", "must be at least 1s");
        found.unless(
            (second..=Duration::from_secs(900)).contains(&self.functions.timeout_max),
            "functions.timeout_max",
            "must be 1s to 900s",
        );
        found.unless(self.build.memory_bytes >= 256 << 20, "build.memory_bytes", "must be at least 268435456");
        found.unless(self.build.unfinished_uploads >= second, "build.unfinished_uploads", "must be at least 1s");
        found.unless(
            self.build.unpacked_bytes_max >= self.build.upload_bytes_max as u64,
            "build.unpacked_bytes_max",
            "must be at least build.upload_bytes_max",
        );
        found.unless(self.build.deadline >= second, "build.deadline", "must be at least 1s");
        found.unless((1..=1_000).contains(&self.runtime.instances_max), "runtime.instances_max", "must be 1 to 1000");
        let largest = crate::Limits::CEILING.memory_bytes;
        for (key, bytes) in [
            ("runtime.memory_bytes_max", self.runtime.memory_bytes_max),
            ("runtime.memory_bytes_per_partner", self.runtime.memory_bytes_per_partner),
        ] {
            found.unless(
                bytes == 0 || bytes >= largest,
                key,
                &format!("must be 0 or at least {largest}, what a function may have"),
            );
        }
        found.unless((1..=16).contains(&self.build.at_once), "build.at_once", "must be 1 to 16");
        found.unless(self.build.uploads_per_partner > 0, "build.uploads_per_partner", "must be at least 1");
        found.unless(
            self.build.staged_bytes_per_partner >= self.build.upload_bytes_max as u64,
            "build.staged_bytes_per_partner",
            "must be at least build.upload_bytes_max",
        );
        found.unless(self.worker.executions_max > 0, "worker.executions_max", "must be at least 1");
        found.unless(
            self.worker.executions_max <= self.runtime.instances_max,
            "worker.executions_max",
            "must not exceed runtime.instances_max",
        );
        found.unless(self.worker.executions_per_partner > 0, "worker.executions_per_partner", "must be at least 1");
        found.unless(self.worker.lease >= 5 * second, "worker.lease", "must be at least 5s, to outlast its renewal");
        found.unless(!self.worker.retry_delay.is_zero(), "worker.retry_delay", "must be more than 0");
        found.unless(
            self.worker.retry_delay_max >= self.worker.retry_delay,
            "worker.retry_delay_max",
            "must be at least worker.retry_delay",
        );
        found.unless(self.worker.attempts > 0, "worker.attempts", "must be at least 1");
        found.unless(
            self.worker.retry_host_failures_for >= self.worker.retry_delay,
            "worker.retry_host_failures_for",
            "must not be less than worker.retry_delay",
        );
        found.unless(self.worker.attempts_lost > 0, "worker.attempts_lost", "must be at least 1");
        found.unless(
            (1..=100).contains(&self.worker.fanout_failures_percent),
            "worker.fanout_failures_percent",
            "must be 1 to 100",
        );
        found.unless(!self.worker.poll.is_zero(), "worker.poll", "must be more than 0");
        let zoneinfo = &self.scheduler.zoneinfo;
        found.unless(
            zoneinfo.as_os_str().is_empty() || zoneinfo.is_dir(),
            "scheduler.zoneinfo",
            "must be empty or name a folder",
        );
        for (key, most) in [
            ("worker.due_max", u64::from(self.worker.due_max)),
            ("worker.waiting_per_partner", u64::from(self.worker.waiting_per_partner)),
            ("worker.events_per_partner", u64::from(self.worker.events_per_partner)),
            ("worker.descendants_per_event", self.worker.descendants_per_event),
        ] {
            found.unless(most > 0, key, "must be at least 1");
        }
        found.unless(!self.scheduler.poll.is_zero(), "scheduler.poll", "must be more than 0");
        found.unless(!self.feeds.poll.is_zero(), "feeds.poll", "must be more than 0");
        found.unless(self.feeds.polls_max > 0, "feeds.polls_max", "must be at least 1");
        found.unless(self.feeds.timeout >= second, "feeds.timeout", "must be at least 1s");
        found.unless((1..=32 << 20).contains(&self.feeds.bytes_max), "feeds.bytes_max", "must be 1 to 33554432");
        found.unless((1..=10_000).contains(&self.feeds.items_max), "feeds.items_max", "must be 1 to 10000");
        found.unless((1..=1_000).contains(&self.feeds.per_partner), "feeds.per_partner", "must be 1 to 1000");
        found.unless(self.feeds.rest_max >= second, "feeds.rest_max", "must be at least 1s");
        let identity = &self.identity;
        found.unless(identity.keys_refresh >= second, "identity.keys_refresh", "must be at least 1s");
        found.unless(identity.keys_rest >= second, "identity.keys_rest", "must be at least 1s");
        let timeouts = second..=Duration::from_secs(30);
        found.unless(timeouts.contains(&identity.fetch_timeout), "identity.fetch_timeout", "must be 1s to 30s");
        found.unless(identity.enrolments_per_end_user > 0, "identity.enrolments_per_end_user", "must be at least 1");
        found.unless(identity.requests_per_partner > 0, "identity.requests_per_partner", "must be at least 1");
        found.unless(identity.requests_per_end_user > 0, "identity.requests_per_end_user", "must be at least 1");
        let bursts = second..=Duration::from_secs(3_600);
        found.unless(bursts.contains(&self.rates.burst), "rates.burst", "must be 1s to 1h");
        let egress = &self.egress;
        for network in &egress.private_networks {
            if let Err(why) = crate::net::http_rule::network(network) {
                found.unless(false, "egress.private_networks", &why);
            }
        }
        for (key, time) in [
            ("egress.connect_timeout", egress.connect_timeout),
            ("egress.first_byte_timeout", egress.first_byte_timeout),
            ("egress.between_bytes_timeout", egress.between_bytes_timeout),
            ("egress.timeout", egress.timeout),
            ("egress.idle_timeout", egress.idle_timeout),
            ("egress.time_per_execution", egress.time_per_execution),
        ] {
            found.unless(!time.is_zero(), key, "must be more than 0");
        }
        found.unless(egress.connections_per_partner > 0, "egress.connections_per_partner", "must be at least 1");
        found.unless(
            egress.connections_max >= egress.connections_per_partner,
            "egress.connections_max",
            "must be at least egress.connections_per_partner",
        );
        found.unless(egress.body_bytes_max > 0, "egress.body_bytes_max", "must be at least 1");
        found.unless(
            (1..=1_000).contains(&egress.upstreams_per_partner),
            "egress.upstreams_per_partner",
            "must be 1 to 1000",
        );
        found.unless(egress.calls_at_once > 0, "egress.calls_at_once", "must be at least 1");
        found.unless(self.records.buffer > 0, "records.buffer", "must be at least 1");
        found.unless(!self.records.flush.is_zero(), "records.flush", "must be more than 0");
        found.unless(!self.secrets.poll.is_zero(), "secrets.poll", "must be more than 0");
        found.unless(self.secrets.settle >= self.secrets.poll, "secrets.settle", "must be at least secrets.poll");
        if found.0.is_empty() { Ok(()) } else { Err(found) }
    }

    /// The host of `server.root_url`, in lower case and without port.
    pub fn root_host(&self) -> Option<String> {
        let url: http::Uri = self.server.root_url.parse().ok()?;
        matches!(url.scheme_str(), Some("http" | "https")).then(|| url.host().map(str::to_ascii_lowercase)).flatten()
    }

    /// Partner P proves a domain of its own by a record that names `P.TARGET`, or `P-api.TARGET`.
    pub fn domain_target(&self) -> String {
        match self.server.domain_target.as_str() {
            "" => self.root_host().unwrap_or_default(),
            target => target.to_owned(),
        }
    }

    /// Is the domain of functions the host of a partner with this id, or of its API?
    pub fn is_functions_domain_of(&self, partner: &str) -> bool {
        let functions = &self.server.functions_domain;
        let label = self.root_host().and_then(|root| crate::rules::label_below(functions, &root).map(str::to_owned));
        label.is_some_and(|label| label.strip_suffix("-api").unwrap_or(&label) == partner)
    }

    /// An address below the root: `acme` → `http://acme.localhost:8080`.
    pub fn url_of(&self, label: &str) -> String {
        self.server.url_of(label)
    }
}

impl Server {
    /// An address below the root: `acme` → `http://acme.localhost:8080`.
    pub fn url_of(&self, label: &str) -> String {
        self.root_url.trim_end_matches('/').replacen("://", &format!("://{label}."), 1)
    }
}

/// Labels of a-z, 0-9 and `-`, with dots between them.
fn is_domain(text: &str) -> bool {
    text.len() <= 180 && text.split('.').all(crate::rules::is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_of_functions_is_not_above_the_root() {
        let with = |root: &str, functions: &str| {
            let overrides = [("server.root_url", root.to_owned()), ("server.functions_domain", functions.to_owned())];
            Settings::load(None, &overrides).map_err(|found| found.to_string())
        };
        for functions in ["", "functions.localhost", "functions.example", "f.larder.example", "xlarder.example"] {
            with("https://larder.example", functions).unwrap();
        }
        for functions in ["larder.example", "example", "Functions.Example", "a..b", ".a", "a.", "a b", "-a.example"] {
            let found = with("https://larder.example", functions).unwrap_err();
            assert!(found.contains("server.functions_domain"), "{functions}: {found}");
        }
        let settings = with("https://larder.example:8443", "acme.larder.example").unwrap();
        assert!(settings.is_functions_domain_of("acme") && !settings.is_functions_domain_of("other"));
        assert!(with("http://localhost", "acme-api.localhost").unwrap().is_functions_domain_of("acme"));
        assert!(!with("http://localhost", "").unwrap().is_functions_domain_of(""));
    }

    #[test]
    fn the_defaults_are_fine_and_complete() {
        let settings = Settings::load(None, &[]).unwrap();
        assert_eq!(settings.build.upload_bytes_max, 30_000_000);
        assert_eq!(settings.url_of("acme"), "http://acme.localhost:8080");
    }

    #[test]
    fn all_complaints_come_at_once_and_name_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("larder.toml");
        let text = "[worker]\nlease = \"1s\"\nattempts = 0\n[server]\nroot_url = \"ftp://x\"\n\
                    [egress]\nprivate_networks = [\"10.0.0.1/8\"]\ntimeout = \"0s\"\nconnections_max = 1\n";
        std::fs::write(&file, text).unwrap();
        let text = Settings::load(Some(&file), &[]).unwrap_err().to_string();
        for key in [
            "worker.lease",
            "worker.attempts",
            "server.root_url",
            "egress.private_networks",
            "egress.timeout",
            "egress.connections_max",
        ] {
            assert!(text.contains(key), "{text}");
        }
        std::fs::write(&file, "[worker]\nleese = \"1s\"\n").unwrap();
        let text = Settings::load(Some(&file), &[]).unwrap_err().to_string();
        assert!(text.contains("leese") && text.contains("worker"), "{text}");
    }
}

//! Settings: the commented defaults compiled in, then the operator's file, then `LARDER_…` from the environment.
//!
//! They are read once, in `main`. Wrong ones stop the process with all complaints, each naming its key.

mod addresses;
mod check;
mod front;
mod layers;
mod mail;
mod oidc;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use addresses::{address, networks};
pub use check::Complaints;
use ipnet::IpNet;
use layers::Layers;
pub use layers::{InForce, Origin, left_alone};
use serde::Deserialize;

use crate::administrators::Role;
use crate::certificates::ChallengeKind;
use crate::providers::RoleRule;

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
    oidc: Oidc,
    mail: Mail,
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
    /// All of them as they were read, with what has set each.
    #[serde(skip)] in_force: Vec<InForce>,
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
    emails: Vec<String>,
    #[serde(with = "networks")] networks: Vec<IpNet>,
} }
section! { Oidc {
    issuer: String,
    name: String,
    client_id: String,
    client_secret_file: PathBuf,
    scopes: Vec<String>,
    roles_claim: String,
    roles: Vec<RoleRule>,
    second_factor: Vec<String>,
    trusts_email: bool,
} }
section! { Mail {
    host: String,
    port: u16,
    security: MailSecurity,
    username: String,
    password: String,
    password_file: PathBuf,
    ca_file: PathBuf,
    sender: String,
    sender_name: String,
    per_recipient: u64,
    #[serde(with = "humantime_serde")] timeout: Duration,
    folder: PathBuf,
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
    #[serde(with = "humantime_serde")] bulk_undo: Duration,
    bulk_batch: u32,
    bulk_actions_per_partner: u32,
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
    #[serde(with = "humantime_serde")] audit_retention: Duration,
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

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    None,
    /// TLS is asked for on the open connection (RFC 3207). A server that has none is an error.
    StartTls,
    /// TLS from the start.
    Tls,
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

    /// `None`: for ever.
    pub fn audit_kept(&self) -> Option<Duration> {
        Some(self.audit_retention).filter(|age| !age.is_zero())
    }
}

/// What operators of the replaced platform know: its variable, our key, and how its value becomes ours.
const ALIASES: [(&str, &str, Alias); 18] = [
    ("_APP_DOMAIN_TARGET", "server.domain_target", Alias::Text),
    ("_APP_DOMAIN_FUNCTIONS", "server.functions_domain", Alias::Text),
    ("_APP_FUNCTIONS_TIMEOUT", "functions.timeout_max", Alias::Number("s")),
    ("_APP_FUNCTIONS_SIZE_LIMIT", "build.upload_bytes_max", Alias::Number("")),
    ("_APP_COMPUTE_SIZE_LIMIT", "build.upload_bytes_max", Alias::Number("")),
    ("_APP_FUNCTIONS_BUILD_TIMEOUT", "build.deadline", Alias::Number("s")),
    ("_APP_COMPUTE_BUILD_TIMEOUT", "build.deadline", Alias::Number("s")),
    ("_APP_MAINTENANCE_RETENTION_EXECUTION", "records.retention", Alias::Number("s")),
    ("_APP_OPTIONS_ABUSE", "rates.enabled", Alias::Choice(&[("enabled", "true"), ("disabled", "false")])),
    ("_APP_SMTP_HOST", "mail.host", Alias::Text),
    ("_APP_SMTP_PORT", "mail.port", Alias::Number("")),
    (
        "_APP_SMTP_SECURE",
        "mail.security",
        Alias::Choice(&[("tls", "tls"), ("ssl", "tls"), ("starttls", "starttls"), ("none", "none")]),
    ),
    ("_APP_SMTP_USERNAME", "mail.username", Alias::Text),
    ("_APP_SMTP_PASSWORD", "mail.password", Alias::Text),
    ("_APP_SYSTEM_EMAIL_ADDRESS", "mail.sender", Alias::Text),
    ("_APP_SYSTEM_EMAIL_NAME", "mail.sender_name", Alias::Text),
    ("_APP_CONSOLE_WHITELIST_EMAILS", "administrators.emails", Alias::Text),
    ("_APP_CONSOLE_WHITELIST_IPS", "administrators.networks", Alias::Text),
];

enum Alias {
    Text,
    /// One of these words, and what it is here. Nothing is no word, and leaves the default.
    Choice(&'static [(&'static str, &'static str)]),
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
                (Some(""), Alias::Choice(_)) => {}
                (given, Alias::Choice(words)) => match words.iter().find(|(word, _)| Some(*word) == given) {
                    Some((_, ours)) => layers.text(key, ours, Some(variable)),
                    None => {
                        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                        layers.complaints.add(format!("{variable} must be {}, not {value:?}", words.join(" or ")));
                    }
                },
                (Some(number), Alias::Number(unit)) if number.parse::<u64>().is_ok() => {
                    layers.text(key, &format!("{number}{unit}"), Some(variable));
                }
                (None, Alias::Text) => layers.complaints.add(format!("{variable} is no text in UTF-8")),
                (_, Alias::Number(_)) => {
                    layers.complaints.add(format!("{variable} must be a whole number, not {value:?}"));
                }
            }
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
        if let Some(settings) = &mut settings {
            settings.in_force = layers.in_force();
        }
        match settings {
            Some(settings) if layers.complaints.0.is_empty() => {
                settings.check().map_err(|found| found.naming(&layers)).map(|()| settings)
            }
            _ => Err(layers.complaints),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_fine_and_complete() {
        let settings = Settings::load(None, &[]).unwrap();
        assert_eq!(settings.build.upload_bytes_max, 30_000_000);
        assert_eq!(settings.url_of("acme"), "http://acme.localhost:8080");
    }
}

//! The roles of a process: the tasks that each of them starts. [`start`] makes what they share.

pub mod front;
pub mod scheduler;
pub mod worker;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use larder_egress::Client;
use larder_egress::upstreams::Upstreams;
use larder_model::settings::Settings;
use larder_model::time::{Clock, instant};
use larder_model::zones::Zones;
use larder_platform::administrators::{Administration, Passwords};
use larder_platform::bodies::Bodies;
use larder_platform::common::{self, Common, Sealer};
use larder_platform::directory::Directory;
use larder_platform::execution::Executor;
use larder_platform::fronts::{Fronts, Known};
use larder_platform::idempotency_keys::Idempotency;
use larder_platform::identity::Identities;
use larder_platform::jobs::fairness::Fairness;
use larder_platform::jobs::retention::{self, Retention};
use larder_platform::key_rotation;
use larder_platform::ledger::{self, Ledger};
use larder_platform::objects::Objects;
use larder_platform::providers::Provider;
use larder_platform::rates::Rates;
use larder_platform::run_keys::RunKeys;
use larder_platform::tls::Certificates;
use larder_platform::uploads::Staging;
use larder_platform::{admission, keys, stored};
use larder_runtime::Runtime;
use larder_secrets::{Secrets, private_files};
use larder_server::api::realtime::Sockets;
use larder_server::app::{App, Parts, Streams};
use larder_server::listener::{self, Listeners};
use larder_signals::lifecycle::Lifecycle;
use larder_signals::{Signals, Work};
use larder_store::Store;

use crate::{machine, telemetry};
pub use larder_server::listener::bind;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// The web endpoint and the API.
    Web,
    /// Executions, builds, events and fan-outs.
    Worker,
    /// Schedules and feeds.
    Scheduler,
    /// Retention.
    Maintenance,
    /// Stands before the core and passes on to it what everybody may reach. It has no database and no other role.
    Front,
}

impl Role {
    /// Those of a process with a database.
    pub const ALL: [Role; 4] = [Role::Web, Role::Worker, Role::Scheduler, Role::Maintenance];

    /// Kinds of work whose notifications go to one process each.
    fn works_on(self) -> &'static [Work] {
        match self {
            Role::Web | Role::Maintenance | Role::Front => &[],
            Role::Worker => &[Work::Executions, Work::Events, Work::Fanouts, Work::Builds],
            Role::Scheduler => &[Work::Schedules, Work::Feeds],
        }
    }
}

/// Opens everything and makes what the roles share. Only the ledger's writer runs yet.
pub async fn start(
    mut settings: Settings,
    secrets: Secrets,
    operator_key: &str,
    clock: Clock,
    life: &Lifecycle,
) -> anyhow::Result<App> {
    let data = settings.data.clone();
    machine::share_out(&mut settings, machine::memory_bytes());
    private_files::tighten(&data);
    if let Some(folder) = settings.objects.url.strip_prefix("file://") {
        private_files::tighten(Path::new(folder));
    }
    let store = Store::open(&settings.database, &data).await.context("the database could not be opened")?;
    if store.is_embedded() {
        // The database belongs to this process alone, so every other holder of a lease is dead.
        store.end_build_claims(clock.now_ms()).await?;
        let taken_over = store.end_all_leases(clock.now_ms()).await?;
        store.end_all_range_leases(clock.now_ms()).await?;
        store.end_feed_leases(None, clock.now_ms()).await?;
        if taken_over > 0 {
            tracing::info!(executions = taken_over, "{taken_over} executions of a process that died are taken over");
        }
    }
    let kind = if store.is_embedded() { "embedded" } else { "MariaDB" };
    let notifications = match (store.is_embedded(), settings.redis.url.is_empty()) {
        (true, _) => "within this process",
        (false, true) => "within this process; without Redis processes find each other's work by polling",
        (false, false) => "Redis",
    };
    let holder = clock.ulid();
    tracing::info!(process.id = %holder, "database: {kind}; notifications: {notifications}");
    if !store.is_embedded() {
        let bytes = store.body_bytes_max();
        tracing::info!(bytes, "bodies of queued executions may have {bytes} bytes, by max_allowed_packet of MariaDB");
    }
    for warning in store.warnings() {
        tracing::warn!("database: {warning}");
    }
    key_rotation::join(&store, &secrets, &holder, clock.now_ms()).await?;
    let objects = Objects::open(&settings.objects, &data)?;
    let staging = Staging::open(&settings.build, &data)
        .context("the folder \"uploads\" in the data folder could not be created")?;
    let signals = Signals::open(&settings.redis).await?;
    let zones = Zones::new(&settings.scheduler.zoneinfo);
    let rules = zones.facts();
    tracing::info!("time zone rules: {rules}");
    if rules.are_old(instant(clock.now_ms())) {
        tracing::warn!(
            "the time zone rules are old: {rules}; bring tzdata up to date, or name a folder in scheduler.zoneinfo"
        );
    }
    let directory = Directory::load(store.clone(), secrets.clone(), signals.clone(), zones.clone(), &settings).await?;
    let runtime = Runtime::new(larder_runtime::Settings {
        cache_dir: data.join("artifacts"),
        seal_key: secrets.artifact_key(),
        compiler: vec![
            std::env::current_exe().context("the path of this program")?.into(),
            larder_runtime::COMPILE.into(),
        ],
        compile_deadline: settings.build.deadline,
        compile_memory_bytes: settings.build.memory_bytes,
        instances_max: settings.runtime.instances_max,
        memory_bytes_max: settings.runtime.memory_bytes_max,
        memory_bytes_per_tenant: settings.runtime.memory_bytes_per_partner,
        builds_max: settings.build.at_once,
    })
    .map_err(anyhow::Error::msg)
    .context("the runtime could not be started")?;
    let egress = Client::new(&settings.egress)?;
    let upstreams =
        Upstreams::new(egress.clone(), clock.clone(), signals.clone(), secrets.clone(), Arc::new(directory.clone()));
    let ledger_settings = ledger::Settings { flush: settings.records.flush, buffer: settings.records.buffer };
    let (ledger, writer) = Ledger::new(store.clone(), clock.clone(), &ledger_settings);
    life.spawn_last("ledger", writer);
    let bodies = Bodies::new(&settings.server);
    let rates = Rates::new(&settings.rates, clock.clone(), signals.clone());
    let common = Common::new(common::Parts {
        settings,
        clock,
        zones,
        store,
        directory,
        signals,
        fairness: Fairness::default(),
        rates,
        bodies,
        certificates: Certificates::default(),
        life: life.clone(),
        holder,
    });
    let identities = Identities { common: common.clone(), egress: egress.clone() };
    Ok(App::new(Parts {
        sealer: Sealer { common: common.clone(), secrets: secrets.clone() },
        sockets: Sockets::new(&common.settings.server),
        streams: Streams::default(),
        administration: Administration {
            passwords: Passwords::new(common.settings.administrators.sign_ins_at_once),
            secrets: secrets.clone(),
            common: common.clone(),
        },
        idempotency: Idempotency { common: common.clone(), secrets: secrets.clone(), counts: Arc::default() },
        fronts: Fronts { common: common.clone(), secrets: secrets.clone(), known: Known::default() },
        provider: Provider { common: common.clone(), identities: identities.clone(), known: Default::default() },
        identities,
        executor: Executor {
            common,
            runtime,
            objects,
            secrets,
            ledger,
            gates: Arc::default(),
            run_keys: RunKeys::default(),
            egress,
            upstreams,
        },
        staging,
        operator_key_hash: keys::hash(operator_key),
    }))
}

/// Starts the tasks of these roles and those of every process.
pub fn run(app: &App, roles: &[Role], listeners: Listeners) -> anyhow::Result<()> {
    app.life.spawn("partners", app.directory.clone().watch(app.settings.partners.poll, app.life.clone()));
    app.life.spawn("master keys", key_rotation::watch(app.sealer.clone()));
    app.signals.start(&roles.iter().flat_map(|role| role.works_on()).copied().collect::<Vec<_>>(), &app.life);
    if app.settings.server.calls_per_minute > 0 {
        app.life.spawn("calls", admission::share(app.common.clone()));
    }
    app.life.spawn("egress", app.egress.clone().tend(app.life.drain()));
    app.life.spawn("stored bytes", stored::follow(app.common.clone()));
    let retention =
        Retention { common: app.common.clone(), runtime: app.runtime.clone(), objects: app.objects.clone() };
    retention::start_own(&retention);
    listener::start(app, listeners, telemetry::metrics())?;
    if roles.contains(&Role::Worker) {
        worker::start(app);
    }
    if roles.contains(&Role::Scheduler) {
        scheduler::start(app);
    }
    if roles.contains(&Role::Maintenance) {
        retention::start(&retention);
    }
    Ok(())
}

/// The last step of the shutdown: writes the ledger's buffer, then releases the leases of executions that this process no
/// longer runs.
pub async fn close(app: &App) {
    app.ledger.close().await;
    let now = app.clock.now_ms();
    let feeds = app.store.end_feed_leases(Some(&app.holder), now).await.map(|_| ());
    let ranges = app.store.end_range_leases(&app.holder, now).await;
    if let Err(err) = app.store.end_leases(&app.holder, now).await.map(|_| ()).and(feeds).and(ranges) {
        tracing::warn!(error = %err, "leases could not be released; they expire");
    }
    if let Err(err) = key_rotation::leave(app).await {
        tracing::warn!(error = %err, "this process could not be removed from the users of master keys; it is removed when it is taken for dead");
    }
}

/// Reads a key from a file. If the setting is empty, the error names it.
pub fn key_from(file: &Path, setting: &str) -> anyhow::Result<String> {
    anyhow::ensure!(!file.as_os_str().is_empty(), "{setting} must name a file; only `larder dev` makes its own");
    let text = larder_secrets::read_private(file).with_context(|| format!("{setting}: {}", file.display()))?;
    let key = text.trim().to_owned();
    anyhow::ensure!(key.len() >= 32, "{setting}: the key in {} is shorter than 32 characters", file.display());
    let placeholder = key.chars().all(|c| key.starts_with(c));
    anyhow::ensure!(!placeholder, "{setting}: the key in {} is a placeholder (openssl rand -hex 32)", file.display());
    Ok(key)
}

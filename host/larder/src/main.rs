//! The one binary: `larder serve` and `larder dev` run the platform, the other commands are its client.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use larder::roles::{self, Role};
use larder::{dev, doors, health, telemetry};
use larder_model::settings::{self, DEFAULTS, DEV_PARTNER, Settings};
use larder_model::time::Clock;
use larder_secrets::{Secrets, private_files};
use larder_signals::lifecycle::Lifecycle;

/// The system's allocator would not return most of the memory of bodies and answers, in an arena for each thread.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A self-hosted function platform: WebAssembly components that react to requests, events and schedules.
#[derive(Parser)]
#[command(name = "larder", version, after_help = larder_cli::EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    globals: larder_cli::Globals,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in one process for development, with a partner "demo"
    Dev(Dev),
    /// Run Larder
    Serve(Serve),
    /// Print the server's settings with their defaults and meaning
    #[command(after_help = "Examples:\n  larder settings > larder-server.toml")]
    Settings,
    /// Print who reaches what, or which door a request takes
    Doors(Doors),
    /// Ask the process of these settings whether it is ready: the health check of its container
    Health(Health),
    #[command(flatten)]
    Client(larder_cli::Command),
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  larder dev                            # until Ctrl-C
  larder dev --background               # for the rest of a script; ends with:
  larder dev --stop
  larder dev --listen 127.0.0.1:8081 --internal 127.0.0.1:9091 --data other-data")]
struct Dev {
    /// Where the web endpoint and the API listen
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// Where health and metrics are served
    #[arg(long, default_value = "127.0.0.1:9090")]
    internal: String,
    /// Folder of all persistent data
    #[arg(long, default_value = "./larder-data")]
    data: PathBuf,
    /// File of settings, as for `serve`
    #[arg(long)]
    config: Option<PathBuf>,
    /// Run in the background and return when it serves; its log is dev.log in the data folder
    #[arg(long, conflicts_with = "stop")]
    background: bool,
    /// Stop the background process of this data folder
    #[arg(long)]
    stop: bool,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  larder settings > larder-server.toml  # name secrets.master_key_file and secrets.operator_key_file in it
  larder serve --config larder-server.toml
  larder serve --config larder-server.toml --roles worker
  larder serve --config larder-front.toml --roles front  # needs front.cores and `larder front enrol`, and no database")]
struct Serve {
    /// What this process does. The embedded database serves one process, which then has all roles; over a MariaDB there
    /// may be any number of processes of each. A front has that role alone.
    #[arg(long, value_delimiter = ',', default_values = ["web", "worker", "scheduler", "maintenance"])]
    roles: Vec<Role>,
    /// File of settings; `larder settings` prints one with the defaults
    #[arg(long)]
    config: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  larder health --config larder-server.toml && echo ready  # asks at server.internal")]
struct Health {
    /// File of settings, as for `serve`
    #[arg(long)]
    config: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  larder doors --config larder-server.toml
  larder doors --config larder-server.toml https://acme-api.bank.example/v1/functions --from 203.0.113.9")]
struct Doors {
    /// Address of a request to explain
    url: Option<String>,
    /// The client that sends it
    #[arg(long, default_value = "127.0.0.1", requires = "url")]
    from: std::net::IpAddr,
    /// File of settings, as for `serve`
    #[arg(long)]
    config: Option<PathBuf>,
}

/// Polls of tasks between two looks at sockets and timers. A poll of a guest may compute for milliseconds, so tokio's own
/// number would keep a request waiting for half a second.
const EVENT_INTERVAL: u32 = 8;

fn main() -> ExitCode {
    // Before anything else: the compiler child must be small, and its memory is limited from here on.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == larder_runtime::COMPILE) {
        return larder_runtime::compiler_main();
    }
    let arguments = Arguments::parse();
    // Before threads are started. Not for client commands, which write files of a project.
    if matches!(arguments.command, Command::Dev(_) | Command::Serve(_)) {
        private_files::keep_private();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().event_interval(EVENT_INTERVAL).enable_all().build()
    {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("error: the threads could not be started: {err}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match arguments.command {
            Command::Client(command) => Ok(larder_cli::run(command, arguments.globals).await),
            Command::Settings => {
                print!("{DEFAULTS}");
                Ok(ExitCode::SUCCESS)
            }
            Command::Doors(options) => {
                let settings = Settings::load(options.config.as_deref(), &[])?;
                match &options.url {
                    None => print!("{}", doors::table(&settings)),
                    Some(url) => print!("{}", doors::explain(&settings, url, options.from)?),
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Health(options) => {
                health::check(&Settings::load(options.config.as_deref(), &[])?).await?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Dev(options) => run_dev(options).await,
            Command::Serve(options) => run_serve(options).await,
        }
    });
    // Aborted tasks must not delay the exit.
    runtime.shutdown_background();
    done.unwrap_or_else(|err| {
        eprintln!("error: {err:#}");
        ExitCode::FAILURE
    })
}

/// Logs unknown variables, so that a misspelt setting can be found.
fn log_unknown_variables() {
    let names = settings::left_alone();
    if !names.is_empty() {
        tracing::debug!(
            names = names.join(" "),
            "environment variables that begin with LARDER_ and are no settings are ignored"
        );
    }
}

async fn run_serve(options: Serve) -> anyhow::Result<ExitCode> {
    not_a_manifest(options.config.as_deref())?;
    let mut settings = Settings::load(options.config.as_deref(), &[])?;
    telemetry::logs(&settings.log)?;
    log_unknown_variables();
    if roles::front::check(&options.roles, &settings)? {
        return run_front(settings).await;
    }
    for role in Role::ALL {
        anyhow::ensure!(
            !settings.database.url.is_empty() || options.roles.contains(&role),
            "--roles: the embedded database serves one process, so this one must have all roles; {role:?} is missing \
             (database.url names a MariaDB for several)"
        );
    }
    anyhow::ensure!(
        !settings.secrets.master_key_file.as_os_str().is_empty(),
        "secrets.master_key_file must name a file (openssl rand -hex 32)"
    );
    let secrets = Secrets::from_file(&settings.secrets.master_key_file).context("secrets.master_key_file")?;
    let operator_key = roles::key_from(&settings.secrets.operator_key_file, "secrets.operator_key_file")?;
    let life = Lifecycle::default();
    let web = options.roles.contains(&Role::Web);
    let listeners = roles::bind(&mut settings, web).await?;
    let app = roles::start(settings, secrets, &operator_key, Clock::System, &life).await?;
    roles::run(&app, &options.roles, listeners)?;
    let (server, version) = (&app.settings.server, larder_model::VERSION);
    let roles: Vec<String> = options.roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect();
    let roles = roles.join(",");
    if web {
        tracing::info!(listen = %server.listen, internal = %server.internal, root_url = server.root_url, roles, "larder {version} serves");
    } else {
        tracing::info!(internal = %server.internal, roles, "larder {version} works");
    }
    Ok(life.run(server.grace, roles::close(&app)).await)
}

async fn run_front(mut settings: Settings) -> anyhow::Result<ExitCode> {
    let life = Lifecycle::default();
    let listeners = roles::bind(&mut settings, true).await?;
    let front = roles::front::run(settings, listeners, &life)?;
    let (server, version) = (&front.settings.server, larder_model::VERSION);
    tracing::info!(listen = %server.listen, internal = %server.internal, root_url = server.root_url, roles = "front", "larder {version} serves");
    Ok(life.run(server.grace, async {}).await)
}

/// Until November 2026 the server's file was called larder.toml, as the manifest of a function is.
fn not_a_manifest(file: Option<&Path>) -> anyhow::Result<()> {
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    anyhow::ensure!(
        !text.lines().any(|line| line.trim_start().starts_with("[function]")),
        "--config: {} is the manifest of a function; the settings of the server are another file, usually \
         larder-server.toml (larder settings > larder-server.toml)",
        file.unwrap_or(Path::new("")).display()
    );
    Ok(())
}

async fn run_dev(options: Dev) -> anyhow::Result<ExitCode> {
    if options.stop {
        return dev::background::stop(&options.data);
    }
    if options.background {
        return dev::background::start(&options.data);
    }
    not_a_manifest(options.config.as_deref())?;
    let overrides = [
        ("server.listen", options.listen.clone()),
        ("server.internal", options.internal.clone()),
        ("data", options.data.display().to_string()),
    ];
    let mut settings = Settings::load(options.config.as_deref(), &overrides)?;
    roles::front::check(&Role::ALL, &settings)?;
    telemetry::logs(&settings.log)?;
    log_unknown_variables();
    if settings.server.bare_partner.is_empty() {
        settings.server.bare_partner = DEV_PARTNER.into();
    }
    if settings.egress.private_networks.is_empty() {
        settings.egress.private_networks = dev::PRIVATE_NETWORKS.map(Into::into).into();
    }
    if !settings.administrators.emails.is_empty() {
        // Whose links are printed below.
        settings.administrators.emails.push("@localhost".into());
    }
    if !settings.mail.is_on() {
        settings.mail.folder = settings.data.join("mails");
        settings.mail.sender = "larder@localhost".into();
    }
    let operator_key = dev::operator_key(&settings.data)?;
    let secrets = Secrets::from_file_or_new(&settings.data.join("master.key"))?;
    let life = Lifecycle::default();
    let listeners = roles::bind(&mut settings, true).await?;
    settings.server.root_url = format!("http://localhost:{}", settings.server.listen.port());
    let app = roles::start(settings, secrets, &operator_key, Clock::System, &life).await?;
    let endpoint = dev::prepare(&app, &operator_key).await?;
    let consoles = dev::consoles(&app).await?;
    roles::run(&app, &Role::ALL, listeners)?;
    let env = Path::new(&app.settings.data).join("dev.env");
    println!("Larder {} serves the partner \"{}\".", larder_model::VERSION, DEV_PARTNER);
    println!("  API        {endpoint}");
    println!(
        "  web        {}   (in a browser also {})",
        endpoint.trim_end_matches("/v1"),
        app.settings.url_of(DEV_PARTNER)
    );
    println!("  console    {}   (signs in, on this machine only)", consoles.partner);
    println!("  operator   {}", consoles.operator);
    if let Some(tls) = app.settings.tls.listen {
        println!("  TLS        https://{tls}");
    }
    println!("  internal   http://{}/health/ready, /metrics", app.settings.server.internal);
    println!("  keys       {}   (the other commands find it from this folder)", env.display());
    Ok(life.run(app.settings.server.grace, roles::close(&app)).await)
}

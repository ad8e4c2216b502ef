//! `larder dev`: all roles in one process, with a partner `demo` and a file of keys that the other commands read.

pub mod background;

use std::path::Path;

use anyhow::Context;
use larder_model::ApiKey;
use larder_model::administrators::{LinkKind, Role, RoleIn};
use larder_model::ids::PartnerId;
use larder_model::settings::DEV_PARTNER;
use larder_model::time::Clock;
use larder_platform::administrators::{self, NewAdministrator};
use larder_platform::keys::{self, KeyText, NewKey};
use larder_platform::{administrator_links, partners};
use larder_secrets::write_private;
use larder_server::app::App;
use larder_wire::scopes::Scope;

/// Networks that functions may be granted besides the public internet: services on the developer's own machine.
pub const PRIVATE_NETWORKS: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// The operator key of a data folder, created at the first start.
pub fn operator_key(data: &Path) -> anyhow::Result<String> {
    std::fs::create_dir_all(data).with_context(|| format!("data: {}", data.display()))?;
    let file = data.join("operator.key");
    if !file.exists() {
        let key = KeyText::generate(&Clock::System).text;
        write_private(&file, &format!("{key}\n")).with_context(|| file.display().to_string())?;
    }
    crate::roles::key_from(&file, "operator.key")
}

/// Ensures that the partner exists and has a key, and writes `DATA/dev.env`. Returns the API's endpoint.
pub async fn prepare(app: &App, operator_key: &str) -> anyhow::Result<String> {
    let partner: PartnerId = DEV_PARTNER.parse()?;
    let file = app.settings.data.join("dev.env");
    if app.directory.tenant(&partner).is_none() {
        match partners::create(app, &partner, "Demo").await {
            Ok(_) => {}
            // Another process with the same database has just created it.
            Err(larder_platform::Error::PartnerExists) => app.directory.reload(&partner).await?,
            Err(err) => return Err(err.into()),
        }
    }
    let key = match stored_key(app, &partner, &file) {
        Some(key) => key,
        None => {
            let new = NewKey { name: "larder dev".into(), scopes: scopes().collect(), expires_at_ms: None, of: None };
            keys::create(app, &partner, new).await?.1
        }
    };
    let endpoint = format!("http://{}/v1", app.settings.server.listen);
    let text = format!(
        "LARDER_ENDPOINT={endpoint}\nLARDER_PARTNER={DEV_PARTNER}\nLARDER_KEY={key}\nLARDER_OPERATOR_KEY={operator_key}\n"
    );
    write_private(&file, &text).with_context(|| file.display().to_string())?;
    Ok(endpoint)
}

/// Links that sign in to the consoles, from this machine alone: of the demo partner, and of the installation.
pub struct Consoles {
    pub partner: String,
    pub operator: String,
}

/// Ensures that there is somebody for each console, without a password.
pub async fn consoles(app: &App) -> anyhow::Result<Consoles> {
    let partner = Some(DEV_PARTNER.parse()?);
    Ok(Consoles {
        partner: link(app, "demo@localhost", "Demo", RoleIn { partner, role: Role::Administrator }).await?,
        operator: link(app, "operator@localhost", "Operator", RoleIn { partner: None, role: Role::Operator }).await?,
    })
}

async fn link(app: &App, email: &str, name: &str, role: RoleIn) -> anyhow::Result<String> {
    let known = async || match app.store.password_of_email(email).await? {
        Some((id, _)) => app.store.administrator(&id).await,
        None => Ok(None),
    };
    let new = NewAdministrator { email: email.into(), name: name.into(), password: None, roles: vec![role] };
    let administrator = match known().await? {
        Some(known) => known,
        None => match administrators::create(&app.administration, new).await {
            // Another process with the same database has just created it.
            Err(larder_platform::Error::AdministratorExists) => known().await?.context("an administrator")?,
            created => created?,
        },
    };
    Ok(administrator_links::make(app, &administrator, LinkKind::Session).await?.url)
}

/// The key of an earlier start, if it is still valid and has every scope.
fn stored_key(app: &App, partner: &PartnerId, file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let key = text.lines().find_map(|line| line.strip_prefix("LARDER_KEY="))?.to_owned();
    let hash = hex::encode(keys::hash(&key));
    let all = |known: &ApiKey| scopes().all(|scope| known.scopes.contains(&scope));
    app.directory.tenant(partner)?.keys.values().any(|known| known.secret_hash == hash && all(known)).then_some(key)
}

fn scopes() -> impl Iterator<Item = String> {
    Scope::ALL.iter().map(|scope| scope.words()[0].to_owned())
}

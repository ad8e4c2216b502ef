//! `larder dev`: everything in one process, with a partner `demo` and keys in a file that the other commands find.

pub mod background;

use std::path::Path;

use anyhow::Context;
use larder_model::ApiKey;
use larder_model::ids::PartnerId;
use larder_model::settings::DEV_PARTNER;
use larder_model::time::Clock;
use larder_secrets::write_private;
use larder_server::app::App;
use larder_server::auth::{self, KeyText};
use larder_wire::scopes::Scope;

/// What functions may be granted beside the public internet: services on the developer's own machine.
pub const PRIVATE_NETWORKS: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// The operator key of a data folder, made at the first start.
pub fn operator_key(data: &Path) -> anyhow::Result<String> {
    std::fs::create_dir_all(data).with_context(|| format!("data: {}", data.display()))?;
    let file = data.join("operator.key");
    if !file.exists() {
        let key = KeyText::generate(&Clock::System).text;
        write_private(&file, &format!("{key}\n")).with_context(|| file.display().to_string())?;
    }
    crate::roles::key_from(&file, "operator.key")
}

/// Makes sure that the partner and a key of it are there, and writes `DATA/dev.env`. Gives the endpoint.
pub async fn prepare(app: &App, operator_key: &str) -> anyhow::Result<String> {
    let partner: PartnerId = DEV_PARTNER.parse()?;
    let file = app.settings.data.join("dev.env");
    if app.directory.tenant(&partner).is_none() {
        match app.store.insert_partner(&partner, "Demo", app.clock.now_ms()).await {
            // Another process over the same database was a moment earlier.
            Ok(_) | Err(larder_store::Error::Conflict { .. }) => {}
            Err(err) => return Err(err.into()),
        }
        app.directory.reload(&partner).await?;
    }
    let key = match kept_key(app, &partner, &file) {
        Some(key) => key,
        None => make_key(app, &partner, &app.clock).await?,
    };
    let endpoint = format!("http://{}/v1", app.settings.server.listen);
    let text = format!(
        "LARDER_ENDPOINT={endpoint}\nLARDER_PARTNER={DEV_PARTNER}\nLARDER_KEY={key}\nLARDER_OPERATOR_KEY={operator_key}\n"
    );
    write_private(&file, &text).with_context(|| file.display().to_string())?;
    Ok(endpoint)
}

/// The key of an earlier start, if it still opens the door and may do all that there is to do.
fn kept_key(app: &App, partner: &PartnerId, file: &Path) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let key = text.lines().find_map(|line| line.strip_prefix("LARDER_KEY="))?.to_owned();
    let hash = hex::encode(auth::hash(&key));
    let all = |known: &ApiKey| scopes().all(|scope| known.scopes.contains(&scope));
    app.directory.tenant(partner)?.keys.values().any(|known| known.secret_hash == hash && all(known)).then_some(key)
}

fn scopes() -> impl Iterator<Item = String> {
    Scope::ALL.iter().map(|scope| scope.words()[0].to_owned())
}

async fn make_key(app: &App, partner: &PartnerId, clock: &Clock) -> anyhow::Result<String> {
    let KeyText { id, text: key } = KeyText::generate(clock);
    let record = ApiKey {
        id,
        partner: partner.clone(),
        name: "larder dev".into(),
        secret_hash: hex::encode(auth::hash(&key)),
        scopes: scopes().collect(),
        created_at_ms: clock.now_ms(),
        expires_at_ms: None,
    };
    app.store.insert_key(&record).await?;
    app.directory.reload(partner).await?;
    Ok(key)
}

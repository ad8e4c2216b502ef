//! The key and the certificate of a front, in its folder (`front.folder`).
//!
//! The certificate is renewed for the same key when two thirds of its lifetime are over. A file that somebody has put there
//! meanwhile is taken at once.

use std::path::Path;

use http::Method;
use larder_model::certificates::renew_at_ms;
use larder_model::time::{Millis, rfc3339};
use larder_platform::fronts::authority::Identity;
use larder_secrets::{read_private, replace_private};

use super::Front;

/// What `larder front` writes.
const KEY: &str = "front.key";
const CERTIFICATE: &str = "front.pem";

/// Reads both files. An error says what to do.
pub fn load(folder: &Path, now: Millis) -> Result<Identity, String> {
    let (key_file, file) = (folder.join(KEY), folder.join(CERTIFICATE));
    let missing = |err: &std::io::Error, file: &Path| {
        format!(
            "front.folder: {}: {err}; on this machine `larder front request --folder {}` makes the key, and what \
             `larder front enrol` prints goes into {CERTIFICATE} there",
            file.display(),
            folder.display()
        )
    };
    let key = read_private(&key_file).map_err(|err| missing(&err, &key_file))?;
    let chain = std::fs::read_to_string(&file).map_err(|err| missing(&err, &file))?;
    let identity =
        Identity::from_pem(&chain, &key).map_err(|why| format!("front.folder: {}: {why}", file.display()))?;
    if identity.not_after_ms <= now {
        return Err(format!(
            "front.folder: the certificate in {} has ended at {}: enrol the front again (larder front enrol {})",
            file.display(),
            rfc3339(identity.not_after_ms),
            identity.name
        ));
    }
    Ok(identity)
}

/// Takes what is in the folder now, and renews it when it is time.
pub async fn tend(front: &Front) {
    let now = front.clock.now_ms();
    let current = front.cores.identity.load_full();
    match load(&front.settings.front.folder, now) {
        Ok(found) if found.not_after_ms != current.not_after_ms || found.name != current.name => {
            tracing::info!(front = found.name, "another certificate of this front was found");
            front.cores.identity.store(found.into());
        }
        Ok(_) => {}
        Err(why) => tracing::warn!(why, "the certificate of this front cannot be read again: {why}"),
    }
    let current = front.cores.identity.load_full();
    if now < renew_at_ms(current.not_before_ms, current.not_after_ms) {
        return;
    }
    match renew(front).await {
        Ok(until) => tracing::info!(until, "this front has a new certificate, until {until}"),
        Err(why) => {
            let end = rfc3339(current.not_after_ms);
            tracing::warn!(why, "the certificate of this front, which ends at {end}, could not be renewed: {why}");
        }
    }
}

async fn renew(front: &Front) -> Result<String, String> {
    let folder = &front.settings.front.folder;
    let pem = front.ask(Method::POST, "/renewal").await?.ok_or("the core does not renew it")?;
    let pem = std::str::from_utf8(&pem).map_err(|err| err.to_string())?;
    let key = read_private(&folder.join(KEY)).map_err(|err| err.to_string())?;
    let identity = Identity::from_pem(pem, &key)?;
    let until = rfc3339(identity.not_after_ms);
    // It is used even if it cannot be written, and the next one is asked for in time.
    front.cores.identity.store(identity.into());
    replace_private(&folder.join(CERTIFICATE), pem)
        .map_err(|err| format!("front.folder: it cannot be written: {err}"))?;
    Ok(until)
}

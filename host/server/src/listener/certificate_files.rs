//! The certificate of `tls.certificate_file` and `tls.key_file`: read when the process starts, and again when they change.
//!
//! The rule: **what does not do changes nothing**. A pair of which one half is not written yet, or that is for somebody else, is
//! reported, and the one before it is presented until there is a better one.

use std::path::Path;

use anyhow::Context;
use larder_model::settings::Tls;
use larder_platform::tls::Certificate;
use larder_secrets::read_private;

use super::Door;

/// Both files as they are.
#[derive(PartialEq, Eq)]
pub struct Pair {
    chain: String,
    key: String,
}

/// Reads them for the first time. An error says which file is wrong, by its setting.
pub fn load(door: &Door) -> anyhow::Result<Pair> {
    let pair = read(&door.settings().tls).map_err(anyhow::Error::msg)?;
    present(door, &pair).map_err(anyhow::Error::msg).context("the certificate cannot be presented")?;
    Ok(pair)
}

/// Looks for changes of what is `presented` until the process drains.
pub async fn watch(door: Door, presented: Pair) {
    let drain = door.life().drain();
    let mut last = Ok(presented);
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            () = tokio::time::sleep(door.settings().tls.poll) => {}
        }
        let settings = door.settings().tls.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || read(&settings)).await else { continue };
        if now == last {
            continue;
        }
        let exchanged = match &now {
            Ok(pair) => present(&door, pair),
            Err(why) => Err(why.clone()),
        };
        let result = match exchanged {
            Ok(()) => {
                tracing::info!("the certificate of tls.certificate_file has changed and is presented from now on");
                "ok"
            }
            Err(why) => {
                tracing::warn!("the certificate is not exchanged, the one before it stays: {why}");
                door.certificates().refuse_default(why);
                "refused"
            }
        };
        metrics::counter!("larder_certificate_reloads_total", "result" => result).increment(1);
        last = now;
    }
}

fn present(door: &Door, pair: &Pair) -> Result<(), String> {
    let files = &door.settings().tls;
    let named = |why: larder_platform::tls::Unfit| {
        format!(
            "tls.certificate_file {}, tls.key_file {}: {why}",
            files.certificate_file.display(),
            files.key_file.display()
        )
    };
    let certificate = Certificate::from_pem(&pair.chain, &pair.key, door.clock().now_ms()).map_err(named)?;
    certificate.is_for(&[&door.root, &door.settings().server.functions_domain]).map_err(named)?;
    door.certificates().set_default(certificate);
    Ok(())
}

fn read(files: &Tls) -> Result<Pair, String> {
    let named = |setting: &str, file: &Path, err: std::io::Error| format!("{setting}: {}: {err}", file.display());
    let chain = std::fs::read_to_string(&files.certificate_file)
        .map_err(|err| named("tls.certificate_file", &files.certificate_file, err))?;
    let key = read_private(&files.key_file).map_err(|err| named("tls.key_file", &files.key_file, err))?;
    Ok(Pair { chain, key })
}

//! Rotation of the master key, which all processes agree on, without downtime.
//!
//! * [`join`]: at the start, before anything is decrypted or encrypted.
//! * [`watch`]: reads the key file again, reports the keys that this process knows, and follows the sealing key.
//! * [`rotate`]: makes the first key of the file the sealing key and rewraps values under other keys, in batches. It can be
//!   interrupted anywhere and called again, also at another process.
//! * [`overview`]: how many values are under each key.
//!
//! A key becomes the sealing key once every live process knows it (`store/master_keys`). Each process adopts it at its next
//! poll, so no process meets a value that it cannot decrypt. A process that was wrongly taken for dead may meet an unknown key.
//! It reads its file again; if the key is not there either, operations that need the value fail as errors of the host.
//!
//! An old key may be removed when no value is under it and none can be written any more: for `secrets.settle`, a value that was
//! encrypted before the change, or read before it was rewrapped, may still be on its way into the database.

use std::time::{Duration, Instant};

use anyhow::Context;
use larder_model::audit::Action;
use larder_model::time::Millis;
use larder_secrets::keyring::MasterKeyId;
use larder_secrets::{Plain, Secrets};
use larder_store::sealed::{SEALED, SealedColumn, SealedRow};
use larder_store::{Agreed, KeyUser, SealingKey, Store};

use crate::audit::{self, Change};
use crate::common::{Common, Sealer};

/// A process that misses this many of its polls is taken for dead.
const POLLS_MISSED: u32 = 6;
/// Rows in one transaction.
const BATCH: usize = 50;
/// A call of [`rotate`] ends after this time, even if values are left.
const CALL: Duration = Duration::from_secs(10);
/// How many undecryptable values are named.
const NAMED: usize = 10;
/// Rows of processes that ended this long ago are removed.
const FORGOTTEN: Millis = 3_600_000;
const PSEUDONYMS: &str = "pseudonyms";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] larder_store::Error),
    #[error(transparent)]
    Secrets(#[from] larder_secrets::Error),
    #[error("the master key {wanted} is not the first of this process's file, {first} is")]
    NotFirst { wanted: MasterKeyId, first: MasterKeyId },
    /// Live processes that do not know the key.
    #[error("not every process knows the master key {key}")]
    NotEverywhere { key: MasterKeyId, users: Vec<KeyUser> },
}

/// The number of values under each key.
#[derive(Debug)]
pub struct Overview {
    pub sealing: SealingKey,
    /// The keys of this process's file, in its order.
    pub keys: Vec<KeyState>,
    /// Values under none of these keys, or in the format before values had keys of their own.
    pub otherwise: u64,
    pub users: Vec<KeyUser>,
    /// When no value under another key can be written any more; `None`: not every process has adopted the key yet.
    pub settled_at_ms: Option<Millis>,
}

#[derive(Debug)]
pub struct KeyState {
    pub id: MasterKeyId,
    pub values: u64,
    pub may_be_dropped: bool,
}

/// The result of one call of [`rotate`].
#[derive(Debug, Default)]
pub struct Rewrapped {
    pub values: u64,
    /// The first values that cannot be decrypted, by table and key.
    pub undecryptable: Vec<String>,
}

/// Adopts the sealing key of the installation and decrypts the keys that do not rotate.
pub async fn join(store: &Store, secrets: &Secrets, holder: &str, now: Millis) -> anyhow::Result<()> {
    let sealing = store.report_keys(&user(secrets, holder, now)).await?;
    if store.is_embedded() {
        // Every other process that it names is dead.
        store.forget_key_users("", now).await?;
    }
    if sealing.id != secrets.sealing() {
        if let Err(err) = secrets.seal_with(sealing.id, now) {
            store.forget_key_users(holder, now - FORGOTTEN).await?;
            let known: Vec<String> = secrets.known().iter().map(ToString::to_string).collect();
            anyhow::bail!(
                "secrets.master_key_file: this installation encrypts with the master key {}, the file has {}: {err}",
                sealing.id,
                known.join(", ")
            );
        }
        store.report_keys(&user(secrets, holder, now)).await?;
    }
    let context = ["installation", PSEUDONYMS];
    let sealed = match store.installation_key(PSEUDONYMS).await? {
        Some(sealed) => sealed,
        None => {
            let new = store.partners().await?.is_empty();
            anyhow::ensure!(
                new || fits(store, secrets).await?,
                "secrets.master_key_file: its keys decrypt no value of this installation, so it belongs to another"
            );
            let first = secrets.seal(&context, &secrets.first_pseudonym_key(new));
            store.first_installation_key(PSEUDONYMS, first, now).await?
        }
    };
    let key: Plain = secrets.open(&context, &sealed).context("secrets.master_key_file: the key of the pseudonyms")?;
    Ok(secrets.set_pseudonym_key(&key)?)
}

/// Can any value be decrypted, in an installation from before pseudonyms had a key? If there is no value, every file fits.
async fn fits(store: &Store, secrets: &Secrets) -> anyhow::Result<bool> {
    let mut any = false;
    for column in SEALED {
        for row in store.sealed_under_other_key(column, &secrets.header(), None, BATCH).await? {
            any = true;
            if secrets.open(&row.context(), &row.sealed).is_ok() {
                return Ok(true);
            }
        }
    }
    Ok(!any)
}

fn user(secrets: &Secrets, holder: &str, now: Millis) -> KeyUser {
    let host = std::env::var("HOSTNAME").or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"));
    KeyUser {
        id: holder.to_owned(),
        name: format!("{} process {}", host.unwrap_or_default().trim(), std::process::id()).trim().to_owned(),
        known: secrets.known(),
        sealing: secrets.sealing(),
        sealing_since_ms: secrets.sealing_since(),
        seen_at_ms: now,
    }
}

/// Polls every `secrets.poll`, for as long as the process lives.
pub async fn watch(sealer: Sealer) {
    let drain = sealer.life.drain();
    // An error is logged when it begins and not at every poll.
    let mut wrong = String::new();
    loop {
        let found = poll_key_file(&sealer).await.err().map(|err| err.to_string()).unwrap_or_default();
        if found != wrong && !found.is_empty() {
            tracing::error!(error = %found, "master keys: the known keys remain in use");
        }
        wrong = found;
        tokio::select! {
            () = tokio::time::sleep(sealer.settings.secrets.poll) => {}
            () = drain.cancelled() => return,
        }
    }
}

async fn poll_key_file(sealer: &Sealer) -> Result<(), Error> {
    let read = sealer.secrets.reread();
    if let Ok(true) = read {
        tracing::info!(known = ?sealer.secrets.known(), "the master key file has other keys");
    }
    // The embedded database has no other process.
    if !sealer.store.is_embedded() {
        report(sealer).await?;
    }
    Ok(read.map(drop)?)
}

/// Reports the keys that this process knows, and adopts the sealing key of the installation.
async fn report(sealer: &Sealer) -> Result<SealingKey, Error> {
    let report_state = async || {
        let user = user(&sealer.secrets, &sealer.holder, sealer.clock.now_ms());
        sealer.store.report_keys(&user).await
    };
    let sealing = report_state().await?;
    if sealing.id == sealer.secrets.sealing() {
        return Ok(sealing);
    }
    sealer.secrets.seal_with(sealing.id, sealer.clock.now_ms())?;
    tracing::info!(key = %sealing.id, "values are encrypted under the master key {} from now on", sealing.id);
    Ok(report_state().await?)
}

/// Makes the first key of the file the sealing key and rewraps up to `limit` values. If `wanted` is given, the first key must
/// be it.
pub async fn rotate(sealer: &Sealer, wanted: Option<MasterKeyId>, limit: u64) -> Result<Rewrapped, Error> {
    sealer.secrets.reread()?;
    let first = sealer.secrets.known()[0];
    if let Some(wanted) = wanted.filter(|wanted| *wanted != first) {
        return Err(Error::NotFirst { wanted, first });
    }
    report(sealer).await?;
    let now = sealer.clock.now_ms();
    let name = first.to_string();
    let store = audit::of(sealer, None, Change::new(Action::MasterKeyRotate, &name));
    match store.agree_on_key(first, now, alive(sealer, now)).await? {
        Agreed::Yes(_) => report(sealer).await?,
        Agreed::Unknown(users) => return Err(Error::NotEverywhere { key: first, users }),
    };
    rewrap(sealer, limit).await
}

/// A process is alive if it was seen since this time.
fn alive(sealer: &Sealer, now: Millis) -> Millis {
    now - (sealer.settings.secrets.poll * POLLS_MISSED).as_millis() as Millis
}

async fn rewrap(sealer: &Sealer, limit: u64) -> Result<Rewrapped, Error> {
    let begun = Instant::now();
    let mut done = Rewrapped::default();
    for column in SEALED {
        let mut after: Option<Vec<String>> = None;
        loop {
            let batch = BATCH.min((limit - done.values).min(BATCH as u64) as usize);
            if batch == 0 || begun.elapsed() >= CALL || sealer.life.is_draining() {
                return Ok(done);
            }
            let rows =
                sealer.store.sealed_under_other_key(column, &sealer.secrets.header(), after.as_deref(), batch).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key.clone());
            let mut rewrapped = Vec::with_capacity(rows.len());
            for row in rows {
                match sealer.secrets.rewrap(&row.context(), &row.sealed) {
                    Ok(Some(sealed)) => rewrapped.push((row, sealed)),
                    Ok(None) => {}
                    Err(err) => {
                        tracing::error!(error = %err, "{} cannot be decrypted", named(column, &row));
                        if done.undecryptable.len() < NAMED {
                            done.undecryptable.push(format!("{}: {err}", named(column, &row)));
                        }
                    }
                }
            }
            if !rewrapped.is_empty() {
                sealer.store.note_rewrap(sealer.clock.now_ms()).await?;
                done.values += sealer.store.replace_sealed(column, &rewrapped).await?;
            }
        }
    }
    Ok(done)
}

fn named(column: &SealedColumn, row: &SealedRow) -> String {
    format!("{} {}", column.table, row.key.join("/"))
}

/// Counts the values under each key.
pub async fn overview(sealer: &Sealer) -> Result<Overview, Error> {
    let sealing = report(sealer).await?;
    let now = sealer.clock.now_ms();
    let users = sealer.store.key_users(alive(sealer, now)).await?;
    let follow = users.iter().all(|user| user.sealing == sealing.id);
    let settle = sealer.settings.secrets.settle.as_millis() as Millis;
    let since = users
        .iter()
        .map(|user| user.sealing_since_ms)
        .chain([sealing.since_ms, sealing.rewrapped_at_ms])
        .max()
        .unwrap_or(now);
    let settled_at_ms = follow.then_some(since + settle);
    // Counted after it is known whether values may still be written.
    let known = sealer.secrets.known();
    let headers: Vec<_> = known.iter().map(|id| larder_secrets::header(*id)).collect();
    let (mut values, mut all) = (vec![0; known.len()], 0);
    for column in SEALED {
        let count = sealer.store.count_sealed(column, &headers).await?;
        all += count.all;
        values.iter_mut().zip(count.under).for_each(|(sum, more)| *sum += more);
    }
    let otherwise = all - values.iter().sum::<u64>().min(all);
    let settled = settled_at_ms.is_some_and(|at| at <= now) && otherwise == 0;
    let state = |(id, values): (MasterKeyId, u64)| KeyState {
        id,
        values,
        may_be_dropped: settled && values == 0 && id != sealing.id,
    };
    let keys = known.into_iter().zip(values).map(state).collect();
    Ok(Overview { sealing, keys, otherwise, users, settled_at_ms })
}

/// Removes this process from the users of keys, when it ends.
pub async fn leave(common: &Common) -> larder_store::Result<()> {
    common.store.forget_key_users(&common.holder, common.clock.now_ms() - FORGOTTEN).await
}

//! The master key that seals: agreed on with the other processes, and replaced while all serve.
//!
//! * [`join`]: at the start, before anything is opened or sealed.
//! * [`watch`]: reads the key file again, says what this process knows, and follows what seals.
//! * [`rotate`]: takes the first key of the file into use and rewraps what others had sealed, a batch at a time. It can be
//!   cut off anywhere and called again, also at another process.
//! * [`overview`]: what is under which key.
//!
//! A key seals once every process that lives knows it (`store/master_keys`), and each process seals with it as soon as it
//! has looked, so nobody meets a value that it cannot open. A process that was taken for dead and lives meets a key that it
//! does not know: it reads its file again, and if the key is not there either, what needs the value fails as Larder's own
//! fault.
//!
//! An old key may be dropped when nothing is under it and nothing can come any more: what was sealed before the change, or
//! read before it was rewrapped, may be on its way into the database for `secrets.settle`.

use std::time::{Duration, Instant};

use anyhow::Context;
use larder_model::time::Millis;
use larder_secrets::keyring::MasterKeyId;
use larder_secrets::{Plain, Secrets};
use larder_store::sealed::{SEALED, SealedColumn, SealedRow};
use larder_store::{Agreed, KeyUser, SealingKey, Store};

use crate::common::{Common, context};

context! {
    /// What the rotation of master keys uses.
    KeyRotation {
        secrets: Secrets,
    }
}

/// A process that was not seen for so many of its looks is taken for dead.
const LOOKS_MISSED: u32 = 6;
/// Rows of one transaction.
const BATCH: usize = 50;
/// A call of [`rotate`] ends after this time, whatever is left.
const CALL: Duration = Duration::from_secs(10);
/// Values that do not open are named up to this number.
const NAMED: usize = 10;
/// Rows of processes that are long gone go.
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
    /// These processes live and do not know the key.
    #[error("not every process knows the master key {key}")]
    NotEverywhere { key: MasterKeyId, users: Vec<KeyUser> },
}

/// What is under which key.
#[derive(Debug)]
pub struct Overview {
    pub sealing: SealingKey,
    /// Those of this process's file, in its order.
    pub keys: Vec<KeyState>,
    /// Values under none of these, or from before values had keys of their own.
    pub otherwise: u64,
    pub users: Vec<KeyUser>,
    /// From when on nothing sealed under another key is still to be written; `None`: not every process follows yet.
    pub settled_at_ms: Option<Millis>,
}

#[derive(Debug)]
pub struct KeyState {
    pub id: MasterKeyId,
    pub values: u64,
    pub may_be_dropped: bool,
}

/// What one call of [`rotate`] did.
#[derive(Debug, Default)]
pub struct Rewrapped {
    pub values: u64,
    /// Those that do not open, by table and key: the first of them.
    pub unopened: Vec<String>,
}

/// Finds out which key seals, and opens the keys that outlast it.
pub async fn join(store: &Store, secrets: &Secrets, holder: &str, now: Millis) -> anyhow::Result<()> {
    let sealing = store.tell_keys(&user(secrets, holder, now)).await?;
    if store.is_embedded() {
        // Whoever else it names is dead.
        store.forget_key_users("", now).await?;
    }
    if sealing.id != secrets.sealing() {
        if let Err(err) = secrets.seal_with(sealing.id, now) {
            store.forget_key_users(holder, now - FORGOTTEN).await?;
            let known: Vec<String> = secrets.known().iter().map(ToString::to_string).collect();
            anyhow::bail!(
                "secrets.master_key_file: this installation seals with the master key {}, the file has {}: {err}",
                sealing.id,
                known.join(", ")
            );
        }
        store.tell_keys(&user(secrets, holder, now)).await?;
    }
    let place = ["installation", PSEUDONYMS];
    let sealed = match store.installation_key(PSEUDONYMS).await? {
        Some(sealed) => sealed,
        None => {
            let new = store.partners().await?.is_empty();
            anyhow::ensure!(
                new || fits(store, secrets).await?,
                "secrets.master_key_file: it opens no value of this installation, so it is another's"
            );
            let first = secrets.seal(&place, &secrets.first_pseudonym_key(new));
            store.first_installation_key(PSEUDONYMS, first, now).await?
        }
    };
    let key: Plain = secrets.open(&place, &sealed).context("secrets.master_key_file: the key of the pseudonyms")?;
    Ok(secrets.set_pseudonym_key(&key)?)
}

/// Does any value of an installation from before its pseudonyms had a key open? Where there is none, every file fits.
async fn fits(store: &Store, secrets: &Secrets) -> anyhow::Result<bool> {
    let mut any = false;
    for column in SEALED {
        for row in store.sealed_otherwise(column, &secrets.head(), None, BATCH).await? {
            any = true;
            if secrets.open(&row.place(), &row.sealed).is_ok() {
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

/// Looks every `secrets.poll`, for as long as the process lives.
pub async fn watch(rotation: KeyRotation) {
    let drain = rotation.life.drain();
    // What is wrong is said when it begins, and not with every look.
    let mut wrong = String::new();
    loop {
        let found = look(&rotation).await.err().map(|err| err.to_string()).unwrap_or_default();
        if found != wrong && !found.is_empty() {
            tracing::error!(error = %found, "master keys: what was known goes on being used");
        }
        wrong = found;
        tokio::select! {
            () = tokio::time::sleep(rotation.settings.secrets.poll) => {}
            () = drain.cancelled() => return,
        }
    }
}

async fn look(rotation: &KeyRotation) -> Result<(), Error> {
    let read = rotation.secrets.reread();
    if let Ok(true) = read {
        tracing::info!(known = ?rotation.secrets.known(), "the master key file has other keys");
    }
    // The embedded database has no other process.
    if !rotation.store.is_embedded() {
        tell(rotation).await?;
    }
    Ok(read.map(drop)?)
}

/// Says what this process knows, and seals as the others do.
async fn tell(rotation: &KeyRotation) -> Result<SealingKey, Error> {
    let told = async || {
        let user = user(&rotation.secrets, &rotation.holder, rotation.clock.now_ms());
        rotation.store.tell_keys(&user).await
    };
    let sealing = told().await?;
    if sealing.id == rotation.secrets.sealing() {
        return Ok(sealing);
    }
    rotation.secrets.seal_with(sealing.id, rotation.clock.now_ms())?;
    tracing::info!(key = %sealing.id, "values are sealed under the master key {} from now on", sealing.id);
    Ok(told().await?)
}

/// Takes the first key of the file into use, `wanted` if that is given, and rewraps up to `limit` values.
pub async fn rotate(rotation: &KeyRotation, wanted: Option<MasterKeyId>, limit: u64) -> Result<Rewrapped, Error> {
    rotation.secrets.reread()?;
    let first = rotation.secrets.known()[0];
    if let Some(wanted) = wanted.filter(|wanted| *wanted != first) {
        return Err(Error::NotFirst { wanted, first });
    }
    tell(rotation).await?;
    let now = rotation.clock.now_ms();
    match rotation.store.agree_on_key(first, now, alive(rotation, now)).await? {
        Agreed::Yes(_) => tell(rotation).await?,
        Agreed::Unknown(users) => return Err(Error::NotEverywhere { key: first, users }),
    };
    rewrap(rotation, limit).await
}

/// From when on a process must have been seen.
fn alive(rotation: &KeyRotation, now: Millis) -> Millis {
    now - (rotation.settings.secrets.poll * LOOKS_MISSED).as_millis() as Millis
}

async fn rewrap(rotation: &KeyRotation, limit: u64) -> Result<Rewrapped, Error> {
    let begun = Instant::now();
    let mut done = Rewrapped::default();
    for column in SEALED {
        let mut after: Option<Vec<String>> = None;
        loop {
            let batch = BATCH.min((limit - done.values).min(BATCH as u64) as usize);
            if batch == 0 || begun.elapsed() >= CALL || rotation.life.is_draining() {
                return Ok(done);
            }
            let rows =
                rotation.store.sealed_otherwise(column, &rotation.secrets.head(), after.as_deref(), batch).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key.clone());
            let mut anew = Vec::with_capacity(rows.len());
            for row in rows {
                match rotation.secrets.rewrap(&row.place(), &row.sealed) {
                    Ok(Some(sealed)) => anew.push((row, sealed)),
                    Ok(None) => {}
                    Err(err) => {
                        tracing::error!(error = %err, "{} does not open", named(column, &row));
                        if done.unopened.len() < NAMED {
                            done.unopened.push(format!("{}: {err}", named(column, &row)));
                        }
                    }
                }
            }
            if !anew.is_empty() {
                rotation.store.note_rewrap(rotation.clock.now_ms()).await?;
                done.values += rotation.store.replace_sealed(column, &anew).await?;
            }
        }
    }
    Ok(done)
}

fn named(column: &SealedColumn, row: &SealedRow) -> String {
    format!("{} {}", column.table, row.key.join("/"))
}

pub async fn overview(rotation: &KeyRotation) -> Result<Overview, Error> {
    let sealing = tell(rotation).await?;
    let now = rotation.clock.now_ms();
    let users = rotation.store.key_users(alive(rotation, now)).await?;
    let follow = users.iter().all(|user| user.sealing == sealing.id);
    let settle = rotation.settings.secrets.settle.as_millis() as Millis;
    let since = users
        .iter()
        .map(|user| user.sealing_since_ms)
        .chain([sealing.since_ms, sealing.rewrapped_at_ms])
        .max()
        .unwrap_or(now);
    let settled_at_ms = follow.then_some(since + settle);
    // Counted after it is known whether anything may still come.
    let known = rotation.secrets.known();
    let heads: Vec<_> = known.iter().map(|id| larder_secrets::head(*id)).collect();
    let (mut values, mut all) = (vec![0; known.len()], 0);
    for column in SEALED {
        let count = rotation.store.count_sealed(column, &heads).await?;
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

/// The process ends.
pub async fn leave(common: &Common) -> larder_store::Result<()> {
    common.store.forget_key_users(&common.holder, common.clock.now_ms() - FORGOTTEN).await
}

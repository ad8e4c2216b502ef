//! Encryption under the installation's master keys, which are never stored in the database.
//!
//! * [`Secrets::seal`], [`Secrets::open`], [`Secrets::rewrap`]: encrypt, decrypt and rotate values at rest, bound to their context.
//! * [`Secrets::pseudonym`]: the pseudonym by which a guest knows an end user.
//! * [`Secrets::artifact_key`]: the key of the runtime's seals.
//! * [`keyring`]: the file with the keys. It is read again while Larder serves. `rotation` agrees with the other processes
//!   on the key that seals.
//!
//! A sealed value is an envelope: the value under a data key of its own, and the data key under a key that is derived from
//! a master key, each by AES-256-GCM with a random nonce and with its context as additional data. A rotation
//! only wraps the data key again, under another master key. The record:
//!
//! | format | master key's id | nonce | data key | nonce | value |
//! |---|---|---|---|---|---|
//! | 2 | 8 bytes | 12 | 32 + 16 | 12 | its length + 16 |
//!
//! Format 1, `1 nonce value`, sealed by a key derived from the master key, can still be opened.
//!
//! The rule: **an opened value is [`Plain`]**: it is wiped after use and never printed.

pub mod keyring;
pub mod passwords;
pub mod private_files;

use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use arc_swap::ArcSwap;
use keyring::{Keyring, MasterKey, MasterKeyId};
use larder_model::ids::{FunctionId, PartnerId};
use larder_model::time::Millis;
use zeroize::Zeroizing;

/// The first byte of a sealed value: its format.
const FORMAT: u8 = 2;
const FORMAT_1: u8 = 1;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
/// The envelope header: the format and the master key's id.
pub const HEADER_BYTES: usize = 1 + MasterKeyId::BYTES;
const WRAPPED_BYTES: usize = NONCE_BYTES + KEY_BYTES + TAG_BYTES;
/// The shortest interval between two reads of the file for an unknown key.
const REREAD_INTERVAL: Duration = Duration::from_millis(200);

/// The keys of the process. Clones share their state.
#[derive(Clone)]
pub struct Secrets(Arc<Shared>);

struct Shared {
    /// The master key file; `None` if the keys never change.
    file: Option<PathBuf>,
    keys: ArcSwap<Keys>,
    /// Locked while `keys` change; when the file was last read for an unknown key.
    changing: Mutex<Option<Instant>>,
    pseudonyms: OnceLock<Zeroizing<[u8; KEY_BYTES]>>,
}

struct Keys {
    ring: Keyring,
    sealing: MasterKey,
    sealing_since_ms: Millis,
}

/// An opened value: it is wiped when it is dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain(Zeroizing<Vec<u8>>);

impl Plain {
    /// The value as text; invalid UTF-8 is replaced.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(String::from_utf8_lossy(&self.0).into_owned())
    }
}

impl Deref for Plain {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    MasterKey(String),
    #[error("it was sealed under the master key {0}, which this process's master key file does not have")]
    UnknownKey(MasterKeyId),
    #[error("a sealed value does not open: it was sealed for another record, or it is damaged")]
    Sealed,
}

impl Secrets {
    pub fn new(master: &[u8; KEY_BYTES]) -> Secrets {
        Secrets::of(Keyring::of(MasterKey::new(master)), None)
    }

    fn of(ring: Keyring, file: Option<PathBuf>) -> Secrets {
        let sealing = ring.first().clone();
        Secrets(Arc::new(Shared {
            file,
            keys: ArcSwap::from_pointee(Keys { ring, sealing, sealing_since_ms: 0 }),
            changing: Mutex::default(),
            pseudonyms: OnceLock::new(),
        }))
    }

    /// Reads the master keys from a file that only its owner can read.
    pub fn from_file(path: &Path) -> Result<Secrets, Error> {
        Ok(Secrets::of(Keyring::read(path)?, Some(path.to_owned())))
    }

    /// Like [`Secrets::from_file`], but creates the file if it does not exist: for `dev`.
    pub fn from_file_or_new(path: &Path) -> Result<Secrets, Error> {
        if !path.exists() {
            let digits = Zeroizing::new(hex::encode(random::<KEY_BYTES>().as_slice()));
            write_private(path, &format!("{}\n", *digits))
                .map_err(|err| Error::MasterKey(format!("master key file {}: {err}", path.display())))?;
        }
        Secrets::from_file(path)
    }

    /// The known keys, in the order of the file.
    pub fn known(&self) -> Vec<MasterKeyId> {
        self.0.keys.load().ring.ids()
    }

    /// The key that seals from now on.
    pub fn sealing(&self) -> MasterKeyId {
        self.0.keys.load().sealing.id()
    }

    /// Since when this key seals.
    pub fn sealing_since(&self) -> Millis {
        self.0.keys.load().sealing_since_ms
    }

    /// Makes this the key that seals.
    pub fn seal_with(&self, id: MasterKeyId, now: Millis) -> Result<(), Error> {
        let sealing = self.key(id)?;
        let _changing = self.0.changing.lock().expect("no panic under the lock");
        let ring = self.0.keys.load().ring.clone();
        self.0.keys.store(Arc::new(Keys { ring, sealing, sealing_since_ms: now }));
        Ok(())
    }

    /// Reads the file again, and returns whether the known keys have changed. An invalid file, or one that lacks the key that
    /// seals, changes nothing.
    pub fn reread(&self) -> Result<bool, Error> {
        let _changing = self.0.changing.lock().expect("no panic under the lock");
        self.reread_locked()
    }

    fn reread_locked(&self) -> Result<bool, Error> {
        let Some(file) = &self.0.file else { return Ok(false) };
        let ring = Keyring::read(file)?;
        let keys = self.0.keys.load();
        if ring.ids() == keys.ring.ids() {
            return Ok(false);
        }
        let id = keys.sealing.id();
        let Some(sealing) = ring.get(id).cloned() else {
            let file = file.display();
            return Err(Error::MasterKey(format!(
                "master key file {file}: the key {id}, which seals, is gone from it"
            )));
        };
        self.0.keys.store(Arc::new(Keys { ring, sealing, sealing_since_ms: keys.sealing_since_ms }));
        Ok(true)
    }

    /// Finds a master key by its id, and reads the file again if the key is unknown.
    fn key(&self, id: MasterKeyId) -> Result<MasterKey, Error> {
        let known = || self.0.keys.load().ring.get(id).cloned();
        if let Some(key) = known() {
            return Ok(key);
        }
        let mut looked = self.0.changing.lock().expect("no panic under the lock");
        if looked.is_none_or(|at| at.elapsed() >= REREAD_INTERVAL) {
            *looked = Some(Instant::now());
            self.reread_locked()?;
        }
        known().ok_or(Error::UnknownKey(id))
    }

    /// Encrypts a value and binds it to `context` (for example, partner, function and name): it can be opened only with the same
    /// context.
    pub fn seal(&self, context: &[&str], plain: &[u8]) -> Vec<u8> {
        let data_key = random::<KEY_BYTES>();
        let value = encrypt(&data_key, &value_data(context), plain);
        [wrap(&self.0.keys.load().sealing, context, &data_key), value].concat()
    }

    /// Decrypts a value that was sealed for this context.
    pub fn open(&self, context: &[&str], sealed: &[u8]) -> Result<Plain, Error> {
        match sealed.first() {
            Some(&FORMAT) => {
                let (data_key, value) = self.unwrap(context, sealed)?;
                decrypt(&data_key, &value_data(context), value).ok_or(Error::Sealed)
            }
            Some(&FORMAT_1) => {
                let open = |key: &MasterKey| decrypt(&format_1_key(key), &data(&[], context), &sealed[1..]);
                self.0.keys.load().ring.keys().iter().find_map(open).ok_or(Error::Sealed)
            }
            _ => Err(Error::Sealed),
        }
    }

    /// Rewraps a value under the key that seals; `None` if it already is under that key.
    pub fn rewrap(&self, context: &[&str], sealed: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if sealed.starts_with(&self.header()) {
            return Ok(None);
        }
        if sealed.first() != Some(&FORMAT) {
            return Ok(Some(self.seal(context, &self.open(context, sealed)?)));
        }
        let (data_key, value) = self.unwrap(context, sealed)?;
        Ok(Some([&wrap(&self.0.keys.load().sealing, context, &data_key), value].concat()))
    }

    /// The header of records under the key that seals.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        header(self.sealing())
    }

    fn unwrap<'s>(&self, context: &[&str], sealed: &'s [u8]) -> Result<(Zeroizing<[u8; KEY_BYTES]>, &'s [u8]), Error> {
        let (header, rest) = sealed.split_at_checked(HEADER_BYTES).ok_or(Error::Sealed)?;
        let (wrapped, value) = rest.split_at_checked(WRAPPED_BYTES).ok_or(Error::Sealed)?;
        let key = self.key(MasterKeyId::from_bytes(&header[1..]).ok_or(Error::Sealed)?)?;
        let data_key =
            decrypt(&wrapping_key(&key), &data(&[b"data key", header], context), wrapped).ok_or(Error::Sealed)?;
        Ok((Zeroizing::new(data_key[..].try_into().map_err(|_| Error::Sealed)?), value))
    }

    /// The pseudonym of an end user: the same for every run of this function, and different in every other function. It does not
    /// change with master keys, because its own key is sealed in the database.
    pub fn pseudonym(&self, partner: &PartnerId, function: &FunctionId, end_user: &str) -> String {
        let key = self.0.pseudonyms.get().expect("set before anything runs");
        let mut hash = blake3::Hasher::new_keyed(key);
        hash.update(&data(&[], &[partner.as_str(), function.as_str(), end_user]));
        format!("eu_{}", hex::encode(&hash.finalize().as_bytes()[..16]))
    }

    /// Sets the key of the pseudonyms, once at the start.
    pub fn set_pseudonym_key(&self, key: &Plain) -> Result<(), Error> {
        let key: [u8; KEY_BYTES] = key[..].try_into().map_err(|_| Error::Sealed)?;
        self.0.pseudonyms.get_or_init(|| key.into());
        Ok(())
    }

    /// The first key of the pseudonyms: random for a new installation, derived from the master key for an older one.
    pub fn first_pseudonym_key(&self, new: bool) -> Plain {
        let key = match new {
            true => random::<KEY_BYTES>(),
            false => self.0.keys.load().ring.oldest().derived("larder 2026-11 pseudonyms of end users"),
        };
        Plain(Zeroizing::new(key.to_vec()))
    }

    /// The key of artifact seals, derived from the key that seals at the start: after a rotation artifacts are compiled again.
    pub fn artifact_key(&self) -> [u8; KEY_BYTES] {
        *self.0.keys.load().sealing.derived("larder 2026-11 seals of artifacts")
    }
}

/// The header of records under a key.
pub fn header(key: MasterKeyId) -> [u8; HEADER_BYTES] {
    let mut header = [FORMAT; HEADER_BYTES];
    header[1..].copy_from_slice(key.as_bytes());
    header
}

fn wrap(key: &MasterKey, context: &[&str], data_key: &[u8; KEY_BYTES]) -> Vec<u8> {
    let header = header(key.id());
    let wrapped = encrypt(&wrapping_key(key), &data(&[b"data key", &header], context), data_key);
    [&header[..], &wrapped].concat()
}

fn wrapping_key(key: &MasterKey) -> Zeroizing<[u8; KEY_BYTES]> {
    key.derived("larder 2026-11 wrapping of data keys")
}

fn format_1_key(key: &MasterKey) -> Zeroizing<[u8; KEY_BYTES]> {
    key.derived("larder 2026-11 sealed values")
}

/// The additional data of the value itself, which does not change when its data key is rewrapped.
fn value_data(context: &[&str]) -> Vec<u8> {
    data(&[b"value", &[FORMAT]], context)
}

/// Additional data: the parts with their lengths, so that different contexts have different bytes.
fn data(what: &[&[u8]], context: &[&str]) -> Vec<u8> {
    let parts = what.iter().copied().chain(context.iter().map(|part| part.as_bytes()));
    parts.flat_map(|part| (part.len() as u64).to_le_bytes().into_iter().chain(part.iter().copied())).collect()
}

/// A random nonce, then the sealed bytes.
fn encrypt(key: &[u8; KEY_BYTES], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce = random::<NONCE_BYTES>();
    let cipher = Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(key));
    let sealed = cipher
        .encrypt(Nonce::from_slice(&*nonce), Payload { msg: plain, aad })
        .expect("values are far shorter than the cipher's bound");
    [nonce.as_slice(), &sealed].concat()
}

fn decrypt(key: &[u8; KEY_BYTES], aad: &[u8], sealed: &[u8]) -> Option<Plain> {
    let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
    let cipher = Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(key));
    let plain = cipher.decrypt(Nonce::from_slice(nonce), Payload { msg: sealed, aad }).ok()?;
    Some(Plain(Zeroizing::new(plain)))
}

fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).expect("the operating system gives random bytes");
    bytes
}

/// Reads a file that nobody else can read; others are refused.
pub fn read_private(path: &Path) -> std::io::Result<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let about = std::fs::metadata(path)?;
        if !is_private(about.mode(), about.uid(), rustix::process::geteuid().as_raw()) {
            return Err(std::io::Error::other("others can read it; chmod 600"));
        }
    }
    std::fs::read_to_string(path)
}

/// Is a file with this mode and owner for its owner alone? Kubernetes hands secrets over as files of root's that a group may
/// read, which the processes of the pod alone have (`fsGroup`): no less private to a process that is not root.
#[cfg(unix)]
fn is_private(mode: u32, owner: u32, reader: u32) -> bool {
    const GROUP_READS: u32 = 0o040;
    let by_group = owner == 0 && reader != 0;
    mode & 0o077 & !(if by_group { GROUP_READS } else { 0 }) == 0
}

/// Writes a new file that only its owner can read.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The same at once: whoever reads the file meanwhile, or after a crash, finds the one or the other.
pub fn replace_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    write_private(beside, text)?;
    std::fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: [&str; 3] = ["acme", "f", "TOKEN"];

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_its_owners_or_that_of_a_pod() {
        for (mode, owner, reader, private) in [
            (0o600, 1000, 1000, true),
            (0o400, 0, 0, true),
            (0o100440, 0, 10001, true),
            (0o640, 1000, 1000, false),
            (0o640, 0, 0, false),
            (0o660, 0, 10001, false),
            (0o444, 0, 10001, false),
            (0o604, 1000, 1000, false),
        ] {
            assert_eq!(is_private(mode, owner, reader), private, "{mode:o} of {owner} for {reader}");
        }
    }

    #[test]
    fn a_sealed_value_opens_only_with_its_context_and_undamaged() {
        let secrets = Secrets::new(&[7; 32]);
        let sealed = secrets.seal(&CONTEXT, b"s3cret");
        assert_eq!(&*secrets.open(&CONTEXT, &sealed).unwrap(), b"s3cret");
        assert!(secrets.open(&["acme", "fT", "OKEN"], &sealed).is_err());
        let other = Secrets::new(&[8; 32]).open(&CONTEXT, &sealed).unwrap_err().to_string();
        assert!(other.contains(&secrets.sealing().to_string()), "{other}");
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(secrets.open(&CONTEXT, &damaged).is_err(), "byte {at}");
            assert!(secrets.open(&CONTEXT, &sealed[..at]).is_err(), "{at} bytes");
        }
    }

    #[test]
    fn no_two_records_share_a_data_key_or_a_nonce() {
        let secrets = Secrets::new(&[7; 32]);
        let (one, two) = (secrets.seal(&CONTEXT, b"same"), secrets.seal(&CONTEXT, b"same"));
        let parts = |sealed: &[u8]| {
            let (wrapped, value) = sealed[HEADER_BYTES..].split_at(WRAPPED_BYTES);
            (wrapped.to_vec(), value.to_vec())
        };
        assert_ne!(parts(&one).0, parts(&two).0);
        assert_ne!(parts(&one).1, parts(&two).1);
        let data_key = |sealed| secrets.unwrap(&CONTEXT, sealed).unwrap().0;
        assert_ne!(data_key(&one), data_key(&two));
    }

    #[test]
    fn rewrapping_changes_the_key_and_not_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        let secrets = Secrets::from_file_or_new(&file).unwrap();
        let old = secrets.seal(&CONTEXT, b"s3cret");
        assert_eq!(secrets.rewrap(&CONTEXT, &old).unwrap(), None);
        let added = keyring::add_to_file(&file, "today").unwrap();
        assert!(secrets.reread().unwrap() && !secrets.reread().unwrap());
        assert_ne!(secrets.sealing(), added, "others may not know it yet");
        secrets.seal_with(added, 0).unwrap();
        let new = secrets.rewrap(&CONTEXT, &old).unwrap().unwrap();
        assert_eq!(&*secrets.open(&CONTEXT, &old).unwrap(), b"s3cret");
        assert_eq!(&*secrets.open(&CONTEXT, &new).unwrap(), b"s3cret");
        assert!(
            new.starts_with(&secrets.header())
                && new[HEADER_BYTES + WRAPPED_BYTES..] == old[HEADER_BYTES + WRAPPED_BYTES..]
        );
        assert!(secrets.rewrap(&["acme", "f", "OTHER"], &old).is_err());

        // Without the old key, only rewrapped values can be opened.
        let text = std::fs::read_to_string(&file).unwrap();
        write_private(&file, text.lines().nth(1).unwrap()).unwrap();
        assert!(secrets.reread().unwrap());
        assert_eq!(&*secrets.open(&CONTEXT, &new).unwrap(), b"s3cret");
        assert!(matches!(secrets.open(&CONTEXT, &old), Err(Error::UnknownKey(_))));
    }

    #[test]
    fn an_unknown_key_is_read_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        let (here, there) = (Secrets::from_file_or_new(&file).unwrap(), Secrets::from_file(&file).unwrap());
        let added = keyring::add_to_file(&file, "today").unwrap();
        here.reread().unwrap();
        here.seal_with(added, 0).unwrap();
        assert_eq!(&*there.open(&CONTEXT, &here.seal(&CONTEXT, b"s3cret")).unwrap(), b"s3cret");
    }

    #[test]
    fn an_invalid_file_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        let secrets = Secrets::from_file_or_new(&file).unwrap();
        let known = secrets.known();
        let other = hex::encode(*random::<32>());
        for text in ["", "half a ke", &other] {
            write_private(&file, text).unwrap();
            secrets.reread().unwrap_err();
        }
        std::fs::remove_file(&file).unwrap();
        secrets.reread().unwrap_err();
        assert_eq!(secrets.known(), known);
    }

    #[test]
    fn values_and_pseudonyms_of_format_1_stay_valid() {
        let master = [7; 32];
        let secrets = Secrets::new(&master);
        // As format 1 was written.
        let key = Zeroizing::new(blake3::derive_key("larder 2026-11 sealed values", &master));
        let old = [vec![FORMAT_1], encrypt(&key, &data(&[], &CONTEXT), b"s3cret")].concat();
        assert_eq!(&*secrets.open(&CONTEXT, &old).unwrap(), b"s3cret");
        assert!(secrets.open(&["acme", "f", "OTHER"], &old).is_err());
        let new = secrets.rewrap(&CONTEXT, &old).unwrap().unwrap();
        assert_eq!((new[0], &*secrets.open(&CONTEXT, &new).unwrap()), (FORMAT, &b"s3cret"[..]));

        secrets.set_pseudonym_key(&secrets.first_pseudonym_key(false)).unwrap();
        let pseudonym = secrets.pseudonym(&"acme".parse().unwrap(), &"f".parse().unwrap(), "anna");
        assert_eq!(pseudonym, "eu_ca177ebe0a8d119a784f6a0aa14a1cd6");
    }

    #[test]
    fn opened_values_are_not_printed() {
        let secrets = Secrets::new(&[7; 32]);
        let plain = secrets.open(&CONTEXT, &secrets.seal(&CONTEXT, b"s3cret")).unwrap();
        assert_eq!(format!("{plain:?}"), "***");
    }
}

//! Everything that hangs on the installation's master key, which never enters the database.
//!
//! * [`Secrets::seal`], [`Secrets::open`]: values at rest, AES-256-GCM with a random 96-bit nonce, bound to their place.
//! * [`Secrets::pseudonym`]: what a guest knows an end user by.
//! * [`Secrets::artifact_key`]: the key of the runtime's seals.
//!
//! Each use has a key of its own, derived by BLAKE3's key derivation from the master key and a context text.

use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};

use crate::ids::{FunctionId, PartnerId};
use crate::model::{hex, unhex};

/// The first byte of a sealed value: how it was sealed.
const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 12;

#[derive(Clone)]
pub struct Secrets {
    values: Aes256Gcm,
    pseudonyms: [u8; 32],
    artifacts: [u8; 32],
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    MasterKey(String),
    #[error(
        "a sealed value does not open: it was sealed under another master key or for another place, or it is damaged"
    )]
    Sealed,
}

impl Secrets {
    pub fn new(master: &[u8; 32]) -> Secrets {
        let values = blake3::derive_key("larder 2026-11 sealed values", master);
        Secrets {
            values: Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&values)),
            pseudonyms: blake3::derive_key("larder 2026-11 pseudonyms of end users", master),
            artifacts: blake3::derive_key("larder 2026-11 seals of artifacts", master),
        }
    }

    /// Reads the master key, 64 hex digits, from a file that only its owner can read.
    pub fn from_file(path: &Path) -> Result<Secrets, Error> {
        let bad = |why: &dyn std::fmt::Display| Error::MasterKey(format!("master key file {}: {why}", path.display()));
        let text = read_private(path).map_err(|err| bad(&err))?;
        let key: [u8; 32] = unhex(text.trim()).ok_or_else(|| bad(&"must hold 64 hex digits (openssl rand -hex 32)"))?;
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(bad(&"is a placeholder; make one with: openssl rand -hex 32"));
        }
        Ok(Secrets::new(&key))
    }

    /// Like [`Secrets::from_file`], but makes the file if it is not there: for `dev`.
    pub fn from_file_or_new(path: &Path) -> Result<Secrets, Error> {
        if !path.exists() {
            let bad =
                |err: &dyn std::fmt::Display| Error::MasterKey(format!("master key file {}: {err}", path.display()));
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|err| bad(&err))?;
            write_private(path, &format!("{}\n", hex(&key))).map_err(|err| bad(&err))?;
        }
        Secrets::from_file(path)
    }

    /// Seals a value for one place; `place` is what it cannot be moved away from (partner, function, name).
    pub fn seal(&self, place: &[&str], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the operating system gives random bytes");
        let payload = Payload { msg: plain, aad: &aad(place) };
        let sealed = self
            .values
            .encrypt(Nonce::from_slice(&nonce), payload)
            .expect("values are far shorter than the cipher's bound");
        [&[FORMAT], nonce.as_slice(), &sealed].concat()
    }

    pub fn open(&self, place: &[&str], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let (format, rest) = sealed.split_first().ok_or(Error::Sealed)?;
        if *format != FORMAT || rest.len() < NONCE_BYTES {
            return Err(Error::Sealed);
        }
        let (nonce, sealed) = rest.split_at(NONCE_BYTES);
        let payload = Payload { msg: sealed, aad: &aad(place) };
        self.values.decrypt(Nonce::from_slice(nonce), payload).map_err(|_| Error::Sealed)
    }

    /// The same for every run of this function, another in every other function.
    pub fn pseudonym(&self, partner: &PartnerId, function: &FunctionId, end_user: &str) -> String {
        let mut hash = blake3::Hasher::new_keyed(&self.pseudonyms);
        hash.update(&aad(&[partner.as_str(), function.as_str(), end_user]));
        format!("eu_{}", hex(&hash.finalize().as_bytes()[..16]))
    }

    pub fn artifact_key(&self) -> [u8; 32] {
        self.artifacts
    }
}

/// The parts with their lengths, so that no two places give the same bytes.
fn aad(place: &[&str]) -> Vec<u8> {
    place.iter().flat_map(|part| (part.len() as u64).to_le_bytes().into_iter().chain(part.bytes())).collect()
}

/// Reads a file that only its owner can read; others are refused.
pub fn read_private(path: &Path) -> std::io::Result<String> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if std::fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            return Err(std::io::Error::other("others can read it; chmod 600"));
        }
    }
    std::fs::read_to_string(path)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_in_its_place_and_undamaged() {
        let secrets = Secrets::new(&[7; 32]);
        let sealed = secrets.seal(&["acme", "f", "TOKEN"], b"s3cret");
        assert_eq!(secrets.open(&["acme", "f", "TOKEN"], &sealed).unwrap(), b"s3cret");
        assert!(secrets.open(&["acme", "fT", "OKEN"], &sealed).is_err());
        assert!(Secrets::new(&[8; 32]).open(&["acme", "f", "TOKEN"], &sealed).is_err());
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(secrets.open(&["acme", "f", "TOKEN"], &damaged).is_err(), "byte {at}");
        }
    }
}

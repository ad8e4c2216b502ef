//! The master keys of an installation, as the master key file lists them: one per line, the newest first.
//!
//! * [`Keyring`]: the keys of a file. Never empty.
//! * [`MasterKey`], [`MasterKeyId`]: one of them, and what it is called in records, answers and logs.
//! * [`add_to_file`]: inserts a new key at the top.

use std::fmt;
use std::path::Path;

use hex::FromHex;
use zeroize::Zeroizing;

use crate::{Error, random, read_private, write_private};

/// The maximum number of keys in a file: old keys must be dropped.
pub const KEYS_MAX: usize = 8;
/// Random keys have about thirty distinct bytes; a key with fewer than this was typed by hand.
const DISTINCT_BYTES_MIN: usize = 9;

/// Identifies a key without revealing it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MasterKeyId([u8; MasterKeyId::BYTES]);

impl MasterKeyId {
    pub const BYTES: usize = 8;

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<MasterKeyId> {
        bytes.try_into().ok().map(MasterKeyId)
    }
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for MasterKeyId {
    type Err = ();

    fn from_str(text: &str) -> Result<MasterKeyId, ()> {
        FromHex::from_hex(text).ok().map(MasterKeyId).ok_or(())
    }
}

#[derive(Clone)]
pub struct MasterKey {
    id: MasterKeyId,
    bytes: Zeroizing<[u8; 32]>,
}

impl MasterKey {
    pub fn new(bytes: &[u8; 32]) -> MasterKey {
        let id = blake3::derive_key("larder 2026-11 id of a master key", bytes);
        MasterKey { id: MasterKeyId::from_bytes(&id[..MasterKeyId::BYTES]).expect("so many"), bytes: (*bytes).into() }
    }

    pub fn id(&self) -> MasterKeyId {
        self.id
    }

    /// Derives the key of one use.
    pub(super) fn derived(&self, context: &str) -> Zeroizing<[u8; 32]> {
        blake3::derive_key(context, &*self.bytes).into()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Vec<MasterKey>,
}

impl Keyring {
    pub fn of(key: MasterKey) -> Keyring {
        Keyring { keys: vec![key] }
    }

    /// Reads a file that only its owner can read.
    pub fn read(path: &Path) -> Result<Keyring, Error> {
        let bad = |why: &dyn fmt::Display| Error::MasterKey(format!("master key file {}: {why}", path.display()));
        let text = Zeroizing::new(read_private(path).map_err(|err| bad(&err))?);
        Keyring::parse(&text).map_err(|why| bad(&why))
    }

    /// Errors name the line's number and not its text, which may be nearly a key.
    pub fn parse(text: &str) -> Result<Keyring, String> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = FromHex::from_hex(line).ok().map(Zeroizing::new);
            let key: Zeroizing<[u8; 32]> =
                key.ok_or_else(|| format!("line {number} must hold 64 hex digits (openssl rand -hex 32)"))?;
            if is_placeholder(&key) {
                return Err(format!("line {number} is a placeholder; make a key with: openssl rand -hex 32"));
            }
            let key = MasterKey::new(&key);
            if keys.iter().any(|other| other.id == key.id) {
                return Err(format!("line {number} repeats a key"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err("is empty; it must hold a key of 64 hex digits (openssl rand -hex 32)".into());
        }
        if keys.len() > KEYS_MAX {
            return Err(format!(
                "holds {} keys, {KEYS_MAX} at most: drop those that `larder keys list` says may go",
                keys.len()
            ));
        }
        Ok(Keyring { keys })
    }

    /// The key that is to seal.
    pub fn first(&self) -> &MasterKey {
        &self.keys[0]
    }

    pub fn oldest(&self) -> &MasterKey {
        &self.keys[self.keys.len() - 1]
    }

    pub fn get(&self, id: MasterKeyId) -> Option<&MasterKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    pub fn keys(&self) -> &[MasterKey] {
        &self.keys
    }

    pub fn ids(&self) -> Vec<MasterKeyId> {
        self.keys.iter().map(MasterKey::id).collect()
    }
}

fn is_placeholder(key: &[u8; 32]) -> bool {
    let distinct = key.iter().collect::<std::collections::BTreeSet<_>>().len();
    let step = key[1].wrapping_sub(key[0]);
    distinct < DISTINCT_BYTES_MIN || key.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step)
}

/// Generates a key and inserts it at the top. The file is replaced atomically and keeps its owner; a symbolic link stays one.
pub fn add_to_file(path: &Path, made_at: &str) -> Result<MasterKeyId, Error> {
    let bad = |why: &dyn fmt::Display| Error::MasterKey(format!("master key file {}: {why}", path.display()));
    let path = &std::fs::canonicalize(path).map_err(|err| bad(&err))?;
    let text = Zeroizing::new(read_private(path).map_err(|err| bad(&err))?);
    Keyring::parse(&text).map_err(|why| bad(&why))?;
    let key = random::<32>();
    let id = MasterKey::new(&key).id;
    let digits = Zeroizing::new(hex::encode(key.as_slice()));
    let text = Zeroizing::new(format!("# {id}, made {made_at}\n{}\n{}", *digits, *text));
    // A file with too many keys is refused before anything is written.
    Keyring::parse(&text).map_err(|why| bad(&why))?;
    let beside = path.with_extension("new");
    let replace = || {
        write_private(&beside, &text)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt, chown};
            let (old, new) = (std::fs::metadata(path)?, std::fs::metadata(&beside)?);
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                chown(&beside, Some(old.uid()), Some(old.gid()))?;
            }
        }
        std::fs::rename(&beside, path)?;
        std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    let replaced: std::io::Result<()> = replace();
    replaced.map_err(|err| bad(&err))?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "6e1f0c9c0f7e6a51b2ddc7c5c4f2ac0a1d8f03b0b3c5f0a9d6f4f5d4f2e1c0b7";
    const B: &str = "9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8c";

    #[test]
    fn a_file_lists_keys_newest_first() {
        let ring = Keyring::parse(&format!("# comment\n{A}\n\n  {B}  \n")).unwrap();
        assert_eq!(ring.keys().len(), 2);
        assert_eq!(ring.first().id(), Keyring::parse(A).unwrap().first().id());
        assert_eq!(ring.oldest().id(), Keyring::parse(B).unwrap().first().id());
        assert_ne!(ring.first().id(), ring.oldest().id());
    }

    #[test]
    fn invalid_keys_are_refused_by_line_and_never_shown() {
        let many: String = (0..9).map(|n| format!("{}{n}\n", &A[..63])).collect();
        for (text, named) in [
            ("", "is empty"),
            ("# only a comment\n\n", "is empty"),
            ("changeme", "line 1"),
            (&A[..62], "line 1"),
            (&format!("{A}\n{A}ff\n"), "line 2"),
            (&format!("{A}\n{A}\n"), "line 2 repeats"),
            (&"0".repeat(64), "placeholder"),
            (&"deadbeef".repeat(8), "placeholder"),
            (&"0123456789abcdef".repeat(4), "placeholder"),
            ("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", "placeholder"),
            (&many, "9 keys, 8 at most"),
        ] {
            let why = Keyring::parse(text).unwrap_err();
            assert!(why.contains(named), "{named}: {why}");
            assert!(!why.contains(&A[..16]) && !why.contains("changeme"), "{why}");
        }
    }

    #[test]
    fn a_new_key_is_inserted_at_the_top() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        write_private(&file, &format!("{A}\n")).unwrap();
        let link = folder.path().join("link.key");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let id = add_to_file(&link, "today").unwrap();
        let ring = Keyring::read(&file).unwrap();
        assert_eq!((ring.keys().len(), ring.first().id()), (2, id));
        assert!(link.is_symlink());
        for _ in 2..KEYS_MAX {
            add_to_file(&file, "today").unwrap();
        }
        let before = std::fs::read(&file).unwrap();
        assert!(add_to_file(&file, "today").is_err());
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }

    #[test]
    fn keys_are_not_printed() {
        let ring = Keyring::parse(A).unwrap();
        assert_eq!(format!("{ring:?}"), format!("Keyring {{ keys: [MasterKey({})] }}", ring.first().id()));
    }
}

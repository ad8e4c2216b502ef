//! Archives, good and hostile: `.tar.gz` files made entry by entry, with headers that no packer writes.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

/// A `.tar.gz` of these files.
pub fn tar_gz(files: &[(&str, &[u8])]) -> Vec<u8> {
    gzip(&tar(&files.iter().map(|(name, content)| file(name, content)).collect::<Vec<_>>()))
}

/// Entries with the end of an archive behind them.
pub fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut tar = entries.concat();
    tar.resize(tar.len() + 1_024, 0);
    tar
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes).and_then(|()| gzip.finish()).expect("memory takes everything")
}

pub fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(EntryType::Regular, name.as_bytes(), content)
}

/// An entry whose header says this, however wrong it is.
pub fn entry(kind: EntryType, name: &[u8], content: &[u8]) -> Vec<u8> {
    entry_of_size(kind, name, content, content.len() as u64)
}

/// An entry whose header tells another size than its content has.
pub fn entry_of_size(kind: EntryType, name: &[u8], content: &[u8], size: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// The header that gives the next entry attributes, such as a long name.
pub fn extended(attributes: &[(&str, &str)]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in attributes {
        let rest = key.len() + value.len() + 3;
        let length = (1..).map(|digits| rest + digits).find(|n| n.to_string().len() + rest == *n).expect("a length");
        content.extend(format!("{length} {key}={value}\n").into_bytes());
    }
    entry(EntryType::XHeader, b"attributes", &content)
}

//! Archives: the component within an uploaded `.tar.gz`.
//!
//! * [`unpack`] reads an archive in one pass, in memory, and returns its component. Nothing is written to a disk.
//! * [`Bounds`]: what an archive may become. The other bounds are constants of this file.
//!
//! Everything that an archive could do to whoever unpacks it is refused, even though it is not unpacked here: the same bytes
//! are given back to people who do. A refusal names the entry, and is for the uploader.

use std::cell::Cell;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType, PaxExtensions};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ENTRIES_MAX: usize = 10_000;
const DEPTH_MAX: usize = 32;
const NAME_BYTES_MAX: u64 = 1_024;
/// Of the headers with further attributes that formats later than the first put before an entry.
const ATTRIBUTES_BYTES_MAX: u64 = 64 << 10;
/// How much larger than the archive its content may be, once it has more than [`RATIO_FREE`] bytes. Components and sources
/// compress to a tenth at best; the format reaches a thousandth.
const RATIO_MAX: u64 = 100;
const RATIO_FREE: u64 = 8 << 20;
/// Names that a refusal lists.
const LISTED_MAX: usize = 10;

/// What an archive may become.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// All of it.
    pub unpacked_bytes: u64,
    /// Its component.
    pub component_bytes: u64,
}

/// The component of an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Its name in the archive.
    pub path: String,
    pub wasm: Vec<u8>,
    /// All files, and the bytes of everything that was unpacked.
    pub files: usize,
    pub bytes: u64,
}

/// Is this gzip?
pub fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(GZIP)
}

/// Returns the component at the entrypoint, or, if there is no such file, the only one whose name ends in `.wasm`.
pub fn unpack(archive: &[u8], entrypoint: &str, bounds: &Bounds) -> Result<Unpacked, String> {
    if !is_gzip(archive) {
        let is_wasm = archive.starts_with(b"\0asm");
        let what = if is_wasm { "a WebAssembly file: let its name end in .wasm" } else { "something else" };
        return Err(format!("its name says that it is a .tar.gz, but its content is not gzip; it is {what}"));
    }
    let entrypoint = match entrypoint {
        "" => None,
        path => Some(plain_path(path.as_bytes()).map_err(|why| format!("the entrypoint {path:?} {why}"))?),
    };
    let by_ratio = RATIO_FREE.max(RATIO_MAX.saturating_mul(archive.len() as u64));
    let limit = bounds.unpacked_bytes.min(by_ratio);
    let left = Cell::new(limit);
    let broken = |err: io::Error| match left.get() {
        0 if limit == by_ratio => format!(
            "the archive unpacks to more than {RATIO_MAX} times its {} bytes, as only a decompression bomb does",
            archive.len()
        ),
        0 => format!("the archive unpacks to more than {limit} bytes (build.unpacked_bytes_max)"),
        _ => format!("the archive is broken: {err}"),
    };
    let mut tar = Archive::new(Bounded { inner: MultiGzDecoder::new(archive), left: &left });
    let mut found = Components { entrypoint, at_entrypoint: false, kept: None, names: Vec::new() };
    let (mut name, mut entries, mut files) = (None, 0, 0);
    // Raw: the library would read long names into memory whatever their size.
    for entry in tar.entries().map_err(broken)?.raw(true) {
        let mut entry = entry.map_err(broken)?;
        entries += 1;
        if entries > ENTRIES_MAX {
            return Err(format!("the archive has more than {ENTRIES_MAX} entries"));
        }
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => {
                let text = read(&mut entry, NAME_BYTES_MAX).map_err(broken)?;
                let mut text = text.ok_or_else(|| format!("a name has more than {NAME_BYTES_MAX} bytes"))?;
                text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
                name = Some(text);
                continue;
            }
            EntryType::XHeader => {
                let text = read(&mut entry, ATTRIBUTES_BYTES_MAX).map_err(broken)?;
                let text = text.ok_or_else(|| format!("attributes have more than {ATTRIBUTES_BYTES_MAX} bytes"))?;
                if let Some(path) = extended_path(&text).map_err(broken)? {
                    name = Some(path);
                }
                continue;
            }
            // Attributes of all entries, such as a comment; the name of a link is refused with the link.
            EntryType::XGlobalHeader | EntryType::GNULongLink => continue,
            _ => {}
        }
        let path = name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&path).into_owned();
        let path = plain_path(&path).map_err(|why| format!("the archive's entry {shown:?} {why}"))?;
        match kind {
            EntryType::Regular | EntryType::Continuous => {
                files += 1;
                found.take(path, &mut entry, bounds.component_bytes).map_err(broken)?;
            }
            EntryType::Directory => {}
            other => {
                return Err(format!("the archive's entry {shown:?} is {}: only files are taken", kind_of(other)));
            }
        }
    }
    // To the end: its checksum stands there.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(broken)?;
    let (path, wasm) = found.chosen(files, bounds.component_bytes)?;
    Ok(Unpacked { path, wasm, files, bytes: limit - left.get() })
}

/// The components that were met so far.
struct Components {
    entrypoint: Option<String>,
    at_entrypoint: bool,
    /// The file at the entrypoint or, until that is met, the first that ends in `.wasm`. `None` as content: it is too large.
    kept: Option<(String, Option<Vec<u8>>)>,
    /// Of all that end in `.wasm`.
    names: Vec<String>,
}

impl Components {
    fn take(&mut self, path: String, entry: &mut Entry<'_, impl Read>, bytes_max: u64) -> io::Result<()> {
        let is_entrypoint = self.entrypoint.as_ref() == Some(&path);
        let is_component = path.to_ascii_lowercase().ends_with(".wasm");
        if is_component {
            self.names.push(path.clone());
        }
        if is_entrypoint && self.at_entrypoint {
            return Err(io::Error::other(format!("{path:?} is in it twice")));
        }
        if is_entrypoint || is_component && self.kept.is_none() {
            self.at_entrypoint = is_entrypoint;
            self.kept = Some((path, read(entry, bytes_max)?));
        }
        Ok(())
    }

    fn chosen(self, files: usize, bytes_max: u64) -> Result<(String, Vec<u8>), String> {
        let Components { entrypoint, at_entrypoint, kept, mut names } = self;
        let none = match &entrypoint {
            Some(path) => format!("the archive has no file {path:?}, its entrypoint"),
            None => "no entrypoint is set".into(),
        };
        let Some((path, wasm)) = kept else {
            return Err(format!(
                "{none}, and none of its {files} files ends in .wasm: put the built component into the archive"
            ));
        };
        if !at_entrypoint && names.len() > 1 {
            let count = names.len();
            names.truncate(LISTED_MAX);
            let more = if count > LISTED_MAX { ", …" } else { "" };
            return Err(format!(
                "{none}, and {count} of its files end in .wasm: set the entrypoint to one of {}{more}",
                names.join(", ")
            ));
        }
        match wasm {
            Some(wasm) => Ok((path, wasm)),
            None => Err(format!("{path:?} has more than {bytes_max} bytes (build.upload_bytes_max)")),
        }
    }
}

/// The content of an entry; `None` if it is larger.
fn read(entry: &mut Entry<'_, impl Read>, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    if entry.size() > bytes_max {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let size = entry.size();
    entry.read_to_end(&mut bytes)?;
    if bytes.len() as u64 == size { Ok(Some(bytes)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// The name that extended attributes give the next entry. They may also give it a size, which only entries need that are larger
/// than every bound.
fn extended_path(attributes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut path = None;
    for attribute in PaxExtensions::new(attributes) {
        let attribute = attribute?;
        match attribute.key_bytes() {
            b"path" => path = Some(attribute.value_bytes().to_vec()),
            b"size" => return Err(io::Error::other("an entry has its size in extended attributes")),
            key if key.starts_with(b"GNU.sparse.") => return Err(io::Error::other("an entry is a sparse file")),
            _ => {}
        }
    }
    Ok(path)
}

/// A path below the root of an archive, its parts joined by `/`; or what is wrong with it. Backslashes and drives count too:
/// who unpacks it may sit at another system.
fn plain_path(path: &[u8]) -> Result<String, String> {
    if path.len() as u64 > NAME_BYTES_MAX {
        return Err(format!("has a name of more than {NAME_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(path).map_err(|_| "has a name that is not UTF-8".to_owned())?;
    if text.chars().any(char::is_control) {
        return Err("has control characters in its name".into());
    }
    let drive = |text: &str| matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic());
    if text.starts_with(['/', '\\']) || drive(text) {
        return Err("has an absolute name".into());
    }
    if text.split(['/', '\\']).any(|part| part == "..") {
        return Err("has `..` in its name, which leads out of the archive".into());
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.len() > DEPTH_MAX {
        return Err(format!("lies deeper than {DEPTH_MAX} folders"));
    }
    Ok(parts.join("/"))
}

fn kind_of(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a named pipe",
        EntryType::GNUSparse => "a sparse file",
        _ => "of an unknown kind",
    }
}

/// Reads no more than so many bytes. At the bound `left` is 0, and stays so.
struct Bounded<'l, R> {
    inner: R,
    left: &'l Cell<u64>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        match self.left.get().checked_sub(read as u64) {
            Some(left) if left > 0 || read == 0 => self.left.set(left),
            _ => {
                self.left.set(0);
                return Err(io::Error::other("too much"));
            }
        }
        Ok(read)
    }
}

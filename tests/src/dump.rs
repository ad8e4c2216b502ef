//! Everything that a database holds, for a test that looks for what must not be there.

use std::collections::BTreeSet;

use mysql_async::prelude::Queryable;
use mysql_async::{Row, Value};

use crate::{Backend, Larder};

impl Larder {
    /// The files of the embedded database, with what was overwritten or deleted and not yet reused; or every value of
    /// every table.
    pub async fn dump(&self) -> Vec<u8> {
        match self.backend() {
            Backend::Embedded => {
                let mut all = Vec::new();
                for entry in std::fs::read_dir(self.data()).expect("a data folder") {
                    let path = entry.expect("an entry").path();
                    if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("larder.db")) {
                        all.extend(std::fs::read(path).expect("a file of the database"));
                    }
                }
                all
            }
            Backend::Services => {
                let mut connection = self.database().connect().await;
                let tables: Vec<String> = connection.query("SHOW TABLES").await.expect("the tables");
                let mut all = Vec::new();
                for table in tables {
                    let rows: Vec<Row> =
                        connection.query(format!("SELECT * FROM {table}")).await.expect("the rows of a table");
                    for value in rows.into_iter().flat_map(Row::unwrap) {
                        match value {
                            Value::Bytes(bytes) => all.extend(bytes),
                            other => all.extend(other.as_sql(true).into_bytes()),
                        }
                        all.push(0);
                    }
                }
                all
            }
        }
    }
}

/// Do the bytes stand anywhere in there?
pub fn holds(all: &[u8], wanted: &[u8]) -> bool {
    !Search::new([wanted.to_vec()]).run(all).is_empty()
}

/// Looks for many texts at once.
pub struct Search {
    wanted: Vec<Vec<u8>>,
    /// Which of them begin with a byte.
    by_first: Vec<Vec<usize>>,
}

impl Search {
    pub fn new(wanted: impl IntoIterator<Item = Vec<u8>>) -> Search {
        let wanted: Vec<Vec<u8>> = wanted.into_iter().collect();
        let mut by_first = vec![vec![]; 256];
        for (at, text) in wanted.iter().enumerate() {
            by_first[usize::from(*text.first().expect("something to look for"))].push(at);
        }
        Search { wanted, by_first }
    }

    /// Which of them stand in there, by their positions in what was given.
    pub fn run(&self, all: &[u8]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        for at in 0..all.len() {
            let candidates = &self.by_first[usize::from(all[at])];
            found.extend(candidates.iter().filter(|one| all[at..].starts_with(&self.wanted[**one])));
        }
        found
    }
}

/// A secret in every form in which it may stand somewhere: as it is, in hex, percent-encoded, in base64 at any offset.
pub fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let of = |form: fn(&u8) -> String| bytes.iter().map(form).collect::<String>();
    let mut forms =
        vec![secret.to_owned(), of(|b| format!("{b:02x}")), of(|b| format!("{b:02X}")), of(|b| format!("%{b:02X}"))];
    for offset in 0..3 {
        let inside = base64(&[&vec![0; offset][..], bytes].concat());
        // Without the groups that what stands beside has a part in.
        forms.push(inside[4..inside.len() - 4].to_owned());
    }
    forms.into_iter().map(String::into_bytes).collect()
}

pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |chunk: &[u8], at: usize| {
        let group = chunk.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        char::from(ALPHABET[(group >> (18 - 6 * at) & 63) as usize])
    };
    bytes.chunks(3).flat_map(|chunk| (0..=chunk.len()).map(move |at| digit(chunk, at))).collect()
}

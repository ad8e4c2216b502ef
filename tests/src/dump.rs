//! Everything that a database holds, for a test that looks for what must not be there.

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
    assert!(!wanted.is_empty());
    all.windows(wanted.len()).any(|window| window == wanted)
}

//! The columns with sealed values, and their rotation to another master key. These queries belong to the installation and
//! cross partners.
//!
//! **A new sealed column is named `sealed…` and added to [`SEALED`]**; otherwise its values are lost when an old master key
//! is dropped. A test compares the list with the schema.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use larder_secrets::HEADER_BYTES;

use crate::db::{Row, Value};
use crate::{Error, Result, Store};

/// A column, and the context to which its values are bound.
#[derive(Debug)]
pub struct SealedColumn {
    pub table: &'static str,
    /// The primary key.
    pub key: &'static [&'static str],
    pub column: &'static str,
    pub encoding: Encoding,
    pub context: &'static [Part],
}

/// The encoding of a sealed value in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Bytes,
    Base64,
}

/// A part of a context.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    Column(&'static str),
    Text(&'static str),
}

use Part::{Column, Text};

/// All sealed columns.
pub const SEALED: &[SealedColumn] = &[
    SealedColumn {
        table: "installation_keys",
        key: &["name"],
        column: "sealed",
        encoding: Encoding::Bytes,
        context: &[Text("installation"), Column("name")],
    },
    SealedColumn {
        table: "variables",
        key: &["partner_id", "function_id", "id"],
        column: "sealed",
        encoding: Encoding::Bytes,
        context: &[Column("partner_id"), Column("function_id"), Column("name")],
    },
    SealedColumn {
        table: "upstreams",
        key: &["partner_id", "name"],
        column: "sealed",
        encoding: Encoding::Bytes,
        context: &[Text("upstream"), Column("partner_id"), Column("name"), Column("origin"), Column("credential")],
    },
    SealedColumn {
        table: "feeds",
        key: &["partner_id", "name"],
        column: "sealed",
        encoding: Encoding::Bytes,
        context: &[Text("feed"), Column("partner_id"), Column("name")],
    },
    SealedColumn {
        table: "webhooks",
        key: &["partner_id", "id"],
        column: "sealed",
        encoding: Encoding::Bytes,
        context: &[Text("webhook"), Column("partner_id"), Column("id")],
    },
    SealedColumn {
        table: "mails",
        key: &["id"],
        column: "sealed_letter",
        encoding: Encoding::Bytes,
        context: &[Text("mail"), Column("id")],
    },
    SealedColumn {
        table: "administrators",
        key: &["id"],
        column: "sealed_totp",
        encoding: Encoding::Bytes,
        context: &[Text("second factor"), Column("id")],
    },
    SealedColumn {
        table: "certificates",
        key: &["name"],
        column: "sealed_key",
        encoding: Encoding::Bytes,
        context: &[Text("certificate"), Column("name")],
    },
    SealedColumn {
        table: "acme_accounts",
        key: &["directory"],
        column: "sealed_credentials",
        encoding: Encoding::Bytes,
        context: &[Text("acme account"), Column("directory")],
    },
    SealedColumn {
        table: "front_authorities",
        key: &["name"],
        column: "sealed_key",
        encoding: Encoding::Bytes,
        context: &[Text("front authority"), Column("name")],
    },
    SealedColumn {
        table: "idempotency_keys",
        key: &["partner_id", "key_hash"],
        column: "answer",
        encoding: Encoding::Base64,
        context: &[Column("partner_id"), Text("idempotency key"), Column("key_hash")],
    },
];

impl Encoding {
    fn write(self, sealed: &[u8]) -> Value {
        match self {
            Encoding::Bytes => sealed.into(),
            Encoding::Base64 => BASE64_STANDARD.encode(sealed).into(),
        }
    }

    fn read(self, row: &Row, at: usize, column: &SealedColumn) -> Result<Vec<u8>> {
        match self {
            Encoding::Bytes => row.bytes(at),
            Encoding::Base64 => BASE64_STANDARD.decode(row.text(at)?).map_err(|err| Error::BadRow {
                table: column.table,
                column: column.column,
                why: err.to_string(),
            }),
        }
    }

    /// The encoded header of a record, and its length in the column: [`HEADER_BYTES`] is a multiple of a base64 group.
    fn header(self, header: &[u8; HEADER_BYTES]) -> (Value, usize) {
        const { assert!(HEADER_BYTES.is_multiple_of(3)) };
        match self {
            Encoding::Bytes => (self.write(header), HEADER_BYTES),
            Encoding::Base64 => (self.write(header), HEADER_BYTES / 3 * 4),
        }
    }
}

/// A sealed value and its row.
#[derive(Clone, Debug)]
pub struct SealedRow {
    /// The primary key.
    pub key: Vec<String>,
    context: Vec<String>,
    pub sealed: Vec<u8>,
}

impl SealedRow {
    /// The context to which the value is bound.
    pub fn context(&self) -> Vec<&str> {
        self.context.iter().map(String::as_str).collect()
    }
}

/// The number of values of a column under each master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedCount {
    pub all: u64,
    /// In the order of the given headers.
    pub under: Vec<u64>,
}

impl SealedColumn {
    /// The conditions that select one row.
    fn row(&self) -> String {
        self.key.iter().map(|column| format!("{column} = ?")).collect::<Vec<_>>().join(" AND ")
    }
}

impl Store {
    /// Returns the next values that are not under this header, in the order of their keys.
    pub async fn sealed_under_other_key(
        &self,
        column: &SealedColumn,
        header: &[u8; HEADER_BYTES],
        after: Option<&[String]>,
        limit: usize,
    ) -> Result<Vec<SealedRow>> {
        let SealedColumn { table, key, column: name, encoding, context } = column;
        let columns = context.iter().filter_map(|part| if let Column(name) = part { Some(*name) } else { None });
        let select: Vec<&str> = key.iter().copied().chain([*name]).chain(columns).collect();
        let (header, length) = encoding.header(header);
        let mut args = vec![header];
        let keys = key.join(", ");
        // The first key column alone once more, because one of the databases seeks only by it.
        let rest = match after {
            None => String::new(),
            Some(after) => {
                args.extend(after.first().into_iter().chain(after).map(Value::from));
                format!("AND {} >= ? AND ({keys}) > ({})", key[0], vec!["?"; key.len()].join(", "))
            }
        };
        let sql = format!(
            "-- sealed_otherwise_{table}
            SELECT {} FROM {table} WHERE SUBSTR({name}, 1, {length}) <> ? {rest} ORDER BY {keys} LIMIT {limit}",
            select.join(", ")
        );
        let read = |row: &Row| {
            let text = |at| row.text(at);
            let mut next = key.len() + 1;
            let mut part = |part: &Part| match part {
                Text(text) => Ok((*text).to_owned()),
                Column(_) => {
                    next += 1;
                    row.text(next - 1)
                }
            };
            Ok(SealedRow {
                key: (0..key.len()).map(text).collect::<Result<_>>()?,
                sealed: encoding.read(row, key.len(), column)?,
                context: context.iter().map(&mut part).collect::<Result<_>>()?,
            })
        };
        self.db.rows(&sql, args).await?.iter().map(read).collect()
    }

    /// Replaces values that have not changed meanwhile, and returns how many. A concurrent writer wins.
    pub async fn replace_sealed(&self, column: &'static SealedColumn, rows: &[(SealedRow, Vec<u8>)]) -> Result<u64> {
        let SealedColumn { table, column: name, encoding, .. } = column;
        let sql = format!(
            "-- replace_sealed_{table}
            UPDATE {table} SET {name} = ? WHERE {} AND {name} = ?",
            column.row()
        );
        self.db
            .tx("replace_sealed", &(sql, rows), |tx, (sql, rows)| {
                Box::pin(async move {
                    let mut replaced = 0;
                    for (row, new) in *rows {
                        let mut args = vec![encoding.write(new)];
                        args.extend(row.key.iter().map(Value::from));
                        args.push(encoding.write(&row.sealed));
                        replaced += tx.run(sql, args).await?.0;
                    }
                    Ok(replaced)
                })
            })
            .await
    }

    pub async fn count_sealed(&self, column: &SealedColumn, headers: &[[u8; HEADER_BYTES]]) -> Result<SealedCount> {
        let SealedColumn { table, column: name, encoding, .. } = column;
        let (headers, lengths): (Vec<Value>, Vec<usize>) = headers.iter().map(|header| encoding.header(header)).unzip();
        let count = |length| {
            format!(", CAST(SUM(CASE WHEN SUBSTR({name}, 1, {length}) = ? THEN 1 ELSE 0 END) AS SIGNED INTEGER)")
        };
        let sql = format!(
            "-- count_sealed_{table}
            SELECT COUNT(*){} FROM {table} WHERE {name} IS NOT NULL",
            lengths.iter().map(count).collect::<String>()
        );
        let under = headers.len();
        let row = self.db.row(&sql, headers).await?.ok_or(Error::NotFound { what: "count" })?;
        let number = |at| Ok(row.maybe_int(at)?.unwrap_or(0) as u64);
        Ok(SealedCount { all: number(0)?, under: (1..=under).map(number).collect::<Result<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{SCHEMA, statements};

    #[test]
    fn every_sealed_column_is_rotated() {
        let mut seen = 0;
        for statement in SCHEMA.iter().flat_map(|(_, text)| statements(text)) {
            let statement: String =
                statement.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
            let mut words = statement.split_whitespace().skip_while(|word| *word != "TABLE").skip(1);
            let Some(table) = words.next() else { continue };
            for word in words.filter(|word| word.starts_with("sealed")) {
                seen += 1;
                let listed = SEALED.iter().any(|column| column.table == table && column.column == word);
                assert!(listed, "{table}.{word} is not in SEALED: its values would be lost with the old master key");
            }
        }
        assert!(seen >= 2, "{seen} columns");
    }
}

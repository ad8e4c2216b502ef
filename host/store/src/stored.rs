//! Counts the bytes that a partner stores: uploads and build logs, events, state, and the bodies, logs and errors of
//! executions. Only the long columns of a row count. Transactions and the history of grants, which nobody can delete, do
//! not count.
//! Tables are counted one after the other, in pages along the keys, so that no statement is long and storing does not have
//! to update a counter.

use larder_model::ids::PartnerId;
use larder_model::time::Millis;

use crate::db::{Row, Value};
use crate::{Result, Store, args};

/// A table that counts.
struct Counted {
    table: &'static str,
    /// The key columns after the partner, in the order of the primary key.
    key: &'static [&'static str],
    bytes: &'static str,
}

const COUNTED: &[Counted] = &[
    Counted { table: "deployments", key: &["id"], bytes: "source_bytes + component_bytes + OCTET_LENGTH(build_logs)" },
    Counted { table: "events", key: &["row_id"], bytes: "OCTET_LENGTH(data)" },
    Counted {
        table: "executions",
        key: &["id"],
        bytes: "COALESCE(OCTET_LENGTH(body), 0) + OCTET_LENGTH(logs) + OCTET_LENGTH(errors)",
    },
    Counted { table: "execution_packs", key: &["id"], bytes: "text_bytes" },
    Counted {
        table: "state",
        key: &["function_id", "enrolment_id", "name"],
        bytes: "OCTET_LENGTH(name) + OCTET_LENGTH(value)",
    },
];

/// The progress of a count.
#[derive(Clone, Debug, Default)]
pub struct Counting {
    table: usize,
    behind: Vec<Value>,
    bytes: u64,
}

impl Store {
    /// Counts one more page of `rows`. Returns the sum when there are no more.
    pub async fn count_stored(
        &self,
        partner: &PartnerId,
        mut counting: Counting,
        rows: u32,
    ) -> Result<std::result::Result<u64, Counting>> {
        let Some(Counted { table, key, bytes }) = COUNTED.get(counting.table) else { return Ok(Ok(counting.bytes)) };
        let (behind, behind_args) = behind(key, &counting.behind);
        let keys = key.join(", ");
        let sql = format!(
            "-- count_stored_{table}
            SELECT {bytes}, {keys} FROM {table} WHERE partner_id = ?{behind} ORDER BY {keys} LIMIT {rows}"
        );
        let page = self.db.rows(&sql, [args![partner], behind_args].concat()).await?;
        for row in &page {
            counting.bytes += row.int(0)?.max(0) as u64;
        }
        match page.into_iter().nth(rows as usize - 1) {
            Some(Row(mut last)) => counting.behind = last.split_off(1),
            None => {
                counting.table += 1;
                counting.behind.clear();
            }
        }
        Ok(Err(counting))
    }

    pub async fn set_stored(&self, partner: &PartnerId, bytes: u64, now: Millis) -> Result<()> {
        self.db
            .tx("set_stored", &(partner, bytes, now), |tx, (partner, bytes, now)| {
                Box::pin(async move {
                    let row = args![*partner, *bytes, *now];
                    tx.upsert("stored_bytes", &["partner_id"], &["bytes", "counted_at_ms"], vec![row]).await
                })
            })
            .await
    }

    /// Returns the bytes that each partner stored when it was last counted, and the time of that count.
    pub async fn stored(&self) -> Result<Vec<(PartnerId, u64, Millis)>> {
        const STORED: &str = "-- list_stored_bytes
            SELECT partner_id, bytes, counted_at_ms FROM stored_bytes";
        let read = |row: &Row| Ok((row.id(0, "stored_bytes.partner_id")?, row.int(1)?.max(0) as u64, row.int(2)?));
        self.db.rows(STORED, vec![]).await?.iter().map(read).collect()
    }
}

/// The condition of coming after this key.
fn behind(key: &[&str], at: &[Value]) -> (String, Vec<Value>) {
    let (Some(first), Some(value)) = (key.first(), at.first()) else { return (String::new(), vec![]) };
    let mut text = String::new();
    let mut args = Vec::new();
    for (length, column) in key.iter().enumerate().rev() {
        text = match text.is_empty() {
            true => format!("{column} > ?"),
            false => format!("({column} > ? OR ({column} = ? AND {text}))"),
        };
        let own = std::iter::repeat_n(at[length].clone(), if length + 1 == key.len() { 1 } else { 2 });
        args.splice(0..0, own);
    }
    // The first column alone once more, so that the index scan starts there.
    (format!(" AND {first} >= ? AND {text}"), [vec![value.clone()], args].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_starts_after_the_last_row() {
        let text = |text: &str| Value::Text(text.into());
        let (sql, args) = behind(&["a", "b", "c"], &[text("1"), text("2"), text("3")]);
        assert_eq!(sql, " AND a >= ? AND (a > ? OR (a = ? AND (b > ? OR (b = ? AND c > ?))))");
        assert_eq!(args, ["1", "1", "1", "2", "2", "3"].map(text));
        assert_eq!(behind(&["a"], &[]), (String::new(), vec![]));
    }
}

//! List calls: filters, orders and pages over a fixed set of columns.
//!
//! `api::queries` turns the wire's `queries` into a [`Listing`]; column names come from the entity's [`Column`] table
//! only, values are always bound.

use super::db::{Db, Row, Value};
use super::{Error, Result};

/// A column that callers may filter and order by.
pub struct Column {
    /// Its name on the wire.
    pub attribute: &'static str,
    pub column: &'static str,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Int,
    Flag,
    /// Milliseconds here, ISO 8601 on the wire.
    Time,
    /// Milliseconds or microseconds here, seconds on the wire; the number is how many make a second.
    Seconds(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// One of the values.
    Equal,
    /// None of the values.
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// From the first to the second value, both included.
    Between,
    NotBetween,
    StartsWith,
    NotStartsWith,
    EndsWith,
    NotEndsWith,
    Contains,
    NotContains,
    IsNull,
    IsNotNull,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    Compare { column: &'static str, op: Op, values: Vec<Value> },
    And(Vec<Filter>),
    Or(Vec<Filter>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub column: &'static str,
    pub descending: bool,
}

/// Which rows of a list, in which order.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// All must hold.
    pub filters: Vec<Filter>,
    /// Before the order of creation, which is always last.
    pub orders: Vec<Order>,
    pub limit: u32,
    pub offset: u32,
    /// The id of a row, and whether the page ends before it rather than beginning after it.
    pub cursor: Option<(String, bool)>,
    /// Count all matches, not only the page.
    pub total: bool,
}

impl Listing {
    pub const LIMIT_DEFAULT: u32 = 25;
    pub const LIMIT_MAX: u32 = 5_000;

    /// All rows in order of creation, up to `limit`.
    pub fn first(limit: u32) -> Listing {
        Listing { filters: vec![], orders: vec![], limit, offset: 0, cursor: None, total: false }
    }

    /// The last that were made, up to `limit`.
    pub fn newest(limit: u32) -> Listing {
        Listing { orders: vec![Order { column: "created_at_ms", descending: true }], ..Listing::first(limit) }
    }

    pub fn equal(mut self, column: &'static str, value: impl Into<Value>) -> Listing {
        self.filters.push(Filter::Compare { column, op: Op::Equal, values: vec![value.into()] });
        self
    }
}

/// A page and, if it was asked for, how many rows match without paging.
#[derive(Debug)]
pub struct Page<T> {
    pub total: u64,
    pub rows: Vec<T>,
}

/// What is listed.
pub(super) struct Source {
    pub name: &'static str,
    pub table: &'static str,
    /// The columns that `row` reads.
    pub columns: &'static str,
    pub id: &'static str,
}

pub(super) async fn list<T>(
    db: &Db,
    source: &Source,
    scope: Vec<(&'static str, Value)>,
    listing: &Listing,
    row: impl Fn(&Row) -> Result<T>,
) -> Result<Page<T>> {
    let mut clause = Clause::default();
    for (column, value) in scope {
        clause.push(&format!("{column} = ?"), [value]);
        clause.scoped += 1;
    }
    for filter in &listing.filters {
        let part = text(filter);
        clause.push(&part.text, part.args);
    }
    let total = if listing.total {
        let sql = format!("-- count_{}\n SELECT COUNT(*) FROM {}{}", source.name, source.table, clause.sql());
        db.row(&sql, clause.args.clone()).await?.map_or(Ok(0), |row| row.int(0))?
    } else {
        0
    };

    let mut orders = listing.orders.clone();
    let newest_first = orders.last().is_some_and(|order| order.column == "created_at_ms" && order.descending);
    for column in ["created_at_ms", source.id] {
        if !orders.iter().any(|order| order.column == column) {
            orders.push(Order { column, descending: newest_first });
        }
    }
    let before = matches!(&listing.cursor, Some((_, true)));
    if before {
        orders.iter_mut().for_each(|order| order.descending = !order.descending);
    }
    if let Some((id, _)) = &listing.cursor {
        let columns: Vec<&str> = orders.iter().map(|order| order.column).collect();
        let mut at = Clause {
            parts: clause.parts[..clause.scoped].to_vec(),
            args: clause.args[..clause.scoped].to_vec(),
            scoped: 0,
        };
        at.push(&format!("{} = ?", source.id), [Value::from(id)]);
        let sql =
            format!("-- cursor_{}\n SELECT {} FROM {}{}", source.name, columns.join(", "), source.table, at.sql());
        let row = db.row(&sql, at.args).await?.ok_or(Error::NotFound { what: "cursor" })?;
        let (text, args) = behind(&orders, row.0);
        clause.push(&text, args);
    }

    let ordered: Vec<String> = orders
        .iter()
        .map(|order| format!("{} {}", order.column, if order.descending { "DESC" } else { "ASC" }))
        .collect();
    let sql = format!(
        "-- list_{}\n SELECT {} FROM {}{} ORDER BY {} LIMIT {} OFFSET {}",
        source.name,
        source.columns,
        source.table,
        clause.sql(),
        ordered.join(", "),
        listing.limit.min(Listing::LIMIT_MAX),
        listing.offset
    );
    let mut rows = db.rows(&sql, clause.args).await?.iter().map(row).collect::<Result<Vec<T>>>()?;
    if before {
        rows.reverse();
    }
    Ok(Page { total: total as u64, rows })
}

/// The condition of lying behind these values in this order.
fn behind(orders: &[Order], values: Vec<Value>) -> (String, Vec<Value>) {
    let mut alternatives = Vec::new();
    let mut args = Vec::new();
    for (at, order) in orders.iter().enumerate() {
        let mut parts: Vec<String> = orders[..at].iter().map(|same| format!("{} = ?", same.column)).collect();
        parts.push(format!("{} {} ?", order.column, if order.descending { "<" } else { ">" }));
        alternatives.push(format!("({})", parts.join(" AND ")));
        args.extend(values[..=at].iter().cloned());
    }
    (format!("({})", alternatives.join(" OR ")), args)
}

#[derive(Default)]
struct Clause {
    parts: Vec<String>,
    args: Vec<Value>,
    /// How many parts, of one argument each, are the scope.
    scoped: usize,
}

impl Clause {
    fn push(&mut self, part: &str, args: impl IntoIterator<Item = Value>) {
        self.parts.push(part.to_owned());
        self.args.extend(args);
    }

    fn sql(&self) -> String {
        if self.parts.is_empty() { String::new() } else { format!(" WHERE {}", self.parts.join(" AND ")) }
    }
}

struct Part {
    text: String,
    args: Vec<Value>,
}

fn text(filter: &Filter) -> Part {
    let nested = |filters: &[Filter], word: &str, none: &str| {
        let parts: Vec<Part> = filters.iter().map(text).collect();
        let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
        let text = if texts.is_empty() { none.to_owned() } else { format!("({})", texts.join(word)) };
        Part { text, args: parts.into_iter().flat_map(|part| part.args).collect() }
    };
    match filter {
        Filter::And(filters) => nested(filters, " AND ", "1 = 1"),
        Filter::Or(filters) => nested(filters, " OR ", "1 = 0"),
        Filter::Compare { column, op, values } => compare(column, *op, values),
    }
}

fn compare(column: &str, op: Op, values: &[Value]) -> Part {
    let any = |one: &str, joined: &str| format!("({})", vec![one; values.len()].join(joined));
    let plain = |text: String| Part { text, args: values.to_vec() };
    let chars = |value: &Value| match value {
        Value::Text(text) => text.chars().count() as i64,
        _ => 0,
    };
    // LIKE disagrees between the databases about case and escapes; SUBSTR and INSTR do not.
    let each = |one: &str, joined: &str, args: &dyn Fn(&Value) -> Vec<Value>| Part {
        text: any(one, joined),
        args: values.iter().flat_map(args).collect(),
    };
    let starts = |value: &Value| vec![Value::Int(chars(value)), value.clone()];
    let ends = |value: &Value| vec![Value::Int(-chars(value).max(1)), value.clone()];
    let same = |value: &Value| vec![value.clone()];
    match op {
        Op::Equal => plain(any(&format!("{column} = ?"), " OR ")),
        Op::NotEqual => plain(any(&format!("{column} <> ?"), " AND ")),
        Op::Less => plain(any(&format!("{column} < ?"), " AND ")),
        Op::LessEqual => plain(any(&format!("{column} <= ?"), " AND ")),
        Op::Greater => plain(any(&format!("{column} > ?"), " AND ")),
        Op::GreaterEqual => plain(any(&format!("{column} >= ?"), " AND ")),
        Op::Between => plain(format!("{column} BETWEEN ? AND ?")),
        Op::NotBetween => plain(format!("{column} NOT BETWEEN ? AND ?")),
        Op::StartsWith => each(&format!("SUBSTR({column}, 1, ?) = ?"), " OR ", &starts),
        Op::NotStartsWith => each(&format!("SUBSTR({column}, 1, ?) <> ?"), " AND ", &starts),
        Op::EndsWith => each(&format!("SUBSTR({column}, ?) = ?"), " OR ", &ends),
        Op::NotEndsWith => each(&format!("SUBSTR({column}, ?) <> ?"), " AND ", &ends),
        Op::Contains => each(&format!("INSTR({column}, ?) > 0"), " OR ", &same),
        Op::NotContains => each(&format!("INSTR({column}, ?) = 0"), " AND ", &same),
        Op::IsNull => Part { text: format!("{column} IS NULL"), args: vec![] },
        Op::IsNotNull => Part { text: format!("{column} IS NOT NULL"), args: vec![] },
    }
}

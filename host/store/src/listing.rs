//! List calls: filters, orders and pages over a fixed set of columns.
//!
//! A page is limited in bytes, a count in rows, and a statement in time ([`crate::Store::lists`]), so the cost of a list
//! call does not grow with the table.
//!
//! `api::queries` parses the wire's `queries` into a [`Listing`]. Column names come only from the entity's [`Column`]
//! table, and values are always bound.

use crate::db::{Db, Row, Value};
use crate::{Error, Result};

/// A column by which callers may filter and order.
pub struct Column {
    /// Its name on the wire.
    pub attribute: &'static str,
    /// A column, or an expression of columns.
    pub column: &'static str,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Text that is part of a JSON text here: escaped.
    JsonText,
    Int,
    Flag,
    /// Milliseconds here, ISO 8601 on the wire.
    Time,
    /// Milliseconds or microseconds here, seconds on the wire; the number is how many make a second.
    Seconds(i64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Equal to one of the values.
    Equal,
    /// Equal to none of the values.
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

/// The rows of a list, and their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// All of them must hold.
    pub filters: Vec<Filter>,
    /// Applied before the order of creation, which always comes last.
    pub orders: Vec<Order>,
    pub limit: u32,
    pub offset: u32,
    /// The id of a row, and whether the page ends before it instead of starting after it.
    pub cursor: Option<(String, bool)>,
    /// Count all matches, not only the page.
    pub total: bool,
}

impl Listing {
    pub const LIMIT_DEFAULT: u32 = 25;
    pub const LIMIT_MAX: u32 = 5_000;
    /// `total` is not counted further.
    pub const COUNT_MAX: u32 = 5_000;

    /// All rows in order of creation, up to `limit`.
    pub fn first(limit: u32) -> Listing {
        Listing { filters: vec![], orders: vec![], limit, offset: 0, cursor: None, total: false }
    }

    /// The most recently created rows, up to `limit`.
    pub fn newest(limit: u32) -> Listing {
        Listing { orders: vec![Order { column: "created_at_ms", descending: true }], ..Listing::first(limit) }
    }

    pub fn equal(mut self, column: &'static str, value: impl Into<Value>) -> Listing {
        self.filters.push(Filter::Compare { column, op: Op::Equal, values: vec![value.into()] });
        self
    }
}

/// A page and, if requested, the number of matching rows without paging, counted up to [`Listing::COUNT_MAX`].
#[derive(Debug)]
pub struct Page<T> {
    pub total: u64,
    pub rows: Vec<T>,
}

/// The table and columns of a list.
pub(super) struct Source {
    pub name: &'static str,
    pub table: &'static str,
    /// The columns that `row` reads.
    pub columns: &'static str,
    pub id: &'static str,
    /// Columns that have an index of their own after the partner, and find few rows. An equality filter on one of them uses
    /// that index, whatever else filters or orders the list.
    pub indexed: &'static [&'static str],
    /// Has it an index over the rows of a scope in the order of creation? MariaDB prefers to walk the primary key, to which no
    /// filter and no order but that by id belongs.
    pub by_time: bool,
    /// Long texts, of which a list contains only the beginning.
    pub long: &'static [&'static str],
}

/// The maximum bytes of one page.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// The maximum characters of all long texts of a page together, and the bounds for each of them.
const PAGE_CHARS: usize = 2 << 20;
const TEXT_CHARS: std::ops::RangeInclusive<usize> = 200..=4_000;
const SHORTENED: &str = "\n[shortened in lists; read alone, it is whole]";

/// Reads one row by its id, with its complete texts.
pub(super) async fn one<T>(
    db: &Db,
    source: &Source,
    scope: Vec<(&'static str, Value)>,
    id: impl Into<Value>,
    row: impl Fn(&Row) -> Result<T>,
) -> Result<Option<T>> {
    let scope = scope.into_iter().chain([(source.id, id.into())]);
    let (columns, args): (Vec<_>, Vec<Value>) = scope.map(|(column, value)| (format!("{column} = ?"), value)).unzip();
    let sql = format!(
        "-- find_{}\n SELECT {} FROM {} WHERE {}",
        source.name,
        source.columns,
        source.table,
        columns.join(" AND ")
    );
    db.row(&sql, args).await?.as_ref().map(row).transpose()
}

/// Reads a page. `db` is the [`crate::Store`]'s database for lists, whose statements have a deadline: filter columns need
/// not have an index.
pub(super) async fn list<T>(
    db: &Db,
    source: &Source,
    scope: Vec<(&'static str, Value)>,
    listing: &Listing,
    row: impl Fn(&Row) -> Result<T>,
) -> Result<Page<T>> {
    let total = if listing.total { count(db, source, scope.clone(), listing).await? } else { 0 };
    let query = Query::new(source, scope.clone(), listing);
    let at = match query.cursor() {
        Some((sql, args)) => Some(db.row(&sql, args).await?.ok_or(Error::NotFound { what: "cursor" })?.0),
        None => None,
    };
    let shown = Listing { limit: listing.limit.min(Listing::LIMIT_MAX), ..listing.clone() };
    let mut rows = page(db, source, scope, &shown, at, row).await?;
    if query.before {
        rows.reverse();
    }
    Ok(Page { total, rows })
}

/// Counts the matching rows, up to [`Listing::COUNT_MAX`].
pub(super) async fn count(
    db: &Db,
    source: &Source,
    scope: Vec<(&'static str, Value)>,
    listing: &Listing,
) -> Result<u64> {
    let (sql, args) = Query::new(source, scope, listing).count();
    Ok(db.row(&sql, args).await?.map_or(Ok(0), |row| row.int(0))? as u64)
}

/// Sums a column up over the first [`Listing::COUNT_MAX`] matching rows.
pub(super) async fn sum(
    db: &Db,
    source: &Source,
    scope: Vec<(&'static str, Value)>,
    listing: &Listing,
    column: &'static str,
) -> Result<u64> {
    let (sql, args) = Query::new(source, scope, listing).sum(column);
    Ok(db.row(&sql, args).await?.map_or(Ok(0), |row| row.int(0))? as u64)
}

/// Reads one row for each group of the matching rows, whatever the page, in the order of the groups.
pub(super) async fn groups<T>(
    db: &Db,
    source: &Source,
    scope: Vec<(&'static str, Value)>,
    listing: &Listing,
    columns: &str,
    by: &str,
    row: impl Fn(&Row) -> Result<T>,
) -> Result<Vec<T>> {
    let query = Query::new(source, scope, listing);
    let (name, from, clause) = (source.name, query.from(), query.clause.sql());
    let sql = format!("-- groups_of_{name}\n SELECT {columns} FROM {from}{clause} GROUP BY {by} ORDER BY {by}");
    db.page(&sql, query.clause.args, PAGE_BYTES_MAX).await?.iter().map(row).collect()
}

/// Reads the rows of a page that starts behind these values of the order's columns, in the order of [`orders`].
pub(super) async fn page<T>(
    db: &Db,
    source: &Source,
    scope: Vec<(&'static str, Value)>,
    listing: &Listing,
    behind: Option<Vec<Value>>,
    row: impl Fn(&Row) -> Result<T>,
) -> Result<Vec<T>> {
    let (sql, args) = Query::new(source, scope, listing).page(behind);
    let mut rows = db.page(&sql, args, PAGE_BYTES_MAX).await?;
    let chars = text_chars(source, listing);
    let long = source.columns.split(", ").enumerate().filter(|(_, column)| source.long.contains(column));
    for (at, _) in long {
        for row in &mut rows {
            if let Value::Text(text) = &mut row.0[at] {
                shorten_text(text, chars);
            }
        }
    }
    rows.iter().map(row).collect()
}

/// The columns by which a list is ordered, up to one that is unique. Backwards, if its page ends before the cursor.
pub(super) fn orders(source: &Source, listing: &Listing) -> Vec<Order> {
    let mut orders = listing.orders.clone();
    // Of many rows all in one direction, so that an index serves the order.
    let same = |order: &Order| order.column == "created_at_ms" || source.by_time;
    let descending = orders.last().is_some_and(|order| order.descending && same(order));
    for column in ["created_at_ms", source.id] {
        if !orders.iter().any(|order| order.column == column) {
            orders.push(Order { column, descending });
        }
    }
    if matches!(&listing.cursor, Some((_, true))) {
        orders.iter_mut().for_each(|order| order.descending = !order.descending);
    }
    orders
}

/// The maximum characters of each long text of a page.
pub(super) fn text_chars(source: &Source, listing: &Listing) -> usize {
    let texts = (listing.limit.max(1) as usize).saturating_mul(source.long.len().max(1));
    (PAGE_CHARS / texts).clamp(*TEXT_CHARS.start(), *TEXT_CHARS.end())
}

/// Truncates a text that has more than `chars` characters, and marks it.
pub(super) fn shorten_text(text: &mut String, chars: usize) {
    if let Some((at, _)) = text.char_indices().nth(chars) {
        text.truncate(at);
        text.push_str(SHORTENED);
    }
}

/// The statements of a list call.
struct Query<'l> {
    source: &'l Source,
    listing: &'l Listing,
    clause: Clause,
    orders: Vec<Order>,
    /// The page is read backwards from the cursor.
    before: bool,
    /// The maximum characters of each long text.
    chars: usize,
    /// A prefix for columns whose indexes must not be used.
    sign: &'static str,
}

impl<'l> Query<'l> {
    fn new(source: &'l Source, scope: Vec<(&'static str, Value)>, listing: &'l Listing) -> Query<'l> {
        let looked_up = listing.filters.iter().find_map(|filter| match filter {
            Filter::Compare { column, op: Op::Equal, .. } if source.indexed.contains(column) => Some(*column),
            _ => None,
        });
        // SQLite, which has no statistics, must not prefer an index for another column or for the order. Otherwise the sign
        // has no effect in either database.
        let sign = if looked_up.is_some() { "+" } else { "" };
        let mut clause = Clause::default();
        for (at, (column, value)) in scope.into_iter().enumerate() {
            clause.push(&format!("{}{column} = ?", if at > 0 { sign } else { "" }), [value]);
            clause.scoped += 1;
        }
        for filter in &listing.filters {
            let part = match filter {
                Filter::Compare { column, op, values } if looked_up != Some(*column) => {
                    compare(&format!("{sign}{column}"), *op, values)
                }
                _ => text(filter),
            };
            clause.push(&part.text, part.args);
        }
        let (orders, chars) = (orders(source, listing), text_chars(source, listing));
        let before = matches!(&listing.cursor, Some((_, true)));
        Query { source, listing, clause, orders, before, chars, sign }
    }

    /// The table, and the indexes from which MariaDB may choose.
    fn from(&self) -> String {
        let by_id = self.listing.filters.iter().any(|filter| concerns(filter, self.source.id));
        let hint = if self.source.by_time && !by_id { " /*! IGNORE INDEX (PRIMARY) */" } else { "" };
        format!("{}{hint}", self.source.table)
    }

    /// Counts the matching rows, up to [`Listing::COUNT_MAX`].
    fn count(&self) -> (String, Vec<Value>) {
        let sql = format!(
            "-- count_{}\n SELECT COUNT(*) FROM (SELECT 1 FROM {}{} LIMIT {}) AS counted",
            self.source.name,
            self.from(),
            self.clause.sql(),
            Listing::COUNT_MAX
        );
        (sql, self.clause.args.clone())
    }

    /// Sums a column up over as many of the matching rows as [`Query::count`] counts.
    fn sum(&self, column: &str) -> (String, Vec<Value>) {
        let sql = format!(
            "-- sum_{}\n SELECT CAST(COALESCE(SUM({column}), 0) AS SIGNED INTEGER) FROM (SELECT {column} FROM {}{} LIMIT {}) AS counted",
            self.source.name,
            self.from(),
            self.clause.sql(),
            Listing::COUNT_MAX
        );
        (sql, self.clause.args.clone())
    }

    /// Reads the position of the cursor's row in the order.
    fn cursor(&self) -> Option<(String, Vec<Value>)> {
        let (id, _) = self.listing.cursor.as_ref()?;
        let columns: Vec<&str> = self.orders.iter().map(|order| order.column).collect();
        let mut at = Clause {
            parts: self.clause.parts[..self.clause.scoped].to_vec(),
            args: self.clause.args[..self.clause.scoped].to_vec(),
            scoped: 0,
        };
        at.push(&format!("{} = ?", self.source.id), [Value::from(id)]);
        let (name, table) = (self.source.name, self.source.table);
        Some((format!("-- cursor_{name}\n SELECT {} FROM {table}{}", columns.join(", "), at.sql()), at.args))
    }

    /// Reads the rows after a row that has these values in the order's columns.
    fn page(&self, behind_values: Option<Vec<Value>>) -> (String, Vec<Value>) {
        let Source { name, columns, long, .. } = self.source;
        let columns: Vec<String> = columns
            .split(", ")
            .map(|column| match long.contains(&column) {
                // One character more than is shown tells whether the text was truncated.
                true => format!("SUBSTR({column}, 1, {})", self.chars + 1),
                false => column.to_owned(),
            })
            .collect();
        let mut clause = self.clause.clone();
        if let Some(values) = behind_values {
            let part = behind(&self.orders, values);
            clause.push(&part.text, part.args);
        }
        let ordered: Vec<String> = self
            .orders
            .iter()
            .map(|order| format!("{}{} {}", self.sign, order.column, if order.descending { "DESC" } else { "ASC" }))
            .collect();
        let sql = format!(
            "-- list_{name}\n SELECT {} FROM {}{} ORDER BY {} LIMIT {} OFFSET {}",
            columns.join(", "),
            self.from(),
            clause.sql(),
            ordered.join(", "),
            self.listing.limit,
            self.listing.offset
        );
        (sql, clause.args)
    }
}

/// The condition of coming after these values in this order. Both databases sort NULL first, as if it were less than every
/// value.
fn behind(orders: &[Order], values: Vec<Value>) -> Part {
    let mut alternatives: Vec<String> = Vec::new();
    let mut args = Vec::new();
    let (mut same, mut same_args): (Vec<String>, Vec<Value>) = (Vec::new(), Vec::new());
    for (Order { column, descending }, value) in orders.iter().zip(values) {
        let (further, equal) = match (&value, descending) {
            (Value::Null, false) => (Some(format!("{column} IS NOT NULL")), format!("{column} IS NULL")),
            (Value::Null, true) => (None, format!("{column} IS NULL")),
            (_, false) => (Some(format!("{column} > ?")), format!("{column} = ?")),
            (_, true) if NEVER_NULL.contains(column) => (Some(format!("{column} < ?")), format!("{column} = ?")),
            (_, true) => (Some(format!("({column} < ? OR {column} IS NULL)")), format!("{column} = ?")),
        };
        let marked = |text: &String| text.contains('?').then(|| value.clone());
        if let Some(further) = further {
            args.extend(same_args.iter().cloned().chain(marked(&further)));
            alternatives.push(format!("({})", [same.as_slice(), &[further]].concat().join(" AND ")));
        }
        same_args.extend(marked(&equal));
        same.push(equal);
    }
    if alternatives.is_empty() {
        alternatives.push("1 = 0".into());
    }
    let mut text = format!("({})", alternatives.join(" OR "));
    // The bound of the first column once more, alone, so that an index scan can start at it.
    if let (Some(Order { column, descending }), Some(first)) = (orders.first(), same_args.first())
        && same[0].contains('?')
        && (!descending || NEVER_NULL.contains(column))
    {
        text = format!("{column} {} ? AND {text}", if *descending { "<=" } else { ">=" });
        args.insert(0, first.clone());
    }
    Part { text, args }
}

/// Columns of every listed table that are never NULL.
const NEVER_NULL: [&str; 2] = ["created_at_ms", "id"];

/// The query plan of a list call.
#[derive(Debug)]
pub struct Plan {
    pub list: &'static str,
    /// The filter or order attribute; empty for none.
    pub attribute: &'static str,
    pub ordered: bool,
    /// The plan in the database's own format.
    pub plan: String,
}

/// Returns the plans of each list: unfiltered, filtered by each filter column, and ordered by each.
pub(super) async fn plans(
    db: &Db,
    source: &Source,
    scope: &[(&'static str, Value)],
    always: &[Filter],
    columns: &'static [Column],
) -> Result<Vec<Plan>> {
    let plain = Listing { filters: always.to_vec(), ..Listing::first(Listing::LIMIT_DEFAULT) };
    let mut asked = vec![("", false, plain.clone())];
    for column in columns {
        let value =
            if matches!(column.kind, Kind::Text | Kind::JsonText) { Value::Text("x".into()) } else { Value::Int(7) };
        let op = if column.kind == Kind::Time { Op::GreaterEqual } else { Op::Equal };
        let mut filtered = plain.clone();
        filtered.filters.push(Filter::Compare { column: column.column, op, values: vec![value] });
        let order = Order { column: column.column, descending: true };
        asked.push((column.attribute, false, filtered));
        asked.push((column.attribute, true, Listing { orders: vec![order], ..plain.clone() }));
    }
    let mut plans = Vec::new();
    for (attribute, ordered, listing) in asked {
        let query = Query::new(source, scope.to_vec(), &listing);
        for (sql, args) in [query.page(None), query.count()] {
            plans.push(Plan { list: source.name, attribute, ordered, plan: db.explain(&sql, args).await? });
        }
    }
    Ok(plans)
}

#[derive(Clone, Default)]
struct Clause {
    parts: Vec<String>,
    args: Vec<Value>,
    /// The number of parts, with one argument each, that are the scope.
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

/// Does the filter look at this column?
fn concerns(filter: &Filter, column: &str) -> bool {
    match filter {
        Filter::And(filters) | Filter::Or(filters) => filters.iter().any(|filter| concerns(filter, column)),
        Filter::Compare { column: compared, .. } => *compared == column,
    }
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
    // The databases disagree on case and escapes in LIKE; they agree on SUBSTR and INSTR.
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

//! Lists of executions over both places of their records: rows, and packs.
//!
//! The rows of a page come from the database, filtered and ordered. Packs are read in the order of creation, filtered as far
//! as their columns tell, and unpacked; [`matches`] and [`compare`] then do to their records what the database does to rows.
//! In the order of creation reading ends with the page. In every other order all packs that can match are read, until
//! `database.list_timeout`. An `offset` beyond what is counted is refused: a cursor gets there.

use std::cmp::Ordering;
use std::time::Instant;

use larder_model::ids::{ExecutionId, FunctionId, PartnerId};
use larder_model::{Execution, ExecutionStatus};

use super::{FILTERS, SOURCE, pack_of};
use crate::db::Value;
use crate::listing::{self, Filter, Listing, Op, Order, Page};
use crate::{Error, Result, Store, args, executions};

/// Packs that are read at once.
const PACKS: u32 = 10;

/// A page of the executions of a function that has packs.
pub(crate) async fn merged(
    store: &Store,
    partner: &PartnerId,
    function: &FunctionId,
    listing: &Listing,
) -> Result<Page<Execution>> {
    let scope = || vec![("partner_id", partner.into()), ("function_id", function.into())];
    let orders = listing::orders(&executions::SOURCE, listing);
    let at = match &listing.cursor {
        Some((id, _)) => Some(position(store, partner, function, id, &orders).await?),
        None => None,
    };
    if listing.offset > Listing::COUNT_MAX {
        // All rows and records before it would have to be merged.
        return Err(Error::TooSlow("list_executions".into()));
    }
    let wanted = listing.offset as usize + listing.limit.min(Listing::LIMIT_MAX) as usize;
    let (of_rows, lists) = (&executions::SOURCE, &store.lists);
    let first = Listing { offset: 0, limit: wanted as u32, ..listing.clone() };
    let counted = if listing.total { listing::count(lists, of_rows, scope(), listing).await? } else { 0 };
    let mut found = listing::page(lists, of_rows, scope(), &first, at.clone(), executions::execution).await?;
    let mut walk = Walk { store, partner, function, listing, orders, at, wanted, found: vec![], counted };
    walk.run().await?;
    found.append(&mut walk.found);
    found.sort_by(|a, b| compare(&walk.orders, a, b));
    let mut rows: Vec<Execution> =
        found.into_iter().skip(listing.offset as usize).take(wanted - listing.offset as usize).collect();
    if matches!(listing.cursor, Some((_, true))) {
        rows.reverse();
    }
    Ok(Page { total: walk.counted.min(u64::from(Listing::COUNT_MAX)), rows })
}

/// The values of a cursor's execution in the columns of the order.
async fn position(
    store: &Store,
    partner: &PartnerId,
    function: &FunctionId,
    id: &str,
    orders: &[Order],
) -> Result<Vec<Value>> {
    let found = match id.parse::<ExecutionId>() {
        Ok(id) => store.execution(partner, function, &id).await?,
        Err(_) => None,
    };
    let found = found.ok_or(Error::NotFound { what: "cursor" })?;
    Ok(orders.iter().map(|order| value(&found, order.column)).collect())
}

/// Reads the packs of one list call.
struct Walk<'a> {
    store: &'a Store,
    partner: &'a PartnerId,
    function: &'a FunctionId,
    listing: &'a Listing,
    orders: Vec<Order>,
    /// The position of the cursor.
    at: Option<Vec<Value>>,
    /// Records up to the end of the page.
    wanted: usize,
    /// The first of them so far, in order.
    found: Vec<Execution>,
    /// All that match, rows included.
    counted: u64,
}

impl Walk<'_> {
    async fn run(&mut self) -> Result<()> {
        let scope = || vec![("partner_id", self.partner.into()), ("function_id", self.function.into())];
        let mut filters = Vec::new();
        let mut exact = true;
        for filter in &self.listing.filters {
            match coarse(filter) {
                Coarse::None => return Ok(()),
                Coarse::All => {}
                Coarse::Same(filter) => filters.push(filter),
                Coarse::Some(filter) => {
                    exact = false;
                    filters.extend(filter);
                }
            }
        }
        let created = self.orders.iter().position(|order| order.column == "created_at_ms");
        let (by_time, descending) = (created == Some(0), self.orders[created.unwrap_or(0)].descending);
        let mut packs = Listing {
            orders: vec![Order { column: "created_at_ms", descending }],
            ..Listing { filters, ..Listing::first(PACKS) }
        };
        let lists = &self.store.lists;
        // All records of such packs match, so their numbers are enough.
        let mut counts = self.listing.total;
        if counts && exact {
            self.counted += listing::sum(lists, &SOURCE, scope(), &packs, "runs").await?;
            counts = false;
        }
        if by_time
            && !counts
            && let Some(at) = self.at.as_ref().map(|at| at[0].clone())
        {
            let op = if descending { Op::LessEqual } else { Op::GreaterEqual };
            packs.filters.push(Filter::Compare { column: "created_at_ms", op, values: vec![at] });
        }
        let until = Instant::now() + self.store.list_timeout;
        let mut behind = None;
        loop {
            let page = listing::page(lists, &SOURCE, scope(), &packs, behind, pack_of).await?;
            for pack in &page {
                counts &= self.counted < u64::from(Listing::COUNT_MAX);
                let last = self.found.get(self.wanted.wrapping_sub(1));
                let full = last.is_some_and(|last| match pack.created_at_ms.cmp(&last.created_at_ms) {
                    Ordering::Less => descending,
                    Ordering::Greater => !descending,
                    Ordering::Equal => false,
                });
                if !counts && (self.wanted == 0 || (by_time && full)) {
                    return Ok(());
                }
                self.take(pack.executions()?, counts);
            }
            let Some(last) = page.last().filter(|_| page.len() == PACKS as usize) else { return Ok(()) };
            behind = Some(args![last.created_at_ms, &last.id]);
            if Instant::now() > until {
                return Err(Error::TooSlow("list_executions".into()));
            }
            // Unpacking takes as long as a call.
            tokio::task::yield_now().await;
        }
    }

    /// Takes those records of a pack that match.
    fn take(&mut self, records: Vec<Execution>, counts: bool) {
        let chars = listing::text_chars(&executions::SOURCE, self.listing);
        for mut e in records {
            if !self.listing.filters.iter().all(|filter| matches(&e, filter)) {
                continue;
            }
            self.counted += u64::from(counts);
            let behind = |at: &Vec<Value>| compare_with(&self.orders, &e, at) == Ordering::Greater;
            if self.at.as_ref().is_none_or(behind) {
                listing::shorten_text(&mut e.logs, chars);
                listing::shorten_text(&mut e.errors, chars);
                self.found.push(e);
            }
        }
        self.found.sort_by(|a, b| compare(&self.orders, a, b));
        self.found.truncate(self.wanted);
    }
}

/// What the columns of packs tell about a filter.
#[derive(Debug, PartialEq)]
enum Coarse {
    /// No record matches.
    None,
    /// All records match.
    All,
    /// The records of packs that match this do, and no others.
    Same(Filter),
    /// Only records of packs that match this can.
    Some(Option<Filter>),
}

fn coarse(filter: &Filter) -> Coarse {
    match filter {
        Filter::Compare { column, .. } if FILTERS.iter().any(|same| same.column == *column) => {
            Coarse::Same(filter.clone())
        }
        Filter::Compare { column: "status", op, values } => {
            match is(&Value::from(ExecutionStatus::Completed.word()), *op, values) {
                true => Coarse::All,
                false => Coarse::None,
            }
        }
        Filter::Compare { column: "enrolment_id", op: Op::Equal, values } => {
            Coarse::Some(Some(within("first_enrolment_id", "last_enrolment_id", values)))
        }
        Filter::Compare { column: "id", op: Op::Equal, values } => {
            Coarse::Some(Some(within("first_id", "last_id", values)))
        }
        Filter::Compare { .. } | Filter::Or(_) => Coarse::Some(None),
        Filter::And(filters) => {
            let known = filters.iter().filter_map(|filter| match coarse(filter) {
                Coarse::Same(filter) | Coarse::Some(Some(filter)) => Some(filter),
                Coarse::None | Coarse::All | Coarse::Some(None) => None,
            });
            Coarse::Some(Some(Filter::And(known.collect())))
        }
    }
}

/// One of these values lies between these columns.
fn within(first: &'static str, last: &'static str, values: &[Value]) -> Filter {
    let side = |column, op, value: &Value| Filter::Compare { column, op, values: vec![value.clone()] };
    let between = |value| Filter::And(vec![side(first, Op::LessEqual, value), side(last, Op::GreaterEqual, value)]);
    Filter::Or(values.iter().map(between).collect())
}

/// Does the filter hold, as in a database? A comparison with NULL does not, whatever it compares.
fn matches(e: &Execution, filter: &Filter) -> bool {
    match filter {
        Filter::And(filters) => filters.iter().all(|filter| matches(e, filter)),
        Filter::Or(filters) => filters.iter().any(|filter| matches(e, filter)),
        Filter::Compare { column, op, values } => is(&value(e, column), *op, values),
    }
}

fn is(value: &Value, op: Op, values: &[Value]) -> bool {
    if *value == Value::Null || op == Op::IsNull || op == Op::IsNotNull {
        return (*value == Value::Null) == (op == Op::IsNull) && matches!(op, Op::IsNull | Op::IsNotNull);
    }
    let order = |other: &Value| order(value, other);
    let one = |compared: fn(Ordering) -> bool| values.iter().any(|other| compared(order(other)));
    let within =
        || values.iter().zip([Ordering::is_ge as fn(Ordering) -> bool, Ordering::is_le]).all(|(v, f)| f(order(v)));
    let any = |test: fn(&str, &str) -> bool| values.iter().any(|other| test(&text(value), &text(other)));
    match op {
        Op::Equal => one(Ordering::is_eq),
        Op::NotEqual => !one(Ordering::is_eq),
        Op::Less => one(Ordering::is_lt),
        Op::LessEqual => one(Ordering::is_le),
        Op::Greater => one(Ordering::is_gt),
        Op::GreaterEqual => one(Ordering::is_ge),
        Op::Between => within(),
        Op::NotBetween => !within(),
        Op::StartsWith => any(|text, part| text.starts_with(part)),
        Op::NotStartsWith => !any(|text, part| text.starts_with(part)),
        Op::EndsWith => any(|text, part| text.ends_with(part)),
        Op::NotEndsWith => !any(|text, part| text.ends_with(part)),
        Op::Contains => any(|text, part| text.contains(part)),
        Op::NotContains => !any(|text, part| text.contains(part)),
        Op::IsNull | Op::IsNotNull => unreachable!("answered above"),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Int(int) => int.to_string(),
        Value::Null | Value::Blob(_) => String::new(),
    }
}

/// NULL comes first, as in both databases.
fn order(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        _ => text(a).cmp(&text(b)),
    }
}

fn compare(orders: &[Order], a: &Execution, b: &Execution) -> Ordering {
    let values: Vec<Value> = orders.iter().map(|order| value(b, order.column)).collect();
    compare_with(orders, a, &values)
}

/// Compares an execution with the values of another in the columns of the order.
fn compare_with(orders: &[Order], e: &Execution, at: &[Value]) -> Ordering {
    let each = orders.iter().zip(at).map(|(Order { column, descending }, at)| {
        let found = order(&value(e, column), at);
        if *descending { found.reverse() } else { found }
    });
    each.fold(Ordering::Equal, Ordering::then)
}

/// The value of a column by which lists of executions are filtered or ordered: what the row would have there.
fn value(e: &Execution, column: &str) -> Value {
    match column {
        "id" => (&e.id).into(),
        "created_at_ms" => e.created_at_ms.into(),
        "updated_at_ms" => e.updated_at_ms.into(),
        "trigger_kind" => e.trigger.word().into(),
        "status" => e.status.word().into(),
        "response_status" => e.response_status.into(),
        "wall_us" => e.wall_us.into(),
        executions::REQUEST_METHOD => e.request.method.as_str().into(),
        executions::REQUEST_PATH => {
            let quoted = larder_model::json(&e.request.path);
            quoted[1..quoted.len() - 1].into()
        }
        "deployment_id" => e.deployment.as_ref().into(),
        "enrolment_id" => e.enrolment.as_ref().into(),
        "event_row" => e.event.as_ref().into(),
        _ => unreachable!("no list of executions is filtered by {column}"),
    }
}

#[cfg(test)]
mod tests {
    use larder_model::Trigger;
    use larder_model::time::Clock;

    use super::*;
    use crate::listing::Column;
    use crate::packs::{is_packable, pack};

    fn run(number: u16) -> Execution {
        let (partner, function) = ("p".parse().unwrap(), "f".parse().unwrap());
        let id = format!("run-{:03}", (number * 7) % 250).parse().unwrap();
        Execution {
            deployment: Some("d".parse().unwrap()),
            enrolment: Some(format!("saver-{number:03}").parse().unwrap()),
            attempt: 1,
            response_status: 200 + number % 5,
            response_headers: if number.is_multiple_of(9) { vec![("a".into(), "b".into())] } else { vec![] },
            logs: if number.is_multiple_of(3) { format!("saved for {number}") } else { String::new() },
            wall_us: u64::from(number) * 10,
            cpu_us: u64::from(number),
            memory_peak_bytes: 1 << 20,
            updated_at_ms: 9,
            ..Execution::new(partner, id, function, Trigger::Event, ExecutionStatus::Completed, 7)
        }
    }

    #[test]
    fn every_filter_column_has_the_value_of_the_row() {
        let (e, columns) = (run(3), executions::COLUMNS.split(", ").collect::<Vec<_>>());
        let row = executions::row(&e);
        let is_column = |filter: &&Column| !filter.column.contains('(');
        for filter in executions::FILTERS.iter().filter(is_column) {
            let at = columns.iter().position(|column| *column == filter.column).expect("a column");
            assert_eq!(value(&e, filter.column), row[at], "{}", filter.column);
        }
    }

    #[test]
    fn packs_give_back_what_was_packed() {
        let runs: Vec<Execution> = (0..250).map(run).collect();
        assert!(runs.iter().all(is_packable));
        let clock = Clock::manual(7);
        let (packs, rest) = pack(runs.clone(), &clock);
        assert_eq!((packs.len(), rest.len()), (3, 0));
        let mut unpacked = Vec::new();
        for values in packs {
            unpacked.extend(pack_of(&crate::db::Row(values)).unwrap().executions().unwrap());
        }
        let rows = |runs: &[Execution]| runs.iter().map(executions::row).collect::<Vec<_>>();
        assert_eq!(rows(&unpacked), rows(&runs));
        assert_eq!(pack(runs[..31].to_vec(), &clock).1.len(), 31);
        // What a pack has no place for stays a row.
        let failed = Execution { status: ExecutionStatus::Failed, ..run(1) };
        let long = Execution { logs: "x".repeat(3_000), ..run(1) };
        let again = Execution { failures: 1, ..run(1) };
        assert!([failed, long, again].iter().all(|e| !is_packable(e)));
    }

    #[test]
    fn filters_treat_null_like_a_database() {
        let one = |op| is(&Value::Null, op, &["a".into()]);
        assert!(
            one(Op::IsNull) && !one(Op::IsNotNull) && !one(Op::Equal) && !one(Op::NotEqual) && !one(Op::NotContains)
        );
        assert!(is(&"a".into(), Op::IsNotNull, &[]) && !is(&"a".into(), Op::IsNull, &[]));
        assert!(
            is(&5.into(), Op::Between, &[5.into(), 7.into()]) && !is(&8.into(), Op::Between, &[5.into(), 7.into()])
        );
        assert!(is(&8.into(), Op::NotBetween, &[5.into(), 7.into()]));
    }

    #[test]
    fn packs_are_skipped_only_where_no_record_can_match() {
        let equal = |column, value: &str| Filter::Compare { column, op: Op::Equal, values: args![value] };
        assert_eq!(coarse(&equal("status", "failed")), Coarse::None);
        assert_eq!(coarse(&equal("status", "completed")), Coarse::All);
        assert_eq!(coarse(&equal("event_row", "e")), Coarse::Same(equal("event_row", "e")));
        assert_eq!(coarse(&equal("wall_us", "7")), Coarse::Some(None));
        assert_eq!(coarse(&Filter::Or(vec![equal("status", "failed")])), Coarse::Some(None));
        let both = Filter::And(vec![equal("status", "failed"), equal("event_row", "e")]);
        assert_eq!(coarse(&both), Coarse::Some(Some(Filter::And(vec![equal("event_row", "e")]))));
    }
}

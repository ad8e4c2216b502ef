//! The `queries`, `search` and `total` of list calls → [`Listing`].
//!
//! A query is a JSON text `{"method", "attribute", "values"}`; `and` and `or` hold further ones. Attributes are those of
//! the resource's [`Column`] table; what is not there is refused by name.

use larder_store::db::Value;
use larder_store::listing::{Column, Filter, Kind as Type, Listing, Op, Order};
use larder_wire::queries::Query as Wire;
use serde::Deserialize;
use serde_json::Value as Json;
use utoipa::IntoParams;

use crate::api::by_name::ByName;
use crate::api::requests::parse_datetime;
use crate::problem::{Kind, Problem};

const QUERIES_MAX: usize = 100;
const QUERY_CHARS_MAX: usize = 4_096;
const SEARCH_CHARS_MAX: usize = 256;
/// `and` and `or` within one another.
const DEPTH_MAX: usize = 4;
const VALUES_MAX: usize = 100;

/// The query parameters of a list call, for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `Query` reads in all its spellings")]
pub struct ListParams {
    /// Queries as JSON texts: filters, orders, `limit` (default 25, at most 5000), `offset` and cursors. A page has at most
    /// 8 MiB, and long texts (logs, errors) are shortened in it; the object itself has the whole. Without an index for what
    /// it is filtered or ordered by, a list reads row by row, for a few seconds at most. `$sequence` is the order of creation, as
    /// the milliseconds of `$createdAt`.
    /// Sent as `queries[]` or `queries[0]`, `queries[1]` and so on.
    #[param(rename = "queries[]")]
    queries: Option<Vec<String>>,
    /// `false`: `total` is 0 and not counted. Otherwise matches are counted up to 5000, and 5000 means as many or more.
    total: Option<bool>,
}

/// What a list call asks for.
#[derive(Debug)]
pub struct Query {
    pub listing: Listing,
    /// Attributes to keep, if `select` named any.
    pub select: Option<Vec<String>>,
}

/// Name and value of each parameter, decoded.
pub fn pairs(query: &str) -> impl Iterator<Item = (String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned()
}

/// Reads the query string of a list call. `searched` are the columns that `search` looks in, if it may.
pub fn parse(query: Option<&str>, columns: &'static [Column], searched: &[&'static str]) -> Result<Query, Problem> {
    let mut found = Query { listing: Listing { total: true, ..Listing::first(Listing::LIMIT_DEFAULT) }, select: None };
    let mut count = 0;
    for (name, value) in pairs(query.unwrap_or_default()) {
        match name.as_str() {
            "total" => found.listing.total = flag("total", &value)?,
            "search" if !searched.is_empty() && !value.is_empty() => {
                if value.chars().count() > SEARCH_CHARS_MAX {
                    return Err(Problem::argument(
                        "search",
                        format!("must have at most {SEARCH_CHARS_MAX} characters"),
                    ));
                }
                let one = |column: &&'static str| compare(column, Op::Contains, vec![Value::Text(value.clone())]);
                found.listing.filters.push(Filter::Or(searched.iter().map(one).collect()));
            }
            _ if is_queries(&name) => {
                count += 1;
                if count > QUERIES_MAX {
                    return Err(wrong(format!("at most {QUERIES_MAX} queries are allowed")));
                }
                if value.chars().count() > QUERY_CHARS_MAX {
                    return Err(wrong(format!("a query may have at most {QUERY_CHARS_MAX} characters")));
                }
                let query = read(&value).map_err(|err| wrong(format!("{value:?} is not a query: {err}")))?;
                found.add(query, columns)?;
            }
            // Parameters that nobody asks for are ignored.
            _ => {}
        }
    }
    Ok(found)
}

fn read(text: &str) -> serde_json::Result<Wire> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let query = Wire::deserialize(ByName(&mut reader))?;
    reader.end().map(|()| query)
}

/// `queries`, `queries[]`, `queries[7]`.
fn is_queries(name: &str) -> bool {
    name.strip_prefix("queries").is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|index| index.bytes().all(|b| b.is_ascii_digit()))
    })
}

pub fn flag(name: &str, text: &str) -> Result<bool, Problem> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Problem::argument(name, "must be true or false")),
    }
}

fn wrong(why: impl std::fmt::Display) -> Problem {
    Problem::argument("queries", why)
}

fn compare(column: &'static str, op: Op, values: Vec<Value>) -> Filter {
    Filter::Compare { column, op, values }
}

impl Query {
    fn add(&mut self, query: Wire, columns: &'static [Column]) -> Result<(), Problem> {
        let listing = &mut self.listing;
        match query.method.as_str() {
            "limit" => listing.limit = number(&query, 1)?.min(Listing::LIMIT_MAX),
            "offset" => listing.offset = number(&query, 0)?,
            "cursorAfter" => listing.cursor = Some((only_text(&query)?, false)),
            "cursorBefore" => listing.cursor = Some((only_text(&query)?, true)),
            "orderAsc" | "orderDesc" => {
                let descending = query.method == "orderDesc";
                // Without an attribute: by creation.
                let column = match query.attribute.as_deref() {
                    None | Some("") => "created_at_ms",
                    Some(_) => column(&query, columns)?.column,
                };
                if !listing.orders.iter().any(|order| order.column == column) {
                    listing.orders.push(Order { column, descending });
                }
            }
            "select" => {
                let names = query.values.iter().map(|value| value.as_str().map(str::to_owned));
                let names: Option<Vec<String>> = names.collect();
                self.select.get_or_insert_default().extend(names.ok_or_else(|| wrong("select takes names"))?);
            }
            _ => listing.filters.push(filter(query, columns, 0)?),
        }
        Ok(())
    }
}

fn filter(query: Wire, columns: &'static [Column], depth: usize) -> Result<Filter, Problem> {
    let method = query.method.as_str();
    if let "and" | "or" = method {
        if depth == DEPTH_MAX {
            return Err(wrong(format!("`and` and `or` may be nested {DEPTH_MAX} deep")));
        }
        if query.values.len() > QUERIES_MAX {
            return Err(wrong(format!("{method} takes at most {QUERIES_MAX} queries")));
        }
        let nested = query.values.iter().map(|value| {
            // Some clients send the inner queries as text.
            let inner = match value {
                Json::String(text) => read(text),
                other => Wire::deserialize(ByName(other)),
            };
            filter(inner.map_err(|err| wrong(format!("{method} takes queries: {err}")))?, columns, depth + 1)
        });
        let nested: Vec<Filter> = nested.collect::<Result<_, _>>()?;
        if nested.is_empty() {
            return Err(wrong(format!("{method} needs at least one query")));
        }
        return Ok(if method == "and" { Filter::And(nested) } else { Filter::Or(nested) });
    }
    let (op, least, most) = match method {
        "equal" => (Op::Equal, 1, VALUES_MAX),
        "notEqual" => (Op::NotEqual, 1, 1),
        "lessThan" => (Op::Less, 1, 1),
        "lessThanEqual" => (Op::LessEqual, 1, 1),
        "greaterThan" => (Op::Greater, 1, 1),
        "greaterThanEqual" => (Op::GreaterEqual, 1, 1),
        "between" => (Op::Between, 2, 2),
        "notBetween" => (Op::NotBetween, 2, 2),
        "isNull" => (Op::IsNull, 0, 0),
        "isNotNull" => (Op::IsNotNull, 0, 0),
        "startsWith" => (Op::StartsWith, 1, VALUES_MAX),
        "notStartsWith" => (Op::NotStartsWith, 1, VALUES_MAX),
        "endsWith" => (Op::EndsWith, 1, VALUES_MAX),
        "notEndsWith" => (Op::NotEndsWith, 1, VALUES_MAX),
        "contains" | "containsAny" => (Op::Contains, 1, VALUES_MAX),
        // All of them: as many conditions.
        "containsAll" => (Op::Contains, 1, VALUES_MAX),
        "notContains" => (Op::NotContains, 1, VALUES_MAX),
        "search" | "notSearch" => {
            let name = query.attribute.as_deref().unwrap_or_default();
            return Err(Problem::new(
                Kind::QueryInvalid,
                format!("Invalid `queries`: {name:?} has no full-text index"),
            ));
        }
        _ => return Err(wrong(format!("unknown method {method:?}"))),
    };
    let column = column(&query, columns)?;
    if !(least..=most).contains(&query.values.len()) {
        let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
        return Err(wrong(format!("{method} takes {wanted} values, not {}", query.values.len())));
    }
    let textual = matches!(
        op,
        Op::StartsWith | Op::NotStartsWith | Op::EndsWith | Op::NotEndsWith | Op::Contains | Op::NotContains
    );
    if textual && !matches!(column.kind, Type::Text | Type::JsonText) {
        return Err(wrong(format!("{method} needs text, which {} is not", column.attribute)));
    }
    let steps: &[Step] = match op {
        Op::Less | Op::GreaterEqual => &[Step::Next],
        Op::LessEqual | Op::Greater => &[Step::Last],
        Op::Between | Op::NotBetween => &[Step::Next, Step::Last],
        _ => &[Step::Exact; VALUES_MAX],
    };
    let values = query.values.iter().zip(steps).map(|(value, step)| typed(column, value, *step));
    let values: Vec<Value> = values.collect::<Result<_, _>>()?;
    if method == "containsAll" {
        return Ok(Filter::And(values.into_iter().map(|value| compare(column.column, op, vec![value])).collect()));
    }
    Ok(compare(column.column, op, values))
}

/// The order of creation as a number, which every list has.
const SEQUENCE: Column = Column { attribute: "$sequence", column: "created_at_ms", kind: Type::Int };

fn column(query: &Wire, columns: &'static [Column]) -> Result<&'static Column, Problem> {
    let name = query.attribute.as_deref().unwrap_or_default();
    columns
        .iter()
        .chain([&SEQUENCE])
        .find(|column| column.attribute == name)
        .ok_or_else(|| wrong(format!("{} does not know the attribute {name:?}", query.method)))
}

/// Where a value between two that a column can keep stands: times have milliseconds, durations microseconds.
#[derive(Clone, Copy)]
enum Step {
    /// At the next one that can be kept.
    Next,
    /// At the last one before.
    Last,
    /// At none: nothing is equal to it.
    Exact,
}

impl Step {
    /// `floor` is the last that can be kept and is not greater.
    fn at(self, floor: i64, is_exact: bool) -> Value {
        Value::Int(match self {
            _ if is_exact => floor,
            Step::Next => floor.saturating_add(1),
            Step::Last => floor,
            Step::Exact => i64::MIN,
        })
    }
}

/// A value as its column keeps it.
fn typed(column: &Column, value: &Json, step: Step) -> Result<Value, Problem> {
    let of = |wanted: &str| wrong(format!("{} is compared with {wanted}, not {value}", column.attribute));
    match column.kind {
        Type::Text => value.as_str().map(|text| Value::Text(text.to_owned())).ok_or_else(|| of("text")),
        Type::JsonText => {
            let quoted = value.as_str().map(|text| larder_model::json(&text)).ok_or_else(|| of("text"))?;
            Ok(Value::Text(quoted[1..quoted.len() - 1].to_owned()))
        }
        Type::Int => value.as_i64().map(Value::Int).ok_or_else(|| of("a whole number")),
        Type::Flag => value.as_bool().map(|flag| Value::Int(flag.into())).ok_or_else(|| of("true or false")),
        Type::Time => {
            let text = value.as_str().ok_or_else(|| of("a datetime"))?;
            let time = parse_datetime("queries", text)?;
            Ok(step.at(time.timestamp_millis(), time.timestamp_subsec_nanos() % 1_000_000 == 0))
        }
        Type::Seconds(unit) => {
            let seconds = value.as_f64().ok_or_else(|| of("seconds"))?;
            // A number that was written with decimals misses its unit by a little.
            let (exact, nearest) = (seconds * unit as f64, (seconds * unit as f64).round());
            let is_exact = (exact - nearest).abs() < 0.001;
            Ok(step.at(if is_exact { nearest } else { exact.floor() } as i64, is_exact))
        }
    }
}

fn only(query: &Wire) -> Result<&Json, Problem> {
    match &query.values[..] {
        [only] => Ok(only),
        _ => Err(wrong(format!("{} takes one value", query.method))),
    }
}

fn only_text(query: &Wire) -> Result<String, Problem> {
    only(query)?.as_str().map(str::to_owned).ok_or_else(|| wrong(format!("{} takes an id", query.method)))
}

fn number(query: &Wire, least: u32) -> Result<u32, Problem> {
    only(query)?
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number >= least)
        .ok_or_else(|| wrong(format!("{} takes a whole number from {least} on", query.method)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_store::filters::{DEPLOYMENTS, EXECUTIONS, FUNCTIONS};

    fn query(pairs: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    fn list(queries: &[&str]) -> Result<Listing, Problem> {
        let pairs: Vec<(&str, &str)> = queries.iter().map(|text| ("queries[]", *text)).collect();
        parse(Some(&query(&pairs)), FUNCTIONS, &[]).map(|found| found.listing)
    }

    #[test]
    fn nothing_is_the_first_25_with_their_total() {
        let found = parse(None, FUNCTIONS, &[]).unwrap();
        assert_eq!(found.listing, Listing { total: true, ..Listing::first(25) });
    }

    #[test]
    fn every_spelling_of_the_parameter_counts_and_strangers_do_not() {
        let text = query(&[
            ("queries[0]", r#"{"method":"limit","values":[2]}"#),
            ("queries[17]", r#"{"method":"offset","values":[3]}"#),
            ("queries", r#"{"method":"cursorAfter","values":["f1"]}"#),
            ("queries[x]", "not a query"),
            ("locale", "en"),
            ("total", "false"),
        ]);
        let found = parse(Some(&text), FUNCTIONS, &[]).unwrap().listing;
        assert_eq!((found.limit, found.offset, found.total), (2, 3, false));
        assert_eq!(found.cursor, Some(("f1".into(), false)));
    }

    #[test]
    fn filters_carry_typed_values() {
        let found = list(&[
            r#"{"method":"equal","attribute":"name","values":["a","b"]}"#,
            r#"{"method":"greaterThan","attribute":"$createdAt","values":["1970-01-01T00:00:01.000+00:00"]}"#,
            r#"{"method":"equal","attribute":"enabled","values":[true]}"#,
            r#"{"method":"containsAll","attribute":"runtime","values":["wa","si"]}"#,
            r#"{"method":"isNull","attribute":"deploymentId"}"#,
        ])
        .unwrap();
        let text = |text: &str| Value::Text(text.into());
        assert_eq!(
            found.filters,
            [
                compare("name", Op::Equal, vec![text("a"), text("b")]),
                compare("created_at_ms", Op::Greater, vec![Value::Int(1_000)]),
                compare("enabled", Op::Equal, vec![Value::Int(1)]),
                Filter::And(vec![
                    compare("runtime", Op::Contains, vec![text("wa")]),
                    compare("runtime", Op::Contains, vec![text("si")]),
                ]),
                compare("deployment_id", Op::IsNull, vec![]),
            ]
        );
        let slow = r#"{"method":"between","attribute":"duration","values":[0.5,1]}"#;
        let found = parse(Some(&query(&[("queries", slow)])), EXECUTIONS, &[]).unwrap().listing;
        assert_eq!(found.filters, [compare("wall_us", Op::Between, vec![Value::Int(500_000), Value::Int(1_000_000)])]);
    }

    #[test]
    fn a_value_between_two_that_are_kept_is_compared_truly() {
        let int = |of: &str| {
            let found = parse(Some(&query(&[("queries", of)])), EXECUTIONS, &[]).unwrap().listing.filters;
            let Filter::Compare { values, .. } = &found[0] else { panic!("{found:?}") };
            let int = |value: &Value| if let Value::Int(int) = value { *int } else { panic!("{value:?}") };
            values.iter().map(int).collect::<Vec<_>>()
        };
        for (method, duration, time) in [
            ("lessThan", 2_370, 1),
            ("lessThanEqual", 2_369, 0),
            ("greaterThan", 2_369, 0),
            ("greaterThanEqual", 2_370, 1),
            ("equal", i64::MIN, i64::MIN),
        ] {
            let of = |attribute: &str, value: &str| {
                format!(r#"{{"method":"{method}","attribute":"{attribute}","values":[{value}]}}"#)
            };
            assert_eq!(int(&of("duration", "0.0023695")), [duration], "{method}");
            assert_eq!(int(&of("$createdAt", "\"1970-01-01T00:00:00.0005Z\"")), [time], "{method}");
            // What can be kept is itself, also where its decimals miss it.
            assert_eq!(int(&of("duration", "0.012307")), [12_307], "{method}");
            assert_eq!(int(&of("$createdAt", "\"1970-01-01T00:00:00.007Z\"")), [7], "{method}");
        }
        let between = r#"{"method":"between","attribute":"duration","values":[0.0000015,0.0000035]}"#;
        assert_eq!(int(between), [2, 3]);
    }

    #[test]
    fn and_and_or_nest_so_far() {
        let inner = r#"{"method":"equal","attribute":"name","values":["a"]}"#;
        let as_text = serde_json::to_string(inner).unwrap();
        let found =
            list(&[&format!(r#"{{"method":"or","values":[{inner},{{"method":"and","values":[{as_text}]}}]}}"#)]);
        let a = compare("name", Op::Equal, vec![Value::Text("a".into())]);
        assert_eq!(found.unwrap().filters, [Filter::Or(vec![a.clone(), Filter::And(vec![a])])]);
        let deep =
            (0..=DEPTH_MAX).fold(inner.to_owned(), |inner, _| format!(r#"{{"method":"and","values":[{inner}]}}"#));
        assert!(list(&[&deep]).unwrap_err().message.contains("nested"));
    }

    #[test]
    fn an_order_without_attribute_is_by_creation() {
        let found =
            list(&[r#"{"method":"orderDesc","values":["$id"]}"#, r#"{"method":"orderAsc","attribute":"name"}"#]);
        let orders = found.unwrap().orders;
        assert_eq!(orders[0], Order { column: "created_at_ms", descending: true });
        assert_eq!(orders[1], Order { column: "name", descending: false });
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, named) in [
            ("no json", "no json"),
            (r#"["limit",null,[1]]"#, "an object"),
            (r#"{"method":"or","values":[["limit",null,[1]]]}"#, "an object"),
            (r#"{"method":"equals","attribute":"name","values":[1]}"#, "equals"),
            (r#"{"method":"equal","attribute":"secret_hash","values":["x"]}"#, "secret_hash"),
            (r#"{"method":"equal","attribute":"name","values":[7]}"#, "name"),
            (r#"{"method":"equal","attribute":"name","values":[]}"#, "equal"),
            (r#"{"method":"notEqual","attribute":"name","values":["a","b"]}"#, "notEqual"),
            (r#"{"method":"between","attribute":"timeout","values":[1]}"#, "between"),
            (r#"{"method":"startsWith","attribute":"timeout","values":[1]}"#, "startsWith"),
            (r#"{"method":"greaterThan","attribute":"$createdAt","values":["yesterday"]}"#, "datetime"),
            (r#"{"method":"limit","values":[0]}"#, "limit"),
            (r#"{"method":"offset","values":[-1]}"#, "offset"),
            (r#"{"method":"or","values":[]}"#, "or"),
        ] {
            let problem = list(&[query]).unwrap_err();
            assert_eq!(problem.kind, Kind::ArgumentInvalid, "{query}");
            assert!(problem.message.contains(named) && problem.message.contains("queries"), "{problem}");
        }
        let search = r#"{"method":"search","attribute":"name","values":["x"]}"#;
        assert_eq!(list(&[search]).unwrap_err().kind, Kind::QueryInvalid);
        assert!(list(&vec![r#"{"method":"limit","values":[1]}"#; 101]).is_err());
    }

    #[test]
    fn search_and_select() {
        let select = r#"{"method":"select","values":["status"]}"#;
        let text = query(&[("search", "abc"), ("queries[]", select)]);
        let found = parse(Some(&text), DEPLOYMENTS, &["id", "entrypoint"]).unwrap();
        let one = |column| compare(column, Op::Contains, vec![Value::Text("abc".into())]);
        assert_eq!(found.listing.filters, [Filter::Or(vec![one("id"), one("entrypoint")])]);
        assert_eq!(found.select, Some(vec!["status".to_owned()]));
        assert!(parse(Some(&query(&[("search", &"x".repeat(257))])), DEPLOYMENTS, &["id"]).is_err());
    }
}

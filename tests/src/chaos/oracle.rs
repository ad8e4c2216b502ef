//! Interprets what was sent and compares every transaction, state value and execution with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

use super::workload::{Item, SAVERS, TOPICS, Workload, id};
use crate::Api;
use crate::services::Database;

/// When nothing more comes and nothing has changed for so long, what is not done is stuck.
pub const SETTLE: Duration = Duration::from_secs(90);

/// What the comparison came to: texts of what is wrong, and figures.
#[derive(Default)]
pub struct Findings {
    pub lost: Vec<String>,
    pub doubled: Vec<String>,
    pub wrong: Vec<String>,
    pub stuck: Vec<String>,
    pub executions: u64,
    pub events: u64,
    pub transactions: u64,
    pub firings: u64,
}

/// How often each thing is expected or found, by what it is.
type Counts = BTreeMap<String, i64>;

impl Findings {
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.lost.iter().chain(&self.doubled).chain(&self.wrong).chain(&self.stuck)
    }

    fn compare(&mut self, what: &str, expected: &Counts, found: &Counts) {
        for key in expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key))) {
            let (wanted, is) = (expected.get(key).copied().unwrap_or(0), found.get(key).copied().unwrap_or(0));
            let text = || format!("{what} {key}: {is} instead of {wanted}");
            match is.cmp(&wanted) {
                std::cmp::Ordering::Less => self.lost.push(text()),
                std::cmp::Ordering::Greater => self.doubled.push(text()),
                std::cmp::Ordering::Equal => {}
            }
        }
    }
}

/// Rows of the partner that are due, or in progress. Another one, which attacks meanwhile, may have as many as it likes.
const UNFINISHED: &str = "SELECT what, COUNT(*) FROM (
    SELECT CONCAT('execution of ', function_id, ', ', status) AS what FROM executions
        WHERE partner_id = 'demo' AND (due_at_ms IS NOT NULL OR status IN ('waiting', 'processing'))
    UNION ALL SELECT 'event' FROM events WHERE partner_id = 'demo' AND waiting <> 0
    UNION ALL SELECT 'fan-out' FROM fanouts WHERE partner_id = 'demo' AND waiting <> 0
    UNION ALL SELECT CONCAT('deployment, ', status) FROM deployments
        WHERE partner_id = 'demo' AND status IN ('waiting', 'building', 'processing')
) AS unfinished GROUP BY what";

/// Knows what was sent.
pub struct Oracle {
    pub workload: Workload,
    /// Items of it that were accepted.
    pub sent: u64,
    /// From when on the schedule must have fired.
    pub since_ms: i64,
    pub api: Api,
}

/// What the oracle must see, done to a run that was fine.
const DAMAGE: [(&str, &str); 7] = [
    ("a transaction that is gone", "DELETE FROM transactions WHERE function_id = 'single' LIMIT 1"),
    (
        "a transaction twice",
        "INSERT INTO transactions SELECT partner_id, CONCAT(id, 'x'), execution_id, function_id, enrolment_id, end_user, amount_minor,
            currency, memo, created_at_ms FROM transactions WHERE function_id = 'fan' LIMIT 1",
    ),
    ("a value that is wrong", "UPDATE state SET value = '7' WHERE function_id = 'single' AND name = 'count'"),
    ("an execution that is gone", "DELETE FROM executions WHERE function_id = 'asked' LIMIT 1"),
    ("records of a fan-out that are gone", "DELETE FROM execution_packs WHERE function_id = 'fan' LIMIT 1"),
    ("a firing that is gone", "DELETE FROM executions WHERE function_id = 'minutely' AND trigger_kind = 'schedule' LIMIT 1"),
    (
        "an execution that never ends",
        "UPDATE executions SET status = 'waiting', due_at_ms = 4102444800000 WHERE function_id = 'asked' LIMIT 1",
    ),
];

impl Oracle {
    /// Damages what a run has left, once in each way, and gives the damage that makes no difference to the findings.
    pub async fn unseen(&self, database: &Database) -> Vec<String> {
        let mut connection = database.connect().await;
        let findings = async || self.compare(database, Duration::ZERO).await.all().cloned().collect::<Vec<String>>();
        let mut before = findings().await;
        let mut unseen = Vec::new();
        for (what, sql) in DAMAGE {
            connection.query_drop(sql).await.expect("the damage is done");
            let found = findings().await;
            if connection.affected_rows() == 0 || found == before {
                unseen.push(what.to_owned());
            }
            before = found;
        }
        unseen
    }

    /// Waits for everything to come to rest, or for nothing to happen any more for `settle`, and compares.
    pub async fn compare(&self, database: &Database, settle: Duration) -> Findings {
        compare(self, database, settle).await
    }
}

async fn compare(oracle: &Oracle, database: &Database, settle: Duration) -> Findings {
    let (workload, api) = (oracle.workload, &oracle.api);
    let mut findings = Findings::default();
    let mut connection = database.connect().await;
    let mut changed = Instant::now();
    let mut before = vec![];
    loop {
        let unfinished: Vec<(String, u64)> = connection.query(UNFINISHED).await.expect("the unfinished");
        if unfinished.is_empty() {
            break;
        }
        if unfinished != before {
            changed = Instant::now();
            before.clone_from(&unfinished);
        } else if changed.elapsed() > settle {
            findings.stuck = unfinished.iter().map(|(what, count)| format!("stuck: {count} × {what}")).collect();
            break;
        }
        if settle > Duration::ZERO {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    let items: Vec<(String, Item)> =
        workload.items().take(oracle.sent as usize).enumerate().map(|(at, item)| (id(at as u64), item)).collect();
    transactions(&mut findings, &items, api).await;
    state(&mut findings, &items, api).await;

    let rows: Vec<(String, i64)> = connection
        .query("SELECT id, COUNT(*) FROM events WHERE source = '/chaos' GROUP BY id")
        .await
        .expect("the events");
    let events = items.iter().filter(|(_, item)| !matches!(item, Item::Execution { .. }));
    findings.compare("event", &events.map(|(id, _)| (id.clone(), 1)).collect(), &rows.into_iter().collect());

    // Of each event the executions that ended, and how; echoes, firings and what was asked for through the API by function.
    let rows: Vec<(String, i64)> = connection
        .query(
            "SELECT CONCAT(x.function_id, ', ', CASE WHEN e.source = '/chaos' THEN e.id ELSE x.trigger_kind END, ', ', x.status),
                COUNT(*) FROM executions x LEFT JOIN events e ON e.partner_id = x.partner_id AND e.row_id = x.event_row
             WHERE x.function_id IN ('single', 'never', 'asked') AND NOT (x.function_id = 'single' AND x.trigger_kind = 'http')
             GROUP BY 1",
        )
        .await
        .expect("the executions");
    let mut found: Counts = rows.into_iter().collect();
    fan_outs(&mut found, &mut connection, api).await;
    findings.executions = found.values().map(|count| *count as u64).sum();
    findings.compare("execution", &executions(&items), &found);
    findings.events = items.len() as u64;
    firings(&mut findings, oracle.since_ms, &mut connection).await;
    findings
}

/// The executions of fan-outs, most of which are packed, as the API lists them.
async fn fan_outs(found: &mut Counts, connection: &mut mysql_async::Conn, api: &Api) {
    let rows: Vec<(String, String)> =
        connection.query("SELECT row_id, id FROM events WHERE source = '/chaos'").await.expect("the events");
    let events: std::collections::HashMap<String, String> = rows.into_iter().collect();
    for execution in api.executions("fan").await {
        let text = |name: &str| execution[name].as_str().unwrap_or_default();
        let event = events.get(text("eventId")).map_or("no event", String::as_str);
        *found.entry(format!("fan, {event}, {}", text("status"))).or_default() += 1;
    }
}

/// The executions of each item.
fn executions(items: &[(String, Item)]) -> Counts {
    let mut expected = Counts::new();
    let mut expect = |key: String, count: i64| *expected.entry(key).or_default() += count;
    for (id, item) in items {
        match item {
            Item::Single { .. } => {
                expect(format!("single, {id}, completed"), 1);
                expect("single, event, completed".into(), 1);
            }
            Item::After { .. } | Item::Slow => expect(format!("single, {id}, completed"), 1),
            Item::Fan { .. } => expect(format!("fan, {id}, completed"), (SAVERS / TOPICS) as i64),
            Item::Never => expect(format!("never, {id}, failed"), 1),
            Item::Execution { .. } => expect("asked, http, completed".into(), 1),
        }
    }
    expected
}

/// A transaction is function, end user, memo and amount; that of a fan-out has the shop as its memo, which tells nothing.
async fn transactions(findings: &mut Findings, items: &[(String, Item)], api: &Api) {
    let mut expected = Counts::new();
    let mut expect = |function: &str, user: &str, memo: &str, minor: u64| {
        *expected.entry(format!("{function}/{user}/{memo}/{minor}")).or_default() += 1;
    };
    for (id, item) in items {
        match *item {
            Item::Single { minor } => expect("single", "clock", id, minor),
            Item::After { .. } | Item::Slow => expect("single", "clock", id, 100),
            Item::Execution { minor } => expect("asked", "clock", id, minor),
            // What is round already saves nothing.
            Item::Fan { minor, .. } if minor % 1_000 == 0 => {}
            Item::Fan { topic, minor } => {
                for saver in (0..SAVERS).filter(|saver| saver % TOPICS == topic) {
                    expect("fan", &format!("saver-{saver}"), "", 1_000 - minor % 1_000);
                }
            }
            Item::Never => {}
        }
    }
    let mut found = Counts::new();
    for transaction in api.transactions().await {
        let text = |name: &str| transaction[name].as_str().unwrap_or_default();
        let minor: u64 = text("amount").replace('.', "").parse().unwrap_or(0);
        findings.transactions += 1;
        match text("functionId") {
            "minutely" => {}
            "fan" => *found.entry(format!("fan/{}//{minor}", text("endUser"))).or_default() += 1,
            function => {
                *found.entry(format!("{function}/{}/{}/{minor}", text("endUser"), text("memo"))).or_default() += 1;
            }
        }
    }
    findings.compare("transaction", &expected, &found);
}

/// What was read and written, what was incremented, and what a chain of events incremented.
async fn state(findings: &mut Findings, items: &[(String, Item)], api: &Api) {
    let singles: Vec<u64> = items
        .iter()
        .filter_map(|(_, item)| if let Item::Single { minor } = item { Some(*minor) } else { None })
        .collect();
    let run = api.execute("single", json!({})).await;
    let state: Value = serde_json::from_str(run["responseBody"].as_str().unwrap_or_default()).unwrap_or_default();
    for (name, expected) in
        [("count", singles.len() as u64), ("sum", singles.iter().sum()), ("echoes", singles.len() as u64)]
    {
        if state[name] != expected {
            findings.wrong.push(format!("state {name}: {} instead of {expected}", state[name]));
        }
    }
}

/// How late a firing may be when nothing is broken any more.
const LATE_MS: i64 = 10_000;

/// Every minute since then and from the first firing to the last, once, each with its transaction.
async fn firings(findings: &mut Findings, since_ms: i64, connection: &mut mysql_async::Conn) {
    let until = (super::now_ms() - LATE_MS).div_euclid(60_000);
    let rows: Vec<(i64, i64, i64)> = connection
        .query(
            "SELECT x.nominal_at_ms DIV 60000, COUNT(DISTINCT x.id), COUNT(t.id) FROM executions x
             LEFT JOIN transactions t ON t.partner_id = x.partner_id AND t.execution_id = x.id
             WHERE x.function_id = 'minutely' AND x.trigger_kind = 'schedule' GROUP BY 1 ORDER BY 1",
        )
        .await
        .expect("the firings");
    findings.firings = rows.len() as u64;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        findings.lost.push("the schedule never fired".into());
        return;
    };
    let minutes = first.0.min(since_ms.div_euclid(60_000) + 1)..=last.0.max(until);
    let expected = minutes.map(|minute| (format!("{minute}"), 1)).collect();
    findings.compare("firing", &expected, &rows.iter().map(|row| (format!("{}", row.0), row.1)).collect());
    findings.compare(
        "firing's transaction",
        &expected,
        &rows.iter().map(|row| (format!("{}", row.0), row.2)).collect(),
    );
}

//! What grows with the rows that are kept: lists, schedules, and retention, on MariaDB.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use larder_model::time::instant;
use larder_tests::Options;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row as Found, from_value};
use serde_json::{Value, json};

use crate::durable::{Durable, PARTNER};
use crate::guests::{self, HELLO_PATH, Hellos};
use crate::load;
use crate::measure::{Line, microseconds, quantile, verdict};
use crate::{Plan, say};

const PATIENCE: Duration = Duration::from_secs(600);

/// Lists of executions by each attribute that they may be filtered by, over ever more rows.
pub async fn lists(plan: &Plan, hellos: &Hellos) -> anyhow::Result<Vec<Line>> {
    say("lists of executions");
    let bench = Durable::start(Options::default()).await?;
    bench.api.deploy("hello", &hellos.raw, json!({ "routes": [HELLO_PATH] })).await;
    let deployment = bench.one_execution().await?;
    let (mut lines, mut rows, created_ms) = (vec![], 0, days_ago(DAYS_OLD));
    for &wanted in plan.listed {
        say(&format!("lists of executions, {wanted} rows"));
        bench.executions(rows, wanted, created_ms).await?;
        rows = wanted;
        let middle = rows / 2;
        let at = |n: u64| iso(created_ms + 10 * n as i64);
        let equal =
            |attribute: &str, value: Value| json!({ "method": "equal", "attribute": attribute, "values": [value] });
        let lists = [
            ("newest first", json!({ "method": "orderDesc", "attribute": "$createdAt" })),
            ("$id", equal("$id", id(middle).into())),
            (
                "$createdAt, a second",
                json!({ "method": "between", "attribute": "$createdAt", "values": [at(middle), at(middle + 100)] }),
            ),
            (
                "$updatedAt, a second",
                json!({ "method": "between", "attribute": "$updatedAt", "values": [at(middle), at(middle + 100)] }),
            ),
            ("trigger, 1 of 10", equal("trigger", "event".into())),
            ("status, 1 of 1000", equal("status", "failed".into())),
            ("responseStatusCode, 1 of 1000", equal("responseStatusCode", 500.into())),
            ("duration, 1 of 1000", json!({ "method": "greaterThan", "attribute": "duration", "values": [5.0] })),
            ("newest update first", json!({ "method": "orderDesc", "attribute": "$updatedAt" })),
            ("longest first", json!({ "method": "orderDesc", "attribute": "duration" })),
            ("deploymentId, all", equal("deploymentId", deployment.as_str().into())),
            ("enrolmentId, 1 of 1000", equal("enrolmentId", "enrolment-500".into())),
            ("eventId, 10 rows", equal("eventId", format!("event-{:020}", middle / 10).into())),
        ];
        for (name, query) in lists {
            lines.push(bench.list(&format!("list, {name}, {rows} rows"), query, plan.list_calls).await?);
        }
    }
    Ok(lines)
}

/// Copies are that much older than the bench, and each is 10 ms younger than the one before.
const DAYS_OLD: i64 = 5;
/// The ids of copies.
const COPIES: &str = "id LIKE '01kb9y00000000%'";

fn id(n: u64) -> String {
    format!("01kb9y{n:020}")
}

fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |now| now.as_millis() as i64)
}

fn days_ago(days: i64) -> i64 {
    now_ms() - days * 86_400_000
}

fn iso(ms: i64) -> String {
    instant(ms).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

impl Durable {
    /// Makes the execution that is copied; gives its deployment.
    async fn one_execution(&self) -> anyhow::Result<String> {
        let made = self.api.execute("hello", json!({ "method": "GET", "path": HELLO_PATH })).await;
        // Its record is written a moment after the answer.
        while self.count("executions").await? == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(made["deploymentId"].as_str().context("a deployment")?.to_owned())
    }

    /// Copies of the one execution, from `from` to `to` of them.
    async fn executions(&self, from: u64, to: u64, created_ms: i64) -> anyhow::Result<()> {
        let n = format!("(n + {from})");
        let set = [
            ("id", format!("CONCAT('01kb9y', LPAD({n}, 20, '0'))")),
            ("created_at_ms", format!("{created_ms} + 10 * {n}")),
            ("updated_at_ms", format!("{created_ms} + 10 * {n}")),
            ("trigger_kind", format!("IF({n} % 10 = 3, 'event', 'http')")),
            ("status", format!("IF({n} % 1000 = 7, 'failed', 'completed')")),
            ("response_status", format!("IF({n} % 1000 = 7, 500, 200)")),
            ("wall_us", format!("IF({n} % 1000 = 7, 9000000, 100)")),
            ("enrolment_id", format!("CONCAT('enrolment-', {n} % 1000)")),
            ("event_row", format!("CONCAT('event-', LPAD({n} DIV 10, 20, '0'))")),
        ];
        let set: Vec<(&str, &str)> = set.iter().map(|(column, value)| (*column, value.as_str())).collect();
        self.copies(
            "executions",
            &format!("t.id = (SELECT MAX(id) FROM executions WHERE NOT {COPIES})"),
            &set,
            to - from,
        )
        .await
    }

    /// How long a list takes, and what the database reads for it.
    async fn list(&self, name: &str, query: Value, calls: usize) -> anyhow::Result<Line> {
        const LIST: &str = "/functions/hello/executions";
        let mut root = self.connect().await;
        log(&mut root, true).await?;
        let answer = self.api.list(LIST, std::slice::from_ref(&query)).await;
        log(&mut root, false).await?;
        if answer.status != 200 {
            let why = answer.body["message"].as_str().unwrap_or_default().to_owned();
            return Ok(Line::said(name, format!("answered {}: {why}", answer.status)));
        }
        let read = reads(&mut root).await?;
        let mut nanos = Vec::new();
        for _ in 0..calls {
            let begun = Instant::now();
            self.api.list(LIST, std::slice::from_ref(&query)).await.is(200);
            nanos.push(begun.elapsed().as_nanos() as u64);
        }
        let [p50, p99] = [0.5, 0.99].map(|q| microseconds(quantile(&mut nanos, q) as f64));
        Ok(Line::said(name, format!("p50 {p50:>8}  p99 {p99:>8}  {read}")))
    }
}

async fn log(root: &mut Conn, on: bool) -> anyhow::Result<()> {
    let sql = match on {
        true => "SET GLOBAL log_output = 'TABLE'; TRUNCATE mysql.general_log; SET GLOBAL general_log = ON",
        false => "SET GLOBAL general_log = OFF",
    };
    for sql in sql.split("; ") {
        root.query_drop(sql).await?;
    }
    Ok(())
}

/// What the server read for the statements of the last list: index and rows of each.
async fn reads(root: &mut Conn) -> anyhow::Result<String> {
    let statements: Vec<String> = root
        .query(
            "SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE command_type = 'Execute'
             AND (argument LIKE '%list_executions%' OR argument LIKE '%count_executions%') ORDER BY event_time",
        )
        .await?;
    let mut read = Vec::new();
    for statement in statements {
        let steps: Vec<Found> = root.query(format!("ANALYZE {statement}")).await?;
        let mut words = Vec::new();
        for step in steps {
            let text = |column: &str| -> Option<String> {
                let at = step.columns_ref().iter().position(|found| found.name_str() == column)?;
                from_value(step.as_ref(at)?.clone())
            };
            if text("table").is_some_and(|table| table == "executions") {
                let index = text("key").map_or("NO INDEX".to_owned(), |key| format!("by {key}"));
                // Of a row that is found by its whole key the server does not say it.
                let rows = text("r_rows").and_then(|rows| rows.parse::<f64>().ok()).unwrap_or(1.0);
                let sorts = if text("Extra").is_some_and(|extra| extra.contains("filesort")) { ", sorted" } else { "" };
                words.push(format!("{index}, {rows:.0} rows{sorts}"));
            }
        }
        let kind = if statement.contains("count_executions") { "count" } else { "page" };
        read.push(format!("{kind} {}", words.join(" + ")));
    }
    Ok(read.join("; "))
}

/// Many schedules are armed, and some of them are due at the same moment.
pub async fn schedules(plan: &Plan) -> anyhow::Result<Vec<Line>> {
    const PARTNERS: u64 = 20;
    const AHEAD: Duration = Duration::from_secs(3);
    const MOST: Duration = Duration::from_secs(5);
    let (armed, due) = plan.schedules;
    say(&format!("{armed} armed schedules, {due} of them due"));
    let mut bench = Durable::start(Options::default()).await?;
    bench.api.deploy("hello", &guests::small(), json!({})).await;
    bench.larder.kill();
    for partner in 0..PARTNERS {
        let name = format!("partner-{partner}");
        let named = format!("'{name}'");
        bench.copies("partners", &format!("t.id = '{PARTNER}'"), &[("id", &named), ("name", &named)], 1).await?;
        bench.functions(&name, 1, 1 + armed / PARTNERS).await?;
    }
    let mut connection = bench.connect().await;
    let copies = "id LIKE 'copy-%'";
    connection.query_drop(format!("UPDATE functions SET routes = '[]', schedule = '0 0 1 1 *' WHERE {copies}")).await?;
    // 2027-01-01T00:00:00Z: the next time of that schedule.
    let arm = format!(
        "INSERT INTO schedules (partner_id, function_id, next_at_ms) SELECT partner_id, id, 1798761600000 FROM functions WHERE {copies}"
    );
    connection.query_drop(arm).await?;
    bench.larder.restart().await;
    tokio::time::sleep(AHEAD).await;
    let nominal = now_ms() + AHEAD.as_millis() as i64;
    let ordinal = "CAST(SUBSTRING(function_id, 6) AS UNSIGNED)";
    let each = due / PARTNERS;
    connection.query_drop(format!("UPDATE schedules SET next_at_ms = {nominal} WHERE {ordinal} <= {each}")).await?;
    let begun = Instant::now();
    let fired = "executions WHERE trigger_kind = 'schedule'";
    while bench.count(&format!("{fired} AND status = 'completed'")).await? < each * PARTNERS {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "not every schedule has fired");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let last: Option<(i64, i64)> =
        connection.query_first(format!("SELECT MAX(created_at_ms), MAX(updated_at_ms) FROM {fired}")).await?;
    let (fired, ended) = last.context("executions")?;
    let after = |ms: i64| Duration::from_millis((ms - nominal).max(0) as u64);
    let note = format!("their last execution has ended after {:.1?}", after(ended));
    let name = format!("{due} of {armed} schedules due at once, fired");
    Ok(vec![Line::at_most(name, after(fired), MOST, &note)])
}

/// Calls while retention deletes old rows, beside the same calls without.
pub async fn retention(plan: &Plan, hellos: &Hellos) -> anyhow::Result<Vec<Line>> {
    const PER_SECOND: f64 = 500.0;
    const CONNECTIONS: usize = 16;
    let rows = plan.expired;
    say(&format!("retention of {rows} rows"));
    let mut bench = Durable::start(Options::default()).await?;
    bench.api.deploy("hello", &hellos.raw, json!({ "routes": [HELLO_PATH] })).await;
    bench.one_execution().await?;
    let calls = |address: SocketAddr, time: Duration| {
        tokio::task::spawn_blocking(move || {
            load::at_rate(address, load::get(HELLO_PATH), |answer| answer.status == 200, CONNECTIONS, PER_SECOND, time)
        })
    };
    // Without old rows, and once before to warm up.
    calls(bench.larder.address().parse()?, Duration::from_secs(1)).await??;
    let mut quiet = calls(bench.larder.address().parse()?, plan.retention_time).await??;
    bench.larder.kill();
    bench.executions(0, rows, days_ago(365)).await?;
    bench.larder.restart().await;
    let begun = Instant::now();
    let old = format!("executions WHERE partner_id = '{PARTNER}' AND {COPIES}");
    let address = bench.larder.address().parse()?;
    calls(address, Duration::from_secs(1)).await??;
    let during = calls(address, plan.retention_time);
    let mut gone = None;
    while !during.is_finished() {
        if gone.is_none() && bench.count(&format!("(SELECT 1 FROM {old} LIMIT 1) AS found")).await? == 0 {
            gone = Some(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut during = during.await??;
    let deleted = rows - if gone.is_some() { 0 } else { bench.count(&old).await? };
    let took = gone.unwrap_or(begun.elapsed());
    let [quiet_p99, during_p99] = [&mut quiet, &mut during].map(|nanos| quantile(nanos, 0.99) as f64);
    let ratio = during_p99 / quiet_p99;
    let text = format!(
        "{:.0} rows/s; p99 of {PER_SECOND} calls/s {} meanwhile, {} without, ratio {ratio:.2}, at most 2 {}",
        deleted as f64 / took.as_secs_f64(),
        microseconds(during_p99),
        microseconds(quiet_p99),
        verdict(ratio <= 2.0)
    );
    Ok(vec![Line::said(format!("retention, {deleted} of {rows} old executions"), text)])
}

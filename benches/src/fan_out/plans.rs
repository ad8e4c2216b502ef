//! The statements that a fan-out makes: how long each takes on the server, and its plan with so many rows.

use std::collections::BTreeMap;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Row, Value};

use super::Bench;

/// How long statements are logged.
const LOGGED: Duration = Duration::from_secs(2);

/// What the server logged of the statements with one name.
#[derive(Default)]
struct Logged {
    statement: String,
    times: u64,
    micros: u64,
}

/// Logs the statements of a fan-out's first moments on the server, which logs all as slow, and explains one of each name.
pub(super) async fn print(bench: &mut Bench, savers: usize) -> anyhow::Result<()> {
    let mut connection = bench.database.connect().await;
    connection.query_drop("SET GLOBAL log_output = 'TABLE'").await?;
    let mut stopping = bench.database.connect().await;
    let stop = async {
        tokio::time::sleep(LOGGED).await;
        stopping.query_drop("SET GLOBAL log_output = 'NONE'").await
    };
    let (taken, stopped) = tokio::join!(bench.fan_out(savers, true), stop);
    taken?;
    stopped?;
    let logged: Vec<(Vec<u8>, u64)> = connection
        .query("SELECT sql_text, CAST(TIME_TO_SEC(query_time) * 1000000 AS UNSIGNED) FROM mysql.slow_log WHERE sql_text LIKE '-- %'")
        .await?;
    let mut named: BTreeMap<String, Logged> = BTreeMap::new();
    for (text, micros) in logged {
        if let Some((name, statement)) = String::from_utf8_lossy(&text).split_once('\n') {
            let of = named.entry(name.trim_start_matches("-- ").trim().to_owned()).or_default();
            // The longest has the most values.
            if statement.len() > of.statement.len() {
                of.statement = statement.to_owned();
            }
            of.times += 1;
            of.micros += micros;
        }
    }
    println!("statements of a fan-out with {savers} savers, over {} s:", LOGGED.as_secs());
    println!(
        "  {:<32} {:>6} {:>8}  {:<18} {:<12} {:<32} {:>8}",
        "statement", "times", "mean ms", "table", "access", "index", "rows"
    );
    for (name, Logged { statement, times, micros }) in named {
        let mean = micros as f64 / times as f64 / 1e3;
        let rows: Vec<Row> = match connection.query(format!("EXPLAIN {statement}")).await {
            Ok(rows) => rows,
            Err(err) => {
                println!("  {name:<32} {times:>6} {mean:>8.2}  no plan: {err}");
                continue;
            }
        };
        for row in rows {
            let column = |name: &str| match row.get::<Value, _>(name) {
                Some(Value::Bytes(text)) => String::from_utf8_lossy(&text).into_owned(),
                Some(Value::Int(number)) => number.to_string(),
                Some(Value::UInt(number)) => number.to_string(),
                _ => "-".into(),
            };
            let [table, access, key, looked] = ["table", "type", "key", "rows"].map(column);
            println!("  {name:<32} {times:>6} {mean:>8.2}  {table:<18} {access:<12} {key:<32} {looked:>8}");
        }
    }
    Ok(())
}

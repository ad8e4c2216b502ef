//! The rows of fan-outs, as plain SQL: savers to run for, and what their runs leave behind.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value};

use super::{BATCH, PARTNER};

/// Enrols the savers, each with two keys of state.
pub async fn enrol(connection: &mut Conn, partner: &str, function: &str, savers: usize) -> anyhow::Result<()> {
    const ENROLMENT: &str =
        "partner_id, id, function_id, end_user, topic, settings, status, created_at_ms, updated_at_ms";
    const STATE: &str = "partner_id, function_id, enrolment_id, name, value, version";
    for from in (0..savers).step_by(BATCH) {
        let numbers = from..(from + BATCH).min(savers);
        connection.query_drop("START TRANSACTION").await?;
        let enrolment = |n: usize| -> Vec<Value> {
            let texts = [partner, &enrolment(function, n), function, &format!("saver-{n}"), "all", "{}", "active"]
                .map(Value::from);
            texts.into_iter().chain([1.into(), 1.into()]).collect()
        };
        insert(connection, "enrolments", ENROLMENT, numbers.clone().map(enrolment)).await?;
        for (name, value) in [("count", "1"), ("sum", "100")] {
            let state = |n: usize| -> Vec<Value> {
                [partner, function, &self::enrolment(function, n), name, value, "version-0"].map(Value::from).to_vec()
            };
            insert(connection, "state", STATE, numbers.clone().map(state)).await?;
        }
        connection.query_drop("COMMIT").await?;
    }
    connection.query_drop("ANALYZE TABLE enrolments, state").await?;
    Ok(())
}

fn enrolment(function: &str, n: usize) -> String {
    format!("{function}-{n:020}")
}

pub const EXECUTION: &str = "partner_id, id, function_id, deployment_id, trigger_kind, status, trigger_key, event_row, enrolment_id, \
    nominal_at_ms, late_ms, scheduled_at_ms, request, attempt, response_status, response_headers, logs, errors, wall_us, cpu_us, \
    memory_peak_bytes, created_at_ms, updated_at_ms, failures, lost, buried_at_ms, host_failing_since_ms";

pub fn execution(n: usize) -> Vec<Value> {
    let id = format!("01kb9y{n:020}");
    let null = || Value::NULL;
    let request = r#"{"method":"","path":"","headers":[]}"#;
    let mut row = vec![
        PARTNER.into(),
        id.into(),
        "probe".into(),
        "01kb9x00000000000000000000".into(),
        "event".into(),
        "completed".into(),
        null(),
        "01kb9w00000000000000000000".into(),
        enrolment("probe", n).into(),
        null(),
        null(),
        null(),
        request.into(),
        1.into(),
        204.into(),
        "[]".into(),
        "".into(),
        "".into(),
    ];
    row.extend([25, 25, 1_200_000, 1_795_262_400_000_i64, 1_795_262_400_000, 0, 0].map(Value::from));
    row.extend([null(), null()]);
    row
}

pub const TRANSACTION: &str =
    "partner_id, id, execution_id, function_id, enrolment_id, end_user, amount_minor, currency, memo, created_at_ms";

pub fn transaction(n: usize) -> Vec<Value> {
    vec![
        PARTNER.into(),
        format!("01kb9y{n:020}-0").into(),
        format!("01kb9y{n:020}").into(),
        "probe".into(),
        enrolment("probe", n).into(),
        format!("saver-{n}").into(),
        100.into(),
        "SEK".into(),
        "look-1".into(),
        1_795_262_400_000_i64.into(),
    ]
}

pub const PACK: &str = "partner_id, id, function_id, deployment_id, trigger_kind, event_row, nominal_at_ms, late_ms, created_at_ms, \
    updated_at_ms, runs, first_id, last_id, first_enrolment_id, last_enrolment_id, text_bytes, records";
/// Records of a pack, and the bytes that each takes in it.
pub const PACKED: usize = 100;
const PACKED_BYTES: usize = 45;

/// The pack whose first record is this one.
pub fn pack(n: usize) -> Vec<Value> {
    let (first, last) = (format!("01kb9y{n:020}"), format!("01kb9y{:020}", n + PACKED - 1));
    let records: Vec<u8> = (0..PACKED * PACKED_BYTES).map(|at| (at * 31 + n) as u8).collect();
    vec![
        PARTNER.into(),
        first.clone().into(),
        "probe".into(),
        "01kb9x00000000000000000000".into(),
        "event".into(),
        "01kb9w00000000000000000000".into(),
        Value::NULL,
        Value::NULL,
        1_795_262_400_000_i64.into(),
        1_795_262_400_000_i64.into(),
        PACKED.into(),
        first.into(),
        last.into(),
        enrolment("probe", n).into(),
        enrolment("probe", n + PACKED - 1).into(),
        0.into(),
        records.into(),
    ]
}

/// Inserts rows with as few statements as the server's limit of placeholders allows.
pub async fn insert(
    connection: &mut Conn,
    table: &str,
    columns: &str,
    rows: impl Iterator<Item = Vec<Value>>,
) -> anyhow::Result<()> {
    const STATEMENT: usize = 250;
    let rows: Vec<Vec<Value>> = rows.collect();
    for rows in rows.chunks(STATEMENT) {
        let marks = format!("({})", vec!["?"; rows[0].len()].join(", "));
        let sql = format!("INSERT INTO {table} ({columns}) VALUES {}", vec![marks.as_str(); rows.len()].join(", "));
        connection.exec_drop(sql, Params::Positional(rows.concat())).await?;
    }
    Ok(())
}

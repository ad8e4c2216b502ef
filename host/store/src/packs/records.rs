//! The value of a pack: what differs between its records, column by column, as compressed JSON (DEFLATE, RFC 1951).
//!
//! A column in which every record has the empty value is left out. Columns may be added later: a missing one is empty.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use larder_model::ids::ExecutionId;
use larder_model::{Execution, ExecutionStatus};
use serde::{Deserialize, Serialize};

use super::Pack;
use crate::{Error, Result};

/// The columns, each of the same length or empty.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Columns {
    #[serde(skip_serializing_if = "is_empty")]
    id: Vec<String>,
    #[serde(skip_serializing_if = "is_empty")]
    enrolment_id: Vec<String>,
    #[serde(skip_serializing_if = "is_empty")]
    attempt: Vec<u32>,
    #[serde(skip_serializing_if = "is_empty")]
    response_status: Vec<u16>,
    #[serde(skip_serializing_if = "is_empty")]
    response_headers: Vec<Vec<(String, String)>>,
    #[serde(skip_serializing_if = "is_empty")]
    logs: Vec<String>,
    #[serde(skip_serializing_if = "is_empty")]
    errors: Vec<String>,
    #[serde(skip_serializing_if = "is_empty")]
    wall_us: Vec<u64>,
    #[serde(skip_serializing_if = "is_empty")]
    cpu_us: Vec<u64>,
    #[serde(skip_serializing_if = "is_empty")]
    memory_peak_bytes: Vec<u64>,
}

/// Has no record anything but the empty value?
fn is_empty<T: Default + PartialEq>(column: &[T]) -> bool {
    column.iter().all(|value| *value == T::default())
}

pub(super) fn encode(runs: &[Execution]) -> Vec<u8> {
    let columns = Columns {
        id: runs.iter().map(|e| e.id.to_string()).collect(),
        enrolment_id: runs.iter().map(|e| e.enrolment.as_ref().map(ToString::to_string).unwrap_or_default()).collect(),
        attempt: runs.iter().map(|e| e.attempt).collect(),
        response_status: runs.iter().map(|e| e.response_status).collect(),
        response_headers: runs.iter().map(|e| e.response_headers.clone()).collect(),
        logs: runs.iter().map(|e| e.logs.clone()).collect(),
        errors: runs.iter().map(|e| e.errors.clone()).collect(),
        wall_us: runs.iter().map(|e| e.wall_us).collect(),
        cpu_us: runs.iter().map(|e| e.cpu_us).collect(),
        memory_peak_bytes: runs.iter().map(|e| e.memory_peak_bytes).collect(),
    };
    let json = serde_json::to_vec(&columns).expect("columns are JSON");
    let mut encoder = DeflateEncoder::new(Vec::with_capacity(json.len() / 2), Compression::fast());
    encoder.write_all(&json).and_then(|()| encoder.finish()).expect("a vector can be written to")
}

pub(super) fn decode(pack: &Pack) -> Result<Vec<Execution>> {
    let bad = |why: String| Error::BadRow { table: "execution_packs", column: "records", why };
    let mut json = Vec::with_capacity(pack.records.len() * 3);
    DeflateDecoder::new(&pack.records[..]).read_to_end(&mut json).map_err(|err| bad(err.to_string()))?;
    let columns: Columns = serde_json::from_slice(&json).map_err(|err| bad(err.to_string()))?;
    let runs = columns.id.len();
    let Columns { enrolment_id, attempt, response_status, response_headers, logs, errors, .. } = columns;
    let mut enrolment_id = values(enrolment_id, runs);
    let mut attempt = values(attempt, runs);
    let mut response_status = values(response_status, runs);
    let mut response_headers = values(response_headers, runs);
    let (mut logs, mut errors) = (values(logs, runs), values(errors, runs));
    let (mut wall_us, mut cpu_us) = (values(columns.wall_us, runs), values(columns.cpu_us, runs));
    let mut memory_peak_bytes = values(columns.memory_peak_bytes, runs);
    let run = |id: String| -> Option<Execution> {
        let id = ExecutionId::try_from(id).ok()?;
        let (partner, function) = (pack.partner.clone(), pack.function.clone());
        let made = Execution::new(partner, id, function, pack.trigger, ExecutionStatus::Completed, pack.created_at_ms);
        Some(Execution {
            deployment: pack.deployment.clone(),
            event: pack.event.clone(),
            enrolment: Some(enrolment_id.next()?.try_into().ok()?),
            nominal_at_ms: pack.nominal_at_ms,
            late_ms: pack.late_ms,
            attempt: attempt.next()?,
            response_status: response_status.next()?,
            response_headers: response_headers.next()?,
            logs: logs.next()?,
            errors: errors.next()?,
            wall_us: wall_us.next()?,
            cpu_us: cpu_us.next()?,
            memory_peak_bytes: memory_peak_bytes.next()?,
            updated_at_ms: pack.updated_at_ms,
            ..made
        })
    };
    let found: Option<Vec<Execution>> = columns.id.into_iter().map(run).collect();
    found.ok_or_else(|| bad(format!("not every column has {runs} values, or an id is none")))
}

/// The values of a column; the empty one for each record if it was left out.
fn values<T: Default + Clone>(column: Vec<T>, runs: usize) -> std::vec::IntoIter<T> {
    if column.is_empty() { vec![T::default(); runs].into_iter() } else { column.into_iter() }
}

//! What functions have used: executions, builds and deployments by hour or day, as far as their records are kept.

use std::collections::BTreeMap;

use larder_model::ids::{FunctionId, PartnerId};
use larder_model::time::Millis;

use crate::db::{Row, Value, parts};
use crate::{Result, Store, args};

/// A span of time in steps, and the functions that are asked about.
#[derive(Clone, Debug)]
pub struct UsageSpan<'a> {
    pub functions: &'a [FunctionId],
    pub since: Millis,
    pub step: Millis,
}

/// What was used in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub count: u64,
    pub time_us: u64,
}

/// The deployments that were made in one step and still exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Built {
    pub deployments: u64,
    pub source_bytes: u64,
    pub ready: u64,
    pub failed: u64,
    pub build_bytes: u64,
    pub time_ms: u64,
}

/// By the beginning of their step.
pub type Steps<T> = BTreeMap<Millis, T>;

impl Store {
    /// The executions of these functions, by function and step. Each statement has the deadline of lists.
    pub async fn used(&self, partner: &PartnerId, span: &UsageSpan<'_>) -> Result<BTreeMap<FunctionId, Steps<Used>>> {
        let mut all: BTreeMap<FunctionId, Steps<Used>> = BTreeMap::new();
        for (table, count) in [("executions", "COUNT(*)"), ("execution_packs", "CAST(SUM(runs) AS SIGNED INTEGER)")] {
            let rows = self.by_step(partner, span, table, &[count, "CAST(SUM(wall_us) AS SIGNED INTEGER)"]).await?;
            for row in rows {
                let steps = all.entry(row.id(0, "function_id")?).or_default();
                let used = steps.entry(row.int(1)?).or_default();
                used.count += row.int(2)? as u64;
                used.time_us += row.int(3)? as u64;
            }
        }
        Ok(all)
    }

    /// The deployments of these functions, by function and step.
    pub async fn built(&self, partner: &PartnerId, span: &UsageSpan<'_>) -> Result<BTreeMap<FunctionId, Steps<Built>>> {
        let sum = |what: &str| format!("CAST(SUM({what}) AS SIGNED INTEGER)");
        let of = |status: &str| sum(&format!("CASE WHEN status = '{status}' THEN 1 ELSE 0 END"));
        let columns = [
            "COUNT(*)".to_owned(),
            sum("source_bytes + component_bytes"),
            of("ready"),
            of("failed"),
            sum("build_bytes"),
            sum("build_ms"),
        ];
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let mut all: BTreeMap<FunctionId, Steps<Built>> = BTreeMap::new();
        for row in self.by_step(partner, span, "deployments", &columns).await? {
            let number = |at| row.int(at).map(|number| number as u64);
            let built = Built {
                deployments: number(2)?,
                source_bytes: number(3)?,
                ready: number(4)?,
                failed: number(5)?,
                build_bytes: number(6)?,
                time_ms: number(7)?,
            };
            all.entry(row.id(0, "function_id")?).or_default().insert(row.int(1)?, built);
        }
        Ok(all)
    }

    /// Groups rows by function and step. An index on partner, function and time serves each table.
    async fn by_step(
        &self,
        partner: &PartnerId,
        span: &UsageSpan<'_>,
        table: &str,
        columns: &[&str],
    ) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let step = format!("created_at_ms - created_at_ms % {}", span.step);
        for functions in parts(span.functions.iter().map(Value::from)) {
            let sql = format!(
                "-- usage_of_{table}
                SELECT function_id, {step}, {} FROM {table} WHERE partner_id = ? AND function_id IN ({}) AND created_at_ms >= ?
                GROUP BY function_id, {step}",
                columns.join(", "),
                functions.marks
            );
            let args = [args![partner], functions.args, args![span.since]].concat();
            rows.extend(self.lists.rows(&sql, args).await?);
        }
        Ok(rows)
    }
}

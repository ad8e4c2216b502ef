//! Dead letters by function and reason. The index `executions_by_reason` serves all of it: groups are found by jumping from one to
//! the next, so their number costs, not that of the dead letters.

use larder_model::Letters;
use larder_model::ids::{ExecutionId, FunctionId, PartnerId};
use larder_model::time::Millis;

use crate::db::Value;
use crate::listing::Listing;
use crate::{Result, Store, args};

const FROM: &str = "FROM executions /*! FORCE INDEX (executions_by_reason) */ WHERE partner_id = ?";

/// Dead letters of one function with one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterGroup {
    pub function: FunctionId,
    /// `None`: given up by a version that recorded none.
    pub reason: Option<String>,
    /// Counted up to [`Listing::COUNT_MAX`].
    pub count: u64,
    pub oldest_at_ms: Millis,
    pub newest_at_ms: Millis,
    /// The newest.
    pub example: ExecutionId,
}

/// The condition of a group and its values, after that of the partner.
pub(super) fn of_group(function: &FunctionId, reason: Option<&str>) -> (&'static str, Vec<Value>) {
    match reason {
        Some(reason) => ("bury_reason = ? AND function_id = ?", args![reason, function]),
        None => ("bury_reason IS NULL AND function_id = ?", args![function]),
    }
}

impl Store {
    /// Up to `limit` groups after the given one, by reason and function, and whether there are more. Those without a reason come
    /// last, with the last others: at most one for each of `functions`.
    pub async fn letter_groups(
        &self,
        partner: &PartnerId,
        functions: &[FunctionId],
        after: Option<(String, String)>,
        limit: usize,
    ) -> Result<(Vec<LetterGroup>, bool)> {
        let (mut found, mut at) = (Vec::new(), after.unwrap_or_default());
        while let Some((reason, function)) = self.next_group(partner, &at).await? {
            if found.len() == limit {
                return Ok((found, true));
            }
            at = (reason.clone(), function.to_string());
            found.extend(self.letter_group(partner, &function, Some(&reason)).await?);
        }
        for function in functions {
            found.extend(self.letter_group(partner, function, None).await?);
        }
        Ok((found, false))
    }

    /// A group, unless it has no dead letters.
    pub async fn letter_group(
        &self,
        partner: &PartnerId,
        function: &FunctionId,
        reason: Option<&str>,
    ) -> Result<Option<LetterGroup>> {
        let (of, values) = of_group(function, reason);
        let args = [args![partner], values].concat();
        let oldest = format!(
            "-- oldest_of_group
            SELECT buried_at_ms {FROM} AND {of} AND buried_at_ms > 0 ORDER BY buried_at_ms, id LIMIT 1"
        );
        let newest = format!(
            "-- newest_of_group
            SELECT buried_at_ms, id {FROM} AND {of} AND buried_at_ms > 0 ORDER BY buried_at_ms DESC, id DESC LIMIT 1"
        );
        let Some(first) = self.lists.row(&oldest, args.clone()).await? else { return Ok(None) };
        let Some(last) = self.lists.row(&newest, args).await? else { return Ok(None) };
        let group = Letters::Group { function: function.clone(), reason: reason.map(str::to_owned) };
        Ok(Some(LetterGroup {
            function: function.clone(),
            reason: reason.map(str::to_owned),
            count: self.count_letters(partner, &group, Millis::MAX).await?,
            oldest_at_ms: first.int(0)?,
            newest_at_ms: last.int(0)?,
            example: last.id(1, "executions.id")?,
        }))
    }

    /// Counts dead letters from before this time, up to [`Listing::COUNT_MAX`].
    pub async fn count_letters(&self, partner: &PartnerId, letters: &Letters, before: Millis) -> Result<u64> {
        let (function, reason) = match letters {
            Letters::Group { function, reason } => (function, reason.as_deref()),
            Letters::These(ids) => return Ok(ids.len() as u64),
        };
        let (of, values) = of_group(function, reason);
        let count = format!(
            "-- count_group
            SELECT COUNT(*) FROM (SELECT 1 {FROM} AND {of} AND buried_at_ms > 0 AND buried_at_ms < ? LIMIT {}) AS counted",
            Listing::COUNT_MAX
        );
        let row = self.lists.row(&count, [args![partner], values, args![before]].concat()).await?;
        Ok(row.map_or(Ok(0), |row| row.int(0))? as u64)
    }

    /// Reason and function of the group after this one.
    async fn next_group(
        &self,
        partner: &PartnerId,
        (reason, function): &(String, String),
    ) -> Result<Option<(String, FunctionId)>> {
        // The plus keeps SQLite, which has no statistics, on the index of the reasons.
        let same = format!(
            "-- next_function_of_reason
            SELECT bury_reason, function_id {FROM} AND bury_reason = ? AND function_id > ? AND +buried_at_ms > 0
            ORDER BY function_id LIMIT 1"
        );
        let next = format!(
            "-- next_reason
            SELECT bury_reason, function_id {FROM} AND bury_reason > ? AND +buried_at_ms > 0
            ORDER BY bury_reason, function_id LIMIT 1"
        );
        let mut row = self.lists.row(&same, args![partner, reason, function]).await?;
        if row.is_none() {
            row = self.lists.row(&next, args![partner, reason]).await?;
        }
        row.map(|row| Ok((row.text(0)?, row.id(1, "executions.function_id")?))).transpose()
    }
}

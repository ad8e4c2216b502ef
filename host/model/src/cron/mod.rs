//! Cron expressions: from five fields and a time zone to the instants at which something is due.
//!
//! * [`Cron::parse`] reads the standard five fields (minute, hour, day of month, month, day of week) with names, lists,
//!   ranges and steps, or a macro such as `@daily`; what it refuses, it refuses by the field's name.
//! * [`Cron::next_after`] and [`Cron::between`] give the instants.
//!
//! Two rules must hold. **Days**: when both day fields are restricted (neither is `*`), a day that satisfies either
//! counts. **Clock changes**: a schedule at fixed times fires exactly once for each of its wall times: at the moment of
//! the change if the change skips it (several skipped ones are one firing), at the first occurrence if it comes twice.
//! A schedule whose minute or hour field recurs by `*` or a step follows real time instead: it fires whenever the wall
//! clock shows one of its times, so `*/15 * * * *` fires every fifteen real minutes whatever the clock does.
//!
//! The crate `cron` walks the times that a wall clock without changes would show, up to the year 2100. Around it are these
//! two rules, five fields with Sunday as 0 and 7, refusals in words, and the years after that.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use cron::Schedule;

use crate::zones::Rules;

/// The longest wait between two firings of any expression that fires at all: 29 February around the year 2100.
const SEARCH_YEARS: i32 = 8;

/// A parsed expression. Equal texts are equal schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    /// Two where either of the day fields suffices.
    either: Vec<Schedule>,
    follows_real_time: bool,
}

/// Why a text is not a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    #[error("a schedule has five fields (minute hour day-of-month month day-of-week), this one has {found}{hint}")]
    FieldCount { found: usize, hint: &'static str },
    #[error("a time zone is not part of a schedule: write it into `timezone`, as \"{0}\"")]
    Zone(String),
    #[error("unknown macro `{0}`; known are @yearly @annually @monthly @weekly @daily @midnight @hourly")]
    Macro(String),
    #[error("{field}: {why}")]
    Field { field: &'static str, why: String },
    #[error("never fires: no month that it names has such a day")]
    Never,
}

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Field = Field { name: "day-of-month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field = Field {
    name: "day-of-week",
    min: 0,
    max: 7,
    // Sunday again, so that `sat-sun` is a range.
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun"],
};

impl Cron {
    pub fn parse(text: &str) -> Result<Cron, CronError> {
        let text = text.trim();
        if let Some(zone) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
            return Err(CronError::Zone(zone.split_whitespace().next().unwrap_or_default().to_owned()));
        }
        let expanded = if text.starts_with('@') { expand(text)? } else { text };
        let fields: Vec<&str> = expanded.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            let hint = if fields.len() > 5 { "; seconds and years are not supported" } else { "" };
            return Err(CronError::FieldCount { found: fields.len(), hint });
        };
        let weekdays = WEEKDAY.parse(weekday)?;
        let time = format!("0 {} {}", list(MINUTE.parse(minute)?), list(HOUR.parse(hour)?));
        let (days, months) = (list(DAY.parse(day)?), list(MONTH.parse(month)?));
        // In `cron`, Sunday is 1.
        let weekdays = list(weekdays.into_iter().map(|weekday| weekday % 7 + 1).collect());
        let schedule = |days: &str, weekdays: &str| {
            format!("{time} {days} {months} {weekdays}").parse().expect("every field has been checked")
        };
        let either: Vec<Schedule> = if day == "*" || weekday == "*" {
            vec![schedule(&days, &weekdays)]
        } else {
            vec![schedule(&days, "*"), schedule("*", &weekdays)]
        };
        let follows_real_time = [minute, hour].iter().any(|field| field.contains(['*', '/']));
        let cron = Cron { text: text.to_owned(), either, follows_real_time };
        // A leap year has every date that there is.
        if cron.next_in_year(2000, None).is_some() { Ok(cron) } else { Err(CronError::Never) }
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What this schedule does when the clocks change, in words for its owner.
    pub fn clock_change_rule(&self) -> &'static str {
        if self.follows_real_time {
            "follows real time: fires whenever the clock shows one of its times, also in an hour that comes twice"
        } else {
            "fires once for each of its times: one that a clock change skips at the moment of the change, \
             one that comes twice at its first occurrence"
        }
    }

    /// The first firing later than `after`; `None` only where the calendar ends.
    pub fn next_after(&self, after: DateTime<Utc>, zone: &Rules) -> Option<DateTime<Utc>> {
        after.checked_add_days(Days::new(366 * SEARCH_YEARS as u64))?;
        if self.follows_real_time { self.next_real(after, zone) } else { self.next_fixed(after, zone) }
    }

    /// The firings later than `after` and not later than `until`, in order.
    pub fn between(
        &self,
        after: DateTime<Utc>,
        until: DateTime<Utc>,
        zone: &Rules,
    ) -> impl Iterator<Item = DateTime<Utc>> {
        std::iter::successors(self.next_after(after, zone), move |&last| self.next_after(last, zone))
            .take_while(move |&due| due <= until)
    }

    /// Walks wall times and asks the zone when each of them first is. That never goes backwards as wall times go
    /// forwards, so the first one that is late enough is the answer.
    fn next_fixed(&self, after: DateTime<Utc>, zone: &Rules) -> Option<DateTime<Utc>> {
        std::iter::successors(self.next_wall(zone.wall(after)), |wall| self.next_wall(*wall))
            .map_while(|wall| zone.first_instant(wall))
            .find(|instant| *instant > after)
    }

    /// Walks from one clock change to the next; between them the wall clock goes as time does.
    fn next_real(&self, after: DateTime<Utc>, zone: &Rules) -> Option<DateTime<Utc>> {
        let (mut at, mut wall) = (after, zone.wall(after));
        let mut changes = zone.changes_after(after);
        loop {
            let due = at.checked_add_signed(self.next_wall(wall)? - wall)?;
            match changes.next() {
                // What the clock shows at the change counts.
                Some(change) if change <= due => {
                    at = change - TimeDelta::seconds(1);
                    wall = zone.wall(change) - TimeDelta::seconds(1);
                }
                _ => return Some(due),
            }
        }
    }

    /// The next time on the wall clock, whatever the zone.
    fn next_wall(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        let first = after.year();
        (first..=first + SEARCH_YEARS).find_map(|year| self.next_in_year(year, (year == first).then_some(after)))
    }

    /// The calendar of `cron` ends with the year 2100, so that it is asked about a year with the same days.
    fn next_in_year(&self, year: i32, after: Option<NaiveDateTime>) -> Option<NaiveDateTime> {
        let new_year = NaiveDate::from_ymd_opt(year, 1, 1)?;
        let same_days =
            |twin: &NaiveDate| (twin.leap_year(), twin.weekday()) == (new_year.leap_year(), new_year.weekday());
        let twin = (1972..2000).filter_map(|twin| NaiveDate::from_ymd_opt(twin, 1, 1)).find(same_days)?;
        let after = match after {
            Some(after) => after.with_year(twin.year())?,
            None => twin.and_time(Default::default()) - TimeDelta::seconds(1),
        };
        let next = self.either.iter().filter_map(|schedule| schedule.after(&after.and_utc()).next()).min()?;
        if next.year() == twin.year() { next.naive_utc().with_year(year) } else { None }
    }
}

impl std::str::FromStr for Cron {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Cron, CronError> {
        Cron::parse(text)
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn expand(text: &str) -> Result<&'static str, CronError> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => return Err(CronError::Macro(text.to_owned())),
    })
}

impl Field {
    fn parse(&self, text: &str) -> Result<BTreeSet<u32>, CronError> {
        let mut numbers = BTreeSet::new();
        for part in text.split(',') {
            numbers.extend(self.part(part)?);
        }
        Ok(numbers)
    }

    /// `*`, `7`, `1-5`, and with a step `*/15`, `8-18/2`.
    fn part(&self, text: &str) -> Result<impl Iterator<Item = u32>, CronError> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (text, None),
        };
        let (from, to) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((from, to)) => (self.value(from, text, 0)?, self.value(to, text, 1)?),
            None => {
                let only = self.value(range, text, 0)?;
                if step.is_some() {
                    let max = self.max;
                    return Err(self.wrong(format!("`{text}`: a step needs a range, such as {only}-{max}/..")));
                }
                (only, only)
            }
        };
        if from > to {
            return Err(self.wrong(format!("`{range}` runs backwards")));
        }
        let step = match step.map(str::parse::<usize>) {
            None => 1,
            Some(Ok(step)) if (1..=self.max as usize).contains(&step) => step,
            Some(_) => return Err(self.wrong(format!("`{text}`: the step must be 1 to {}", self.max))),
        };
        Ok((from..=to).step_by(step))
    }

    /// `part` is the text to blame. Of two numbers with one name (Sunday), the end of a range is the later one.
    fn value(&self, text: &str, part: &str, end: usize) -> Result<u32, CronError> {
        let matching = |name: &&str| name.eq_ignore_ascii_case(text);
        let named = if end == 0 { self.names.iter().position(matching) } else { self.names.iter().rposition(matching) };
        if let Some(index) = named {
            return Ok(self.min + index as u32);
        }
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return match text.parse() {
                Ok(value) if (self.min..=self.max).contains(&value) => Ok(value),
                _ => Err(self.wrong(format!("{text} is not between {} and {}", self.min, self.max))),
            };
        }
        let bare = text.trim_matches(|c: char| c.is_ascii_digit());
        Err(self.wrong(if text.contains(['?', '#']) || ["L", "W", "LW"].iter().any(|l| l.eq_ignore_ascii_case(bare)) {
            format!("`{part}` is not standard cron (no ? # L W)")
        } else if text.is_empty() {
            format!("`{part}`: a number is missing")
        } else if self.names.is_empty() {
            format!("`{text}` is not a number")
        } else {
            format!("`{text}` is neither a number nor one of {}", self.names[..self.max as usize].join(" "))
        }))
    }

    fn wrong(&self, why: String) -> CronError {
        CronError::Field { field: self.name, why }
    }
}

fn list(numbers: BTreeSet<u32>) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;

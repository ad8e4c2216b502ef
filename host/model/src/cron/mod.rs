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
//! The search is our own because no crate at hand keeps the second rule where a gap crosses midnight, as it does in
//! America/Nuuk every March.

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Timelike, Utc};

use crate::zones::Rules;

/// The longest wait between two firings of any expression that fires at all: 29 February around the year 2100.
const SEARCH_DAYS_MAX: u64 = 8 * 366 + 1;

/// A parsed expression. Equal texts are equal schedules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    text: String,
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    day_rule: DayRule,
    follows_real_time: bool,
}

/// The numbers that a field allows, one bit each; none is above 59.
type Set = u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DayRule {
    Both,
    Either,
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
        let mut weekdays = WEEKDAY.parse(weekday)?;
        if has(weekdays, 7) {
            weekdays = weekdays & !bit(7) | bit(0);
        }
        let cron = Cron {
            text: text.to_owned(),
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays,
            day_rule: if day == "*" || weekday == "*" { DayRule::Both } else { DayRule::Either },
            follows_real_time: [minute, hour].iter().any(|field| field.contains(['*', '/'])),
        };
        if cron.can_fire() { Ok(cron) } else { Err(CronError::Never) }
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
        let end = after.checked_add_days(Days::new(SEARCH_DAYS_MAX))?;
        if self.follows_real_time { self.next_real(after, end, zone) } else { self.next_fixed(after, zone) }
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
        let wall_after = zone.wall(after);
        self.dates_from(wall_after.date()).find_map(|date| {
            members(self.hours)
                .flat_map(|hour| members(self.minutes).map(move |minute| (hour, minute)))
                .filter_map(|(hour, minute)| date.and_hms_opt(hour, minute, 0))
                .filter(|wall| *wall > wall_after)
                .filter_map(|wall| zone.first_instant(wall))
                .find(|instant| *instant > after)
        })
    }

    /// Walks real time and looks at the wall clock, leaping over what cannot match.
    fn next_real(&self, after: DateTime<Utc>, end: DateTime<Utc>, zone: &Rules) -> Option<DateTime<Utc>> {
        let wall = |at: DateTime<Utc>| zone.wall(at);
        let into_minute = |at: DateTime<Utc>| {
            TimeDelta::seconds(wall(at).second().into()) + TimeDelta::nanoseconds(at.timestamp_subsec_nanos().into())
        };
        let mut at = after - into_minute(after) + TimeDelta::minutes(1);
        while at <= end {
            let now = wall(at);
            let to_next_hour = 60 - now.minute();
            let leap = if !self.matches_date(now.date()) {
                [to_next_hour + 60 * (23 - now.hour()), to_next_hour]
            } else if !has(self.hours, now.hour()) {
                [to_next_hour; 2]
            } else if !has(self.minutes, now.minute()) {
                [1; 2]
            } else {
                return Some(at);
            };
            // A leap that ends elsewhere on the wall clock than it should went over a clock change: take a shorter one.
            let minutes = leap
                .into_iter()
                .map(|minutes| TimeDelta::minutes(minutes.into()))
                .find(|&leap| wall(at + leap) == now + leap)
                .unwrap_or(TimeDelta::minutes(1));
            at += minutes;
        }
        None
    }

    fn dates_from(&self, first: NaiveDate) -> impl Iterator<Item = NaiveDate> + '_ {
        (0..=SEARCH_DAYS_MAX)
            .map_while(move |days| first.checked_add_days(Days::new(days)))
            .filter(|date| self.matches_date(*date))
    }

    fn matches_date(&self, date: NaiveDate) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().num_days_from_sunday());
        has(self.months, date.month())
            && match self.day_rule {
                DayRule::Both => day && weekday,
                DayRule::Either => day || weekday,
            }
    }

    /// With a weekday restricted, alone or as an alternative, every month has a day that counts.
    fn can_fire(&self) -> bool {
        const LONGEST: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let first_day = self.days.trailing_zeros();
        self.day_rule == DayRule::Either || members(self.months).any(|month| first_day <= LONGEST[month as usize - 1])
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
    fn parse(&self, text: &str) -> Result<Set, CronError> {
        text.split(',').try_fold(0, |set, part| Ok(set | self.part(part)?))
    }

    /// `*`, `7`, `1-5`, and with a step `*/15`, `8-18/2`.
    fn part(&self, text: &str) -> Result<Set, CronError> {
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
        Ok((from..=to).step_by(step).fold(0, |set, value| set | bit(value)))
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

fn bit(value: u32) -> Set {
    1 << value
}

fn has(set: Set, value: u32) -> bool {
    set & bit(value) != 0
}

fn members(set: Set) -> impl Iterator<Item = u32> {
    (0..Set::BITS).filter(move |value| has(set, *value))
}

#[cfg(test)]
mod tests;

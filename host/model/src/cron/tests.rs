//! The search against a minute-by-minute walk that knows nothing of it, and the texts of refusals.

use chrono::Timelike;

use crate::cron::*;
use crate::zones::Zones;

const STOCKHOLM: &str = "Europe/Stockholm";
const LORD_HOWE: &str = "Australia/Lord_Howe";
const NUUK: &str = "America/Nuuk";

fn rules(zone: &str) -> Rules {
    Zones::new(std::path::Path::new("")).zone(zone).unwrap_or_else(|| panic!("{zone}")).rules()
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap_or_else(|err| panic!("{text}: {err}"))
}

/// Firings as `MM-DDTHH:MM` in UTC.
fn fired(cron: &str, zone: &str, after: &str, until: &str) -> Vec<String> {
    let cron = Cron::parse(cron).unwrap();
    cron.between(utc(after), utc(until), &rules(zone)).map(|due| due.format("%m-%dT%H:%M").to_string()).collect()
}

fn refusal(text: &str) -> String {
    Cron::parse(text).expect_err(text).to_string()
}

#[test]
fn a_day_counts_when_either_day_field_has_it() {
    // 2026-06-01 is a Monday.
    assert_eq!(
        fired("0 6 3 * mon", "UTC", "2026-05-31T00:00:00Z", "2026-06-08T23:00:00Z"),
        ["06-01T06:00", "06-03T06:00", "06-08T06:00"]
    );
    assert_eq!(fired("0 6 * * mon", "UTC", "2026-05-31T00:00:00Z", "2026-06-08T23:00:00Z").len(), 2);
}

#[test]
fn sunday_is_0_and_7_and_may_end_a_range() {
    for (one, other) in
        [("0", "7"), ("sun", "0"), ("5-7", "fri-sun"), ("5-7", "0,5,6"), ("0-7", "*"), ("Sat-SUN", "6,7")]
    {
        let [one, other] = [one, other]
            .map(|weekday| fired(&format!("0 0 * * {weekday}"), "UTC", "2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"));
        assert!(!one.is_empty());
        assert_eq!(one, other);
    }
}

#[test]
fn a_skipped_time_fires_at_the_change_and_once() {
    // Stockholm 2026-03-29: 02:00 CET becomes 03:00 CEST at 01:00 UTC.
    let night = |cron| fired(cron, STOCKHOLM, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
    assert_eq!(night("30 2 * * *"), ["03-29T01:00"]);
    assert_eq!(night("0,10,20 2 * * *"), ["03-29T01:00"]);
    assert_eq!(night("0 1-4 * * *"), ["03-29T00:00", "03-29T01:00", "03-29T02:00"]);
    // A half-hour gap, 02:00 to 02:30 on Lord Howe: what is behind it fires at its own time.
    assert_eq!(
        fired("15,45 2 * * *", LORD_HOWE, "2026-10-03T12:00:00Z", "2026-10-03T18:00:00Z"),
        ["10-03T15:30", "10-03T15:45"]
    );
    // A gap from 23:00 on Saturday to midnight: its end is a Sunday, which the expression does not name.
    assert_eq!(fired("30 23 * * sat", NUUK, "2026-03-28T12:00:00Z", "2026-03-30T00:00:00Z"), ["03-29T01:00"]);
}

#[test]
fn a_repeated_time_fires_at_its_first_occurrence() {
    // Stockholm 2026-10-25: 03:00 CEST becomes 02:00 CET at 01:00 UTC.
    assert_eq!(fired("30 2 * * *", STOCKHOLM, "2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), ["10-25T00:30"]);
    assert_eq!(fired("30 2 * * *", STOCKHOLM, "2026-10-25T00:30:00Z", "2026-10-25T12:00:00Z"), [] as [&str; 0]);
}

#[test]
fn recurring_schedules_follow_real_time() {
    for (after, until) in
        [("2026-03-28T22:50:00Z", "2026-03-29T04:00:00Z"), ("2026-10-24T22:50:00Z", "2026-10-25T04:00:00Z")]
    {
        let quarters: Vec<_> =
            Cron::parse("*/15 * * * *").unwrap().between(utc(after), utc(until), &rules(STOCKHOLM)).collect();
        assert_eq!(quarters.len(), 21, "five hours and ten minutes");
        assert!(quarters.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::minutes(15)));
        let hours: Vec<_> =
            Cron::parse("0 * * * *").unwrap().between(utc(after), utc(until), &rules(STOCKHOLM)).collect();
        assert_eq!(hours.len(), 6);
        assert!(hours.windows(2).all(|pair| pair[1] - pair[0] == TimeDelta::hours(1)));
    }
}

#[test]
fn the_25th_in_stockholm_is_not_the_25th_in_utc() {
    assert_eq!(
        fired("0 0 25 * *", STOCKHOLM, "2026-01-01T00:00:00Z", "2026-07-01T00:00:00Z"),
        ["01-24T23:00", "02-24T23:00", "03-24T23:00", "04-24T22:00", "05-24T22:00", "06-24T22:00"]
    );
}

#[test]
fn leap_days_are_found_across_the_year_2100() {
    let cron = Cron::parse("*/30 0 29 2 *").unwrap();
    assert_eq!(cron.next_after(utc("2096-02-29T00:30:00Z"), &rules("UTC")), Some(utc("2104-02-29T00:00:00Z")));
    let cron = Cron::parse("5 0 29 feb *").unwrap();
    assert_eq!(cron.next_after(utc("2096-02-29T00:05:00Z"), &rules("UTC")), Some(utc("2104-02-29T00:05:00Z")));
    assert_eq!(cron.next_after(DateTime::<Utc>::MAX_UTC, &rules(STOCKHOLM)), None);
    // The calendar ends earlier than the search could.
    for end in [DateTime::<Utc>::MAX_UTC, DateTime::<Utc>::MAX_UTC - TimeDelta::days(1_100)] {
        assert_eq!(Cron::parse("* * * * *").unwrap().next_after(end, &rules(STOCKHOLM)), None);
    }
}

#[test]
fn macros_stand_for_their_five_fields() {
    for (name, fields) in [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@Midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ] {
        let year = |cron| fired(cron, "UTC", "2026-01-01T00:00:00Z", "2027-01-02T00:00:00Z");
        assert_eq!(year(name), year(fields), "{name}");
    }
}

#[test]
fn a_schedule_shows_its_text_and_what_it_does_when_the_clocks_change() {
    for (text, follows) in
        [("30 2 * * *", false), ("0,30 1-3 * * mon", false), ("*/5 2 * * *", true), ("0-30/5 2 * * *", true)]
    {
        let cron: Cron = format!("  {text} ").parse().unwrap();
        assert_eq!((cron.as_str(), cron.to_string().as_str()), (text, text));
        assert_eq!(cron.clock_change_rule().starts_with("follows real time"), follows, "{text}");
        assert_eq!(cron.clock_change_rule().starts_with("fires once for each"), !follows, "{text}");
    }
}

#[test]
fn a_zone_is_no_part_of_a_schedule() {
    for text in ["CRON_TZ=Europe/Stockholm 0 0 * * *", "TZ=Europe/Stockholm 0 0 * * *"] {
        assert_eq!(Cron::parse(text), Err(CronError::Zone(STOCKHOLM.into())));
    }
}

#[test]
fn the_ends_of_an_interval_are_after_and_until() {
    let due = |after, until| fired("0 6 * * *", "UTC", after, until);
    assert_eq!(due("2026-06-01T06:00:00Z", "2026-06-02T06:00:00Z"), ["06-02T06:00"]);
    assert_eq!(due("2026-06-01T05:59:59Z", "2026-06-02T05:59:59Z"), ["06-01T06:00"]);
}

#[test]
fn refusals_name_the_field() {
    assert_eq!(refusal("60 * * * *"), "minute: 60 is not between 0 and 59");
    assert_eq!(refusal("0 24 * * *"), "hour: 24 is not between 0 and 23");
    assert_eq!(refusal("0 0 0 * *"), "day-of-month: 0 is not between 1 and 31");
    assert_eq!(refusal("0 0 L * *"), "day-of-month: `L` is not standard cron (no ? # L W)");
    assert_eq!(refusal("0 0 15W * *"), "day-of-month: `15W` is not standard cron (no ? # L W)");
    assert_eq!(refusal("0 0 ? * *"), "day-of-month: `?` is not standard cron (no ? # L W)");
    assert_eq!(refusal("0 0 * * fri#2"), "day-of-week: `fri#2` is not standard cron (no ? # L W)");
    assert_eq!(
        refusal("0 0 * mon *"),
        "month: `mon` is neither a number nor one of jan feb mar apr may jun jul aug sep oct nov dec"
    );
    assert_eq!(refusal("0 0 * * 5-1"), "day-of-week: `5-1` runs backwards");
    assert_eq!(refusal("*/0 * * * *"), "minute: `*/0`: the step must be 1 to 59");
    assert_eq!(refusal("*/60 * * * *"), "minute: `*/60`: the step must be 1 to 59");
    assert_eq!(refusal("*/x * * * *"), "minute: `*/x`: the step must be 1 to 59");
    assert!(Cron::parse("*/59 0-23/23 * * *").is_ok());
    assert_eq!(refusal("0 0 * * 8"), "day-of-week: 8 is not between 0 and 7");
    assert_eq!(refusal("0 0 * * x"), "day-of-week: `x` is neither a number nor one of sun mon tue wed thu fri sat");
    assert_eq!(refusal("x * * * *"), "minute: `x` is not a number");
    assert_eq!(refusal("5/10 * * * *"), "minute: `5/10`: a step needs a range, such as 5-59/..");
    assert_eq!(refusal("1,,2 * * * *"), "minute: ``: a number is missing");
    assert_eq!(refusal("1- * * * *"), "minute: `1-`: a number is missing");
    assert_eq!(refusal("-1 * * * *"), "minute: `-1`: a number is missing");
    assert_eq!(refusal("+1 * * * *"), "minute: `+1` is not a number");
    assert_eq!(refusal("@reboot"), CronError::Macro("@reboot".into()).to_string());
    assert!(refusal("0 0 12 * * *").ends_with("this one has 6; seconds and years are not supported"));
    assert!(refusal("").ends_with("this one has 0"));
    assert!(refusal("0 0 * *").ends_with("this one has 4"));
    for never in ["0 0 30 2 *", "* * 31 4,6,9,11 *", "0 0 30-31 feb *"] {
        assert_eq!(Cron::parse(never), Err(CronError::Never));
    }
    // A weekday beside an impossible day makes it possible.
    assert!(Cron::parse("0 0 30 2 mon").is_ok());
}

/// A field that is both rendered to text and decided directly, without sets.
struct Sample {
    text: String,
    /// From, to, step.
    parts: Vec<(u32, u32, u32)>,
}

impl Sample {
    fn draw(dice: &mut Dice, min: u32, max: u32) -> Sample {
        let mut sample = Sample { text: String::new(), parts: Vec::new() };
        for index in 0..[1, 1, 1, 2, 3][dice.below(5) as usize] {
            let from = min + dice.below(max - min + 1);
            let to = from + dice.below(max - from + 1);
            let step = 1 + dice.below(max.min(20));
            let (text, part) = match dice.below(6) {
                0 | 1 if index == 0 => ("*".to_owned(), (min, max, 1)),
                2 => (format!("*/{step}"), (min, max, step)),
                3 => (format!("{from}-{to}/{step}"), (from, to, step)),
                4 => (format!("{from}-{to}"), (from, to, 1)),
                _ => (from.to_string(), (from, from, 1)),
            };
            let comma = if index == 0 { "" } else { "," };
            sample.text += &format!("{comma}{text}");
            sample.parts.push(part);
            if text == "*" {
                break;
            }
        }
        sample
    }

    fn allows(&self, value: u32) -> bool {
        self.parts.iter().any(|(from, to, step)| (*from..=*to).contains(&value) && (value - from).is_multiple_of(*step))
    }
}

/// A linear congruential generator: the same expressions in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) % u64::from(bound)) as u32
    }
}

/// An hour of a day on the wall clock, with the instants that belong to its minutes.
struct Hour {
    date: NaiveDate,
    hour: u32,
    minutes: Vec<(u32, DateTime<Utc>)>,
}

/// Every minute of some days, by the hour that the wall clock has.
#[derive(Default)]
struct Walls {
    /// What the clock shows at each instant.
    shown: Vec<Hour>,
    /// Each wall time that is new, with the instant at which it is reached. Times that a change skips are reached together
    /// with the first one after them, and times that come again are not new.
    reached: Vec<Hour>,
}

impl Walls {
    fn of(rules: &Rules, from: DateTime<Utc>, minutes: i64) -> Walls {
        let mut walls = Walls::default();
        let mut latest = rules.wall(from);
        for at in (1..=minutes).map(|minute| from + TimeDelta::minutes(minute)) {
            let wall = rules.wall(at);
            push(&mut walls.shown, wall, at);
            while latest < wall {
                latest += TimeDelta::minutes(1);
                push(&mut walls.reached, latest, at);
            }
        }
        walls
    }
}

fn push(hours: &mut Vec<Hour>, wall: NaiveDateTime, at: DateTime<Utc>) {
    let (date, hour) = (wall.date(), wall.hour());
    if hours.last().is_none_or(|last| (last.date, last.hour) != (date, hour)) {
        hours.push(Hour { date, hour, minutes: vec![] });
    }
    hours.last_mut().unwrap().minutes.push((wall.minute(), at));
}

/// Walks every minute, as the two rules read. An hour of which no minute can count is passed over at once.
fn walk(fields: &[Sample; 5], walls: &Walls) -> Vec<DateTime<Utc>> {
    let [minute, hour, day, month, weekday] = fields;
    let has_date = |date: NaiveDate| {
        let by_day = day.allows(date.day());
        let of_week = date.weekday().num_days_from_sunday();
        let by_weekday = weekday.allows(of_week) || (of_week == 0 && weekday.allows(7));
        month.allows(date.month())
            && match (day.text.as_str(), weekday.text.as_str()) {
                ("*", "*") => true,
                ("*", _) => by_weekday,
                (_, "*") => by_day,
                _ => by_day || by_weekday,
            }
    };
    let minutes: Vec<bool> = (0..60).map(|value| minute.allows(value)).collect();
    let recurs = [minute, hour].iter().any(|field| field.text.contains(['*', '/']));
    let hours = if recurs { &walls.shown } else { &walls.reached };
    let mut due: Vec<_> = hours
        .iter()
        .filter(|of| hour.allows(of.hour) && has_date(of.date))
        .flat_map(|of| of.minutes.iter().filter(|(minute, _)| minutes[*minute as usize]).map(|(_, at)| *at))
        .collect();
    due.dedup();
    due
}

fn agrees(zone: &str, from: &str, days: i64, expressions: usize, seed: u64) {
    let (from, rules) = (utc(from), rules(zone));
    let walls = Walls::of(&rules, from, days * 24 * 60);
    let until = from + TimeDelta::days(days);
    let mut dice = Dice(seed);
    let mut fired = 0;
    for _ in 0..expressions {
        let fields = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)].map(|(min, max)| Sample::draw(&mut dice, min, max));
        let text = fields.each_ref().map(|field| field.text.as_str()).join(" ");
        let expected = walk(&fields, &walls);
        match Cron::parse(&text) {
            Ok(cron) => {
                let found: Vec<_> = cron.between(from, until, &rules).collect();
                let differs = found.iter().zip(&expected).position(|(a, b)| a != b);
                assert_eq!(
                    (found.len(), differs),
                    (expected.len(), None),
                    "`{text}` in {zone}: {:?} for {:?}",
                    differs.map(|at| found[at]),
                    differs.map(|at| expected[at])
                );
            }
            Err(err) => assert_eq!((err, expected.len()), (CronError::Never, 0), "`{text}`"),
        }
        fired += expected.len();
    }
    assert!(fired > expressions, "the walk found next to nothing, so it proved nothing");
}

#[test]
fn agrees_with_a_walk_over_two_years() {
    agrees("UTC", "2027-01-01T00:00:00Z", 731, 30, 1);
}

#[test]
fn agrees_with_a_walk_around_clock_changes() {
    for (zone, changes) in [
        (STOCKHOLM, ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"]),
        ("America/New_York", ["2026-03-08T07:00:00Z", "2026-11-01T06:00:00Z"]),
        (LORD_HOWE, ["2026-04-04T15:00:00Z", "2026-10-03T15:30:00Z"]),
        (NUUK, ["2026-03-29T01:00:00Z", "2026-10-25T01:00:00Z"]),
    ] {
        for (index, change) in changes.into_iter().enumerate() {
            let before = utc(change) - TimeDelta::seconds(1);
            let offset = |at: DateTime<Utc>| rules(zone).wall(at) - at.naive_utc();
            assert_ne!(offset(before), offset(utc(change)), "{zone} changes at {change}");
            let from = (utc(change) - TimeDelta::hours(40)).to_rfc3339();
            agrees(zone, &from, 4, 600, index as u64 + 7);
        }
    }
}

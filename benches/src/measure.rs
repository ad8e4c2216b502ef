//! Figures of what is compared, and the table that shows them side by side.
//!
//! The rule: **a time or a rate of ours does not stand alone where something comparable exists**. Each round measures all that
//! are compared one after the other, in turns as to who is first, and the ratio is the median of the rounds' ratios: what the
//! machine does to all at the time cancels out. Its spread is the lowest and the highest of them. Medians are medians of the
//! rounds, p99 is over all calls of all rounds.

use std::fmt;
use std::time::Duration;

/// What one of those that are compared did in all rounds.
#[derive(Clone, Default)]
pub struct Side {
    /// Each round's median in nanoseconds, or its calls per second.
    rounds: Vec<f64>,
    nanos: Vec<u64>,
}

impl Side {
    pub fn add_latencies(&mut self, nanos: Vec<u64>) {
        self.rounds.push(quantile(&mut nanos.clone(), 0.5) as f64);
        self.nanos.extend(nanos);
    }

    pub fn add_rate(&mut self, per_second: f64, nanos: Vec<u64>) {
        self.rounds.push(per_second);
        self.nanos.extend(nanos);
    }

    /// The slowest of a hundred for a whole round.
    pub fn add_p99(&mut self, nanos: Vec<u64>) {
        self.rounds.push(quantile(&mut nanos.clone(), 0.99) as f64);
        self.nanos.extend(nanos);
    }

    /// One figure for a whole round.
    pub fn add_cost(&mut self, nanos_per_call: f64) {
        self.rounds.push(nanos_per_call);
    }

    /// Of the rounds.
    pub fn median(&self) -> f64 {
        median(self.rounds.clone())
    }

    fn p99(&self) -> String {
        match self.nanos.is_empty() {
            true => String::new(),
            false => microseconds(quantile(&mut self.nanos.clone(), 0.99) as f64),
        }
    }
}

#[derive(Clone, Copy)]
pub enum Kind {
    /// Less is better; an aim is the most that the ratio may be.
    Latency,
    /// Calls per second. More is better; an aim is the least that the ratio may be.
    Rate,
}

/// A line that compares.
pub struct Row {
    pub name: String,
    /// What Larder is compared with.
    pub against: &'static str,
    pub kind: Kind,
    pub bare: Side,
    pub larder: Side,
    pub aim: Option<f64>,
    /// What else matters for this line.
    pub note: String,
}

impl Row {
    /// Against the bare embedding.
    pub fn new(name: impl Into<String>, kind: Kind, aim: Option<f64>) -> Row {
        Row {
            name: name.into(),
            against: "bare",
            kind,
            bare: Side::default(),
            larder: Side::default(),
            aim,
            note: String::new(),
        }
    }

    pub fn against(self, against: &'static str) -> Row {
        Row { against, ..self }
    }

    /// Larder's figure divided by the other one's of the same round.
    fn ratios(&self) -> Vec<f64> {
        self.larder.rounds.iter().zip(&self.bare.rounds).map(|(larder, bare)| larder / bare).collect()
    }

    fn verdict(&self) -> String {
        let (ratio, Some(aim)) = (median(self.ratios()), self.aim) else { return String::new() };
        let (sign, met) = match self.kind {
            Kind::Latency => ("<=", ratio <= aim),
            Kind::Rate => (">=", ratio >= aim),
        };
        format!("{sign} {aim:.2} {}", verdict(met))
    }

    fn headline(&self, side: &Side) -> String {
        match self.kind {
            Kind::Latency => microseconds(side.median()),
            Kind::Rate => format!("{:.0}/s", side.median()),
        }
    }
}

pub fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

/// A line of the table.
pub enum Line {
    Compared(Box<Row>),
    /// What stands in a text of its own: there is nothing to compare it with, or not to be had.
    Said {
        name: String,
        text: String,
    },
}

impl From<Row> for Line {
    fn from(row: Row) -> Line {
        Line::Compared(Box::new(row))
    }
}

impl Line {
    pub fn said(name: impl Into<String>, text: impl Into<String>) -> Line {
        Line::Said { name: name.into(), text: text.into() }
    }

    /// A duration that is to be at most so long.
    pub fn at_most(name: impl Into<String>, took: Duration, most: Duration, note: &str) -> Line {
        let (took, most) = (took.as_nanos() as f64, most.as_nanos() as f64);
        let aim = format!("at most {} {}", microseconds(most), verdict(took <= most));
        Line::said(name, format!("{}, {aim}{}{note}", microseconds(took), if note.is_empty() { "" } else { "; " }))
    }

    pub fn head() -> String {
        format!(
            "{:<52}{:<16}{:>10}{:>10}{:>12}{:>10}{:>8}{:>12}  aim",
            "", "against", "median", "p99", "larder", "p99", "ratio", "spread"
        )
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = match self {
            Line::Compared(row) => row,
            Line::Said { name, text } => return write!(f, "{name:<52}{text}"),
        };
        let ratios = row.ratios();
        let (least, most) = ratios.iter().fold((f64::INFINITY, 0f64), |(l, m), ratio| (l.min(*ratio), m.max(*ratio)));
        let line = format!(
            "{:<52}{:<16}{:>10}{:>10}{:>12}{:>10}{:>8.2}{:>12}  {:<14}  {}",
            row.name,
            row.against,
            row.headline(&row.bare),
            row.bare.p99(),
            row.headline(&row.larder),
            row.larder.p99(),
            median(ratios),
            format!("{least:.2}-{most:.2}"),
            row.verdict(),
            row.note
        );
        write!(f, "{}", line.trim_end())
    }
}

/// In the unit that suits it.
pub fn microseconds(nanos: f64) -> String {
    match nanos / 1_000.0 {
        us @ ..100.0 => format!("{us:.1} us"),
        us @ ..10_000.0 => format!("{us:.0} us"),
        us @ ..10_000_000.0 => format!("{:.1} ms", us / 1_000.0),
        us => format!("{:.1} s", us / 1_000_000.0),
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// By nearest rank.
pub fn quantile(values: &mut [u64], q: f64) -> u64 {
    assert!(!values.is_empty(), "nothing was measured");
    let rank = ((values.len() as f64 * q).ceil() as usize).clamp(1, values.len());
    *values.select_nth_unstable(rank - 1).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let mut values: Vec<u64> = (1..=200).rev().collect();
        assert_eq!((quantile(&mut values, 0.5), quantile(&mut values, 0.99)), (100, 198));
        assert_eq!(quantile(&mut [7], 0.99), 7);
    }

    #[test]
    fn the_ratio_is_taken_within_rounds() {
        let mut row = Row::new("x", Kind::Latency, Some(1.5));
        // The machine is ten times slower in the second round, for both.
        for slow in [1, 10, 1] {
            row.bare.add_latencies(vec![100 * slow; 3]);
            row.larder.add_latencies(vec![140 * slow; 3]);
        }
        assert_eq!(median(row.ratios()), 1.4);
        assert!(row.verdict().ends_with(" met"));
        row.aim = Some(1.3);
        assert!(row.verdict().ends_with("MISSED"));
    }
}

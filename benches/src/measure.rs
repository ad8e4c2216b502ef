//! Figures of the two sides, and the table that shows them side by side.
//!
//! The rule: **a figure of ours never stands alone**. Each round measures the bare embedding and Larder one after the
//! other, in turns as to who is first, and the ratio is the median of the rounds' ratios: what the machine does to
//! both at the time cancels out. Medians are medians of the rounds, p99 is over all calls of all rounds.

use std::fmt;

/// What one side did in all rounds.
#[derive(Default)]
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

    /// One figure for a whole round.
    pub fn add_cost(&mut self, nanos_per_call: f64) {
        self.rounds.push(nanos_per_call);
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

/// One line of the table.
pub struct Row {
    pub name: String,
    pub kind: Kind,
    pub bare: Side,
    pub larder: Side,
    pub aim: Option<f64>,
    /// What else matters for this line.
    pub note: String,
}

impl Row {
    pub fn new(name: impl Into<String>, kind: Kind, aim: Option<f64>) -> Row {
        Row { name: name.into(), kind, bare: Side::default(), larder: Side::default(), aim, note: String::new() }
    }

    /// Larder's figure divided by the bare one's of the same round, the median over the rounds.
    fn ratio(&self) -> f64 {
        median(self.larder.rounds.iter().zip(&self.bare.rounds).map(|(larder, bare)| larder / bare).collect())
    }

    fn verdict(&self) -> String {
        let (ratio, Some(aim)) = (self.ratio(), self.aim) else { return String::new() };
        let (sign, met) = match self.kind {
            Kind::Latency => ("at most", ratio <= aim),
            Kind::Rate => ("at least", ratio >= aim),
        };
        format!("{sign} {aim:.2}  {}", if met { "met" } else { "MISSED" })
    }

    fn headline(&self, side: &Side) -> String {
        let value = median(side.rounds.clone());
        match self.kind {
            Kind::Latency => microseconds(value),
            Kind::Rate => format!("{value:.0}/s"),
        }
    }
}

pub struct Table<'a>(pub &'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<46}{:>12}{:>12}{:>12}{:>12}{:>8}  aim", "", "bare median", "p99", "larder", "p99", "ratio")?;
        for row in self.0 {
            let line = format!(
                "{:<46}{:>12}{:>12}{:>12}{:>12}{:>8.2}  {:<22}{}",
                row.name,
                row.headline(&row.bare),
                row.bare.p99(),
                row.headline(&row.larder),
                row.larder.p99(),
                row.ratio(),
                row.verdict(),
                row.note
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn microseconds(nanos: f64) -> String {
    match nanos / 1_000.0 {
        us @ ..100.0 => format!("{us:.1} us"),
        us @ ..10_000.0 => format!("{us:.0} us"),
        us => format!("{:.1} ms", us / 1_000.0),
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
        assert_eq!(row.ratio(), 1.4);
        assert!(row.verdict().ends_with(" met"));
        row.aim = Some(1.3);
        assert!(row.verdict().ends_with("MISSED"));
    }
}

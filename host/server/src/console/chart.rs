//! Charts: SVG made here, of presentation attributes alone, so that they need no style and no script. Each has a title, a sentence that
//! sums it up, and the table behind it.

/// Units from one row to the next: a label, and for each of its bars a line.
const LABEL: usize = 20;
const BAR: usize = 16;
const GAP: usize = 8;
/// Characters of a label in the picture; the table has all.
const LABEL_CHARS: usize = 36;

/// Rows of horizontal bars. Widths are percent, so a chart fits every window without being scaled.
pub struct Chart {
    pub title: String,
    /// What somebody who sees no picture is told.
    pub summary: String,
    /// What the bars of a row are, in their order; the first is full, the second an outline.
    pub columns: Vec<&'static str>,
    pub rows: Vec<Row>,
    pub height: usize,
}

pub struct Row {
    pub label: String,
    pub short: String,
    /// Where the label stands.
    pub y: usize,
    pub bars: Vec<Bar>,
}

pub struct Bar {
    pub y: usize,
    pub percent: u64,
    /// The number as people read it.
    pub text: String,
    pub is_outline: bool,
}

/// A label, and its numbers with what is written for them.
pub type Numbers = (String, Vec<(u64, String)>);

impl Chart {
    /// `is_shared`: the longest bar of all rows is the whole width; otherwise each row has its own measure, as currencies do.
    pub fn new(
        title: impl Into<String>,
        summary: String,
        columns: Vec<&'static str>,
        rows: Vec<Numbers>,
        is_shared: bool,
    ) -> Chart {
        let longest = |numbers: &[(u64, String)]| numbers.iter().map(|(number, _)| *number).max().unwrap_or_default();
        let of_all = rows.iter().map(|(_, numbers)| longest(numbers)).max().unwrap_or_default();
        let mut y = 0;
        let rows = rows.into_iter().map(|(label, numbers)| {
            let most = if is_shared { of_all } else { longest(&numbers) }.max(1);
            let top = y;
            let bars = numbers.into_iter().enumerate().map(|(at, (number, text))| Bar {
                y: top + LABEL + at * BAR,
                percent: (u128::from(number) * 100 / u128::from(most)) as u64,
                text,
                is_outline: at > 0,
            });
            let bars: Vec<_> = bars.collect();
            y = top + LABEL + bars.len() * BAR + GAP;
            let short = match label.char_indices().nth(LABEL_CHARS) {
                Some((end, _)) => format!("{}…", &label[..end]),
                None => label.clone(),
            };
            Row { short, label, y: top + LABEL - 6, bars }
        });
        let rows: Vec<_> = rows.collect();
        Chart { title: title.into(), summary, columns, rows, height: y }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_numbers_by_one_measure_or_by_that_of_the_row() {
        let rows = || {
            let row = |label: &str, numbers: [u64; 2]| (label.to_owned(), numbers.map(|n| (n, n.to_string())).to_vec());
            vec![row("SEK", [200, 50]), row(&"é".repeat(40), [1, 4]), row("none", [0, 0])]
        };
        let percents = |is_shared| {
            let chart = Chart::new("t", String::new(), vec!["now", "before"], rows(), is_shared);
            let all: Vec<_> = chart.rows.iter().flat_map(|row| row.bars.iter().map(|bar| bar.percent)).collect();
            let bottom = chart.rows.last().unwrap().bars.last().unwrap().y + BAR;
            assert!(bottom <= chart.height && chart.rows[1].short.chars().count() == LABEL_CHARS + 1);
            all
        };
        assert_eq!(percents(true), [100, 25, 0, 2, 0, 0]);
        assert_eq!(percents(false), [100, 25, 25, 100, 0, 0]);
        // The largest sums do not overflow.
        let chart =
            Chart::new("t", String::new(), vec!["now"], vec![("x".into(), vec![(u64::MAX, String::new())])], true);
        assert_eq!(chart.rows[0].bars[0].percent, 100);
    }
}

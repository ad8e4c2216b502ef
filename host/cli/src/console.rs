//! Printing: data to stdout, remarks to stderr.
//!
//! Much of what is printed was written by functions and end users, and a terminal obeys control characters. So all text
//! for people goes through [`visible`]; JSON escapes them by itself.

use std::io::{ErrorKind, IsTerminal, Write};

pub use larder_model::text::cleaned as visible;
use serde_json::Value;

use crate::client::Answer;
use crate::failure::{Failure, Result};

#[derive(Debug, Clone, Copy)]
pub struct Console {
    pub json: bool,
}

impl Console {
    pub fn new(json: bool) -> Console {
        Console { json }
    }

    /// One line of data for people.
    pub fn line(&self, text: &str) -> Result<()> {
        write(format!("{}\n", visible(text)).as_bytes())
    }

    /// Bytes that belong to somebody else: as they are into a file or a pipe, made harmless on a terminal.
    pub fn raw(&self, text: &str) -> Result<()> {
        if !std::io::stdout().is_terminal() {
            return write(text.as_bytes());
        }
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        write(format!("{}{end}", visible(text)).as_bytes())
    }

    /// A wire object, as it was sent.
    pub fn object<T>(&self, answer: &Answer<T>) -> Result<()> {
        self.value(answer.sent())
    }

    /// A wire object on one line, for streams of them.
    pub fn object_line<T>(&self, answer: &Answer<T>) -> Result<()> {
        write(format!("{}\n", answer.sent()).as_bytes())
    }

    /// An object that was put together here.
    pub fn value(&self, value: &Value) -> Result<()> {
        write(format!("{value:#}\n").as_bytes())
    }

    /// A remark or a sign of progress, which scripts that read JSON are spared.
    pub fn note(&self, text: &str) {
        if !self.json {
            eprintln!("{}", visible(text));
        }
    }

    /// Asks somebody at a terminal; where nobody is, the answer is no.
    pub fn confirm(&self, question: &str) -> Result<bool> {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Ok(false);
        }
        eprint!("{} [y/N] ", visible(question));
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|err| Failure::usage(format!("cannot read the answer: {err}")))?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }

    pub fn table<const N: usize>(&self, heads: [&str; N], rows: &[[String; N]]) -> Result<()> {
        let width = |column: usize| {
            rows.iter().map(|row| row[column].as_str()).chain([heads[column]]).map(|cell| cell.chars().count()).max()
        };
        let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
        for row in std::iter::once(heads).chain(rows.iter().map(|row| row.each_ref().map(String::as_str))) {
            let cells: Vec<String> =
                row.iter().zip(widths).map(|(cell, width)| format!("{:<width$}", cell.replace('\n', " "))).collect();
            self.line(cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// `1 event`, `2 events`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Sizes as people read them: `412 kB`.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|err| match err.kind() {
        ErrorKind::BrokenPipe => Failure::StdoutClosed,
        _ => Failure::failed(format!("cannot write to stdout: {err}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_output_cannot_command_the_terminal() {
        assert_eq!(
            visible("ok\x1b[2Jgone\r\u{202e}\u{9b}1m\n\tfine å"),
            "ok\u{fffd}[2Jgone\u{fffd}\u{fffd}\u{fffd}1m\n\tfine å"
        );
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([999, 1_000, 411_001, 12_340_000].map(size), ["999 B", "1 kB", "412 kB", "12.3 MB"]);
    }
}

//! stdout and stderr of a guest: kept up to one bound for both, counted beyond it.
//!
//! The rule: **logging never fails a guest**. A full log goes on accepting, and drops.

use std::sync::{Mutex, MutexGuard};

use larder_model::outcome::Logs;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Collects both streams.
pub struct Collector {
    bound: u64,
    texts: Mutex<Texts>,
}

#[derive(Default)]
struct Texts {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    dropped_bytes: u64,
    /// The stream that ran over first, which carries the marker.
    overran: Option<Stream>,
}

impl Collector {
    pub fn new(bound: u64) -> Collector {
        Collector { bound, texts: Mutex::default() }
    }

    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut texts = self.texts();
        let room = self.bound.saturating_sub((texts.stdout.len() + texts.stderr.len()) as u64);
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        match stream {
            Stream::Stdout => texts.stdout.extend_from_slice(&bytes[..fits]),
            Stream::Stderr => texts.stderr.extend_from_slice(&bytes[..fits]),
        }
        if fits < bytes.len() {
            texts.dropped_bytes += (bytes.len() - fits) as u64;
            texts.overran.get_or_insert(stream);
        }
    }

    /// Takes everything out.
    pub fn take(&self) -> Logs {
        let texts = std::mem::take(&mut *self.texts());
        let mut logs =
            Logs { stdout: text(texts.stdout), stderr: text(texts.stderr), dropped_bytes: texts.dropped_bytes };
        let marked = match texts.overran {
            Some(Stream::Stdout) => &mut logs.stdout,
            Some(Stream::Stderr) => &mut logs.stderr,
            None => return logs,
        };
        if !marked.is_empty() && !marked.ends_with('\n') {
            marked.push('\n');
        }
        marked.push_str(&format!(
            "[larder: log limit log_bytes of {} reached, {} bytes dropped]\n",
            self.bound, texts.dropped_bytes
        ));
        logs
    }

    /// The last lines of stderr, where languages put the message of an exception that nobody caught.
    pub fn last_words(&self) -> Option<String> {
        const BYTES_MAX: usize = 1_000;
        let texts = self.texts();
        let tail = &texts.stderr[texts.stderr.len().saturating_sub(BYTES_MAX)..];
        let tail = String::from_utf8_lossy(tail);
        let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(5)..].join("\n");
        (!last.is_empty()).then_some(last)
    }

    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A bound may cut a character in two: its first half is left out rather than replaced.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|err| {
        let cut = err.utf8_error();
        if cut.error_len().is_none() {
            let mut bytes = err.into_bytes();
            bytes.truncate(cut.valid_up_to());
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            String::from_utf8_lossy(err.as_bytes()).into_owned()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_share_one_limit_and_excess_is_counted() {
        let logs = Collector::new(10);
        logs.write(Stream::Stdout, b"12345678");
        logs.write(Stream::Stderr, "aåb".as_bytes());
        logs.write(Stream::Stdout, b"more");
        let taken = logs.take();
        assert_eq!(taken.stdout, "12345678");
        // Two bytes were left: `a` and the first half of `å`, which is not shown.
        assert_eq!(taken.stderr, "a\n[larder: log limit log_bytes of 10 reached, 6 bytes dropped]\n");
        assert_eq!(taken.dropped_bytes, 6);
    }

    #[test]
    fn invalid_text_is_replaced() {
        let logs = Collector::new(100);
        logs.write(Stream::Stdout, b"a\xffb");
        assert_eq!(logs.take().stdout, "a\u{fffd}b");
    }
}

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

    /// What stderr says at its end, where languages put the message of an exception that nobody caught.
    pub fn last_words(&self) -> Option<String> {
        const SEARCHED_BYTES: usize = 16 << 10;
        let texts = self.texts();
        let tail = &texts.stderr[texts.stderr.len().saturating_sub(SEARCHED_BYTES)..];
        message(&String::from_utf8_lossy(tail))
    }

    fn texts(&self) -> MutexGuard<'_, Texts> {
        self.texts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The message of the exception that a text ends with: before its stack as JavaScript writes it, or behind it as Python does. An
/// engine that panics because of it says it once more, with its own stack, and is left out.
fn message(tail: &str) -> Option<String> {
    const BYTES_MAX: usize = 1_000;
    const LINES_MAX: usize = 5;
    let is_noise = |line: &&str| line.trim().is_empty() || line.starts_with("note: run with `RUST_BACKTRACE");
    let lines: Vec<&str> = tail.lines().filter(|line| !is_noise(line)).collect();
    let is_engine = |line: &&str| line.starts_with("thread '") && line.contains(" panicked at crates/runtime/src/");
    let own = lines.iter().rposition(is_engine).filter(|at| *at > 0).map_or(&lines[..], |at| &lines[..at]);
    let last = own.iter().rposition(|line| !line.starts_with([' ', '\t'])).unwrap_or_default();
    let panicked = own.iter().rposition(|line| line.starts_with("panic: "));
    let from = if let Some(panicked) = panicked {
        panicked
    } else if last + 1 < own.len() {
        last
    } else {
        own.len().saturating_sub(LINES_MAX)
    };
    let mut text = own[from..].iter().take(LINES_MAX).copied().collect::<Vec<_>>().join("\n");
    if text.len() > BYTES_MAX {
        text.truncate(text.floor_char_boundary(BYTES_MAX));
        text.push('…');
    }
    (!text.is_empty()).then_some(text)
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
    fn the_message_of_an_exception_is_found_on_either_side_of_its_stack() {
        let stack = "    at deep (bundle.js:803:19)\n".repeat(40);
        let panicked = "\nthread '<unnamed>' (1) panicked at crates/runtime/src/interpreter.rs:51:31:\nFailed to call 'handle': \
                        Value(Exception(\nException { message: Some(\"no such saver\") })\n)\nnote: run with `RUST_BACKTRACE=1` x\n";
        let javascript = format!("saving\nTypeError: no such saver: anna\n{stack}{panicked}");
        assert!(message(&javascript).unwrap().starts_with("TypeError: no such saver: anna\n    at deep"));
        assert_eq!(message(&javascript).unwrap().lines().count(), 5);
        let python = "saving\nTraceback (most recent call last):\n  File \"app.py\", line 3\n    boom()\nValueError: no such saver\n";
        assert!(message(python).unwrap().ends_with("\nValueError: no such saver"));
        let rust = "\nthread 'main' panicked at src/lib.rs:10:5:\nno such saver\nnote: run with `RUST_BACKTRACE=1` environment\n";
        assert_eq!(message(rust).unwrap(), "thread 'main' panicked at src/lib.rs:10:5:\nno such saver");
        let go = "panic: no such saver\n\ngoroutine 1 [running]:\nmain.main()\n\t/src/main.go:8 +0x4\n";
        assert!(message(go).unwrap().starts_with("panic: no such saver\ngoroutine 1"), "{:?}", message(go));
        assert_eq!(
            message(panicked).as_deref().map(|text| text.starts_with("thread")),
            Some(true),
            "nothing else was said"
        );
        assert_eq!(message(" \n"), None);
        assert!(message(&"x".repeat(5_000)).unwrap().len() < 1_010);
    }

    #[test]
    fn invalid_text_is_replaced() {
        let logs = Collector::new(100);
        logs.write(Stream::Stdout, b"a\xffb");
        assert_eq!(logs.take().stdout, "a\u{fffd}b");
    }
}

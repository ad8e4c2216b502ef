//! The one place that reads the time.

use std::cell::RefCell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use ulid::Ulid;

/// Milliseconds since the Unix epoch, UTC: how every time is stored.
pub type Millis = i64;

/// How far the clocks of machines that work together may be apart.
pub const SKEW_MS: Millis = 2_000;

/// Cheap to clone; the clones of a manual clock move together.
#[derive(Clone, Debug)]
pub enum Clock {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    pub fn manual(at: Millis) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(at)))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now_ms(&self) -> Millis {
        match self {
            Clock::System => match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
                Ok(since) => since.as_millis() as i64,
                Err(before) => -(before.duration().as_millis() as i64),
            },
            Clock::Manual(at) => at.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock; the system's cannot be moved.
    pub fn advance(&self, ms: Millis) {
        if let Clock::Manual(at) = self {
            at.fetch_add(ms, Ordering::SeqCst);
        }
    }

    /// A new ULID in lower case: 26 characters that sort by time.
    pub fn ulid(&self) -> String {
        let random = u128::from(random_bits()) | (u128::from(process_tag()) << RANDOM.count_ones());
        Ulid::from_parts(self.now_ms().max(0) as u64, random).to_string().to_ascii_lowercase()
    }
}

/// A ULID that depends on nothing but these, in lower case. Behind the time it has the 24 bits of `group`, so that those of one
/// group sort together, and the first 56 bits of the parts' [`trigger_key`](crate::trigger_key()).
pub fn derived_ulid(at: Millis, group: u32, parts: &[&str]) -> String {
    let digest = u128::from_str_radix(&crate::trigger_key(parts)[..14], 16).expect("hex");
    let group = u128::from(group & 0xff_ffff) << 56;
    Ulid::from_parts(at.max(0) as u64, group | digest).to_string().to_ascii_lowercase()
}

/// 64 bits of the operating system's randomness, of which a thread fetches many at a time: each fetch is a system call.
fn random_bits() -> u64 {
    const FETCHED: usize = 64;
    thread_local! {
        static BITS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    BITS.with_borrow_mut(|bits| {
        bits.pop().unwrap_or_else(|| {
            let mut bytes = [0u8; 8 * FETCHED];
            getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
            let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
            bits.extend(words);
            bits.pop().expect("they were fetched")
        })
    })
}

/// Of the 80 bits of a ULID behind its time, those that are random; the 16 above them tell which process made it.
const RANDOM: u128 = (1 << 64) - 1;

/// The same in all ULIDs that this process makes, and most likely in no other's.
fn process_tag() -> u16 {
    static TAG: OnceLock<u16> = OnceLock::new();
    *TAG.get_or_init(|| jitter(u64::from(u16::MAX)) as u16)
}

/// When a ULID was made, and whether by this process.
pub fn origin(ulid: &str) -> Option<(Millis, bool)> {
    let ulid = Ulid::from_string(ulid).ok()?;
    Some((ulid.timestamp_ms() as Millis, ulid.random() >> RANDOM.count_ones() == u128::from(process_tag())))
}

/// A number from 0 to `most`, for delays that must not all be the same.
pub fn jitter(most: u64) -> u64 {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    u64::from_le_bytes(random) % most.saturating_add(1)
}

/// The instant of `ms`; times outside of chrono's range become its ends.
pub fn instant(ms: Millis) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(ms).unwrap_or(if ms < 0 {
        DateTime::<Utc>::MIN_UTC
    } else {
        DateTime::<Utc>::MAX_UTC
    })
}

/// RFC 3339 with milliseconds and `Z`.
pub fn rfc3339(ms: Millis) -> String {
    instant(ms).to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_the_ends_of_the_calendar_are_not_left() {
        assert_eq!(rfc3339(1_795_262_400_007), "2026-11-21T12:00:00.007Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(instant(i64::MAX), DateTime::<Utc>::MAX_UTC);
        assert_eq!(instant(i64::MIN), DateTime::<Utc>::MIN_UTC);
    }

    #[test]
    fn the_clones_of_a_manual_clock_move_together() {
        let clock = Clock::manual(1_000);
        let other = clock.clone();
        other.advance(500);
        other.advance(-1);
        assert_eq!((clock.now_ms(), other.now_ms()), (1_499, 1_499));
        let now = Clock::System.now_ms();
        assert!(now > 1_700_000_000_000, "{now} is after 2023");
    }

    #[test]
    fn a_ulid_tells_its_time_and_its_process() {
        let clock = Clock::manual(1_795_262_400_007);
        let ulid = clock.ulid();
        assert_eq!((ulid.len(), origin(&ulid)), (26, Some((1_795_262_400_007, true))));
        assert_ne!(ulid, clock.ulid());
        assert_eq!(ulid, ulid.to_ascii_lowercase());
        clock.advance(1);
        assert!(clock.ulid() > ulid);
        // Another tag in the 16 bits above the random ones.
        let other = Ulid::from_parts(7, u128::from(!process_tag()) << 64);
        assert_eq!(origin(&other.to_string()), Some((7, false)));
        assert_eq!(origin("no ulid"), None);
    }

    #[test]
    fn a_derived_ulid_depends_on_its_time_group_and_parts_alone() {
        let one = derived_ulid(1_795_262_400_007, 7, &["a", "b"]);
        assert_eq!((one.len(), origin(&one).unwrap().0), (26, 1_795_262_400_007));
        assert_eq!(one, derived_ulid(1_795_262_400_007, 7, &["a", "b"]));
        assert_ne!(one, derived_ulid(1_795_262_400_007, 7, &["ab"]));
        assert!(one < derived_ulid(1_795_262_400_007, 8, &["a", "b"]));
        assert!(
            derived_ulid(1_795_262_400_007, 0xff_ffff, &["a", "b"]) < derived_ulid(1_795_262_400_008, 0, &["a", "b"])
        );
        // All bits of the digest are used.
        let digest = |n: i32| Ulid::from_string(&derived_ulid(0, 0, &[&n.to_string()])).unwrap().random();
        assert!((0..56).all(|bit| (0..100).any(|n| digest(n) >> bit & 1 == 1)));
        assert!((0..100).all(|n| digest(n) >> 56 == 0));
    }

    #[test]
    fn jitter_reaches_both_of_its_ends() {
        let all: std::collections::BTreeSet<u64> = (0..200).map(|_| jitter(3)).collect();
        assert_eq!(all, [0, 1, 2, 3].into());
        assert_eq!(jitter(0), 0);
        assert_ne!(jitter(u64::MAX), jitter(u64::MAX));
    }
}

//! The slots of this process, and the executions that it has claimed ahead.
//!
//! An execution holds a slot while its guest runs. While its outcome is written, which takes a hundred times as long as a short
//! run, the slot is free for the next one. So that this need not wait for a claim, a process claims ahead: as many
//! executions of each partner as it ran within [`AHEAD`], up to [`AHEAD_MAX`]. They wait in their partner's line. Of long
//! executions none are claimed ahead, so that other processes find them.
//!
//! Running executions are never stopped, so slots for later partners must be reserved in advance. A partner may begin another
//! execution while it runs fewer than `worker.executions_per_partner` and fewer than three times the free slots, not counting
//! one that is reserved for a partner that runs none. So one partner alone gets twelve of sixteen slots, two get seven and
//! six, and five get three each. The next partner finds a slot until there are as many partners as slots.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use larder_model::ids::PartnerId;
use larder_store::Wanted;
use tokio::time::Instant;

/// A partner may have this many times the free slots.
const TIMES_FREE: u32 = 3;
/// The time that executions claimed ahead are expected to wait.
const AHEAD: Duration = Duration::from_millis(100);
/// Executions of one partner that are claimed ahead.
const AHEAD_MAX: u32 = 512;
/// Executions of one partner that have run and whose outcomes are not written.
const UNWRITTEN_MAX: u32 = 1_024;
/// How long the speed of a partner's executions is remembered.
const REMEMBERED: Duration = Duration::from_secs(10);

/// The slots, and a line of waiting executions for each partner. `T` is one execution.
pub struct Slots<T>(Mutex<State<T>>);

struct State<T> {
    free: u32,
    per_partner: u32,
    lines: HashMap<PartnerId, Line<T>>,
}

struct Line<T> {
    running: u32,
    unwritten: u32,
    waiting: VecDeque<Waiting<T>>,
    /// Executions to claim ahead.
    ahead: u32,
    claimed_at: Instant,
    /// Runs that have ended since then.
    ended: u32,
}

struct Waiting<T> {
    execution: T,
    /// A worker died under it before.
    stolen: bool,
    since: Instant,
}

impl<T> Slots<T> {
    pub fn new(slots: u32, per_partner: u32) -> Slots<T> {
        Slots(Mutex::new(State { free: slots, per_partner, lines: HashMap::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().expect("no panic under the lock")
    }

    /// The partners of which no more may be claimed now.
    pub fn full(&self, now: Instant) -> Vec<PartnerId> {
        let mut state = self.lock();
        state.lines.retain(|_, line| line.is_busy() || now.duration_since(line.claimed_at) < REMEMBERED);
        let full = state.lines.iter().filter(|(_, line)| {
            let may_begin = line.waiting.is_empty() && state.may_begin(line.running);
            line.unwritten >= UNWRITTEN_MAX || !(may_begin || line.is_short())
        });
        full.map(|(partner, _)| partner.clone()).collect()
    }

    /// How many executions of these partners shall be claimed: as many as they may begin now, and those ahead.
    pub fn wanted(&self, partners: &[PartnerId], now: Instant) -> Vec<Wanted> {
        let mut state = self.lock();
        for partner in partners {
            let line = state.lines.entry(partner.clone()).or_insert_with(|| Line::new(now));
            let lasted = now.duration_since(line.claimed_at).max(Duration::from_millis(1));
            let ahead = f64::from(line.ended) * AHEAD.as_secs_f64() / lasted.as_secs_f64();
            (line.ahead, line.ended, line.claimed_at) = (ahead.min(f64::from(AHEAD_MAX)) as u32, 0, now);
        }
        let shares = state.share_out(partners);
        let per_partner = state.per_partner;
        let wanted = partners.iter().map(|partner| {
            let line = &state.lines[partner];
            let ahead = if line.is_short() { line.ahead - line.waiting.len() as u32 } else { 0 };
            let count = shares.get(partner).copied().unwrap_or_default() + ahead;
            // What a worker died under may be the reason. Few others of its kind are lost with it.
            let stolen = line.waiting.iter().filter(|waiting| waiting.stolen).count() as u32;
            Wanted { partner: partner.clone(), count, stolen: count.min(per_partner.saturating_sub(stolen)) }
        });
        wanted.filter(|wanted| wanted.count > 0).collect()
    }

    /// Puts a claimed execution into its partner's line.
    pub fn add(&self, partner: &PartnerId, stolen: bool, execution: T, now: Instant) {
        let mut state = self.lock();
        let line = state.lines.entry(partner.clone()).or_insert_with(|| Line::new(now));
        line.waiting.push_back(Waiting { execution, stolen, since: now });
    }

    /// The executions that begin now, each of which holds a slot until [`Slots::ran`].
    pub fn begin(&self) -> Vec<(PartnerId, T)> {
        let mut state = self.lock();
        let mut begun = Vec::new();
        loop {
            let ready =
                state.lines.iter().filter(|(_, line)| !line.waiting.is_empty() && state.may_begin(line.running));
            let Some((partner, _)) = ready.min_by_key(|(_, line)| line.running) else { return begun };
            let partner = partner.clone();
            let line = state.lines.get_mut(&partner).expect("found above");
            line.running += 1;
            let next = line.waiting.pop_front().expect("found above");
            state.free -= 1;
            begun.push((partner, next.execution));
        }
    }

    /// A run has ended, and its outcome is to be written. `true`: more of the partner's executions can be claimed.
    pub fn ran(&self, partner: &PartnerId) -> bool {
        let mut state = self.lock();
        state.free += 1;
        let line = state.lines.get_mut(partner).expect("it is busy");
        line.running -= 1;
        line.unwritten += 1;
        line.ended += 1;
        line.is_short() || line.waiting.is_empty()
    }

    /// The outcome of a run is written.
    pub fn written(&self, partner: &PartnerId) {
        self.lock().lines.get_mut(partner).expect("it is busy").unwritten -= 1;
    }

    /// Removes the executions that have waited for so long.
    pub fn take_back(&self, waited: Duration, now: Instant) -> Vec<T> {
        let mut state = self.lock();
        let mut taken = Vec::new();
        for line in state.lines.values_mut() {
            let late = line.waiting.iter().take_while(|waiting| now.duration_since(waiting.since) >= waited).count();
            taken.extend(line.waiting.drain(..late).map(|waiting| waiting.execution));
        }
        taken
    }

    pub fn any_waits(&self) -> bool {
        self.lock().lines.values().any(|line| !line.waiting.is_empty())
    }
}

impl<T> State<T> {
    /// May a partner that runs so many begin another one?
    fn may_begin(&self, running: u32) -> bool {
        let fair = running == 0 || running < TIMES_FREE * self.free.saturating_sub(1);
        self.free > 0 && running < self.per_partner && fair
    }

    /// Distributes the free slots among these partners, one by one to the partner with the fewest; the first one on a tie.
    fn share_out(&self, partners: &[PartnerId]) -> HashMap<PartnerId, u32> {
        let mut left = State::<()> { free: self.free, per_partner: self.per_partner, lines: HashMap::new() };
        let mut shares: HashMap<PartnerId, u32> = HashMap::new();
        // A slot that becomes free is for those in line.
        let none_waits = |partner: &&PartnerId| self.lines.get(*partner).is_none_or(|line| line.waiting.is_empty());
        let running = |shares: &HashMap<PartnerId, u32>, partner: &PartnerId| {
            self.lines.get(partner).map_or(0, |line| line.running) + shares.get(partner).copied().unwrap_or_default()
        };
        while let Some(next) = partners
            .iter()
            .filter(none_waits)
            .filter(|partner| left.may_begin(running(&shares, partner)))
            .min_by_key(|partner| running(&shares, partner))
        {
            *shares.entry(next.clone()).or_default() += 1;
            left.free -= 1;
        }
        shares
    }
}

impl<T> Line<T> {
    fn new(now: Instant) -> Line<T> {
        Line { running: 0, unwritten: 0, waiting: VecDeque::new(), ahead: 0, claimed_at: now, ended: 0 }
    }

    fn is_busy(&self) -> bool {
        self.running > 0 || self.unwritten > 0 || !self.waiting.is_empty()
    }

    /// Does less than half of what is claimed ahead wait?
    fn is_short(&self) -> bool {
        2 * (self.waiting.len() as u32) < self.ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partners(names: &str) -> Vec<PartnerId> {
        names.chars().map(|name| name.to_string().parse().unwrap()).collect()
    }

    /// Claims and begins all that these partners may; gives how many of each were begun.
    fn begin(slots: &Slots<()>, names: &str) -> Vec<u32> {
        let partners = partners(names);
        for wanted in slots.wanted(&partners, Instant::now()) {
            (0..wanted.count).for_each(|_| slots.add(&wanted.partner, false, (), Instant::now()));
        }
        let begun = slots.begin();
        partners.iter().map(|one| begun.iter().filter(|(partner, ())| partner == one).count() as u32).collect()
    }

    #[test]
    fn slots_are_shared_equally_with_one_reserved_for_the_next_partner() {
        for (slots, names, expected) in [
            (16, "a", vec![12]),
            (16, "ab", vec![7, 6]),
            (16, "abc", vec![5, 5, 4]),
            (16, "abcde", vec![3, 3, 3, 3, 3]),
            (4, "a", vec![3]),
            (4, "ab", vec![2, 1]),
            (1, "ab", vec![1, 0]),
            (2, "ab", vec![1, 1]),
            (64, "ab", vec![12, 12]),
        ] {
            assert_eq!(begin(&Slots::new(slots, 12), names), expected, "{slots} slots for {names}");
        }
    }

    #[test]
    fn partners_without_executions_are_served_first() {
        for (slots, names, expected) in [(4, "ab", vec![0, 1]), (4, "a", vec![0]), (6, "a", vec![1])] {
            let slots = Slots::new(slots, 12);
            assert_eq!(slots.wanted(&partners("a"), Instant::now()).len(), 1);
            (0..3).for_each(|_| slots.add(&partners("a")[0], false, (), Instant::now()));
            assert_eq!(slots.begin().len(), 3);
            assert_eq!(begin(&slots, names), expected);
        }
    }

    #[test]
    fn as_many_are_claimed_ahead_as_run_within_the_time_for_it() {
        let (slots, a, begun) = (Slots::new(16, 12), &partners("a")[0], Instant::now());
        let at = |ms| begun + Duration::from_millis(ms);
        assert_eq!(slots.wanted(std::slice::from_ref(a), at(0))[0].count, 12);
        (0..12).for_each(|_| slots.add(a, false, (), at(0)));
        assert_eq!(slots.begin().len(), 12);
        assert_eq!(slots.full(at(1)), std::slice::from_ref(a), "nothing is known of its speed");
        (0..12).for_each(|_| assert!(slots.ran(a)));
        // 12 in 10 ms are 120 in 100 ms.
        let wanted = slots.wanted(std::slice::from_ref(a), at(10));
        assert_eq!((wanted[0].count, wanted[0].stolen), (12 + 120, 12));
        (0..12 + 120).for_each(|number| slots.add(a, number < 20, (), at(10)));
        assert_eq!(slots.begin().len(), 12);
        assert_eq!(slots.full(at(10)), std::slice::from_ref(a));
        // Until more than half of them have begun.
        for left in (60..120).rev() {
            assert_eq!(slots.ran(a), left < 60, "{left}");
            assert_eq!(slots.begin().len(), 1);
        }
        assert!(!slots.ran(a) && slots.begin().len() == 1 && slots.full(at(10)).is_empty());
        // It becomes slow: what waits is taken back, and little more is claimed ahead.
        assert_eq!(slots.take_back(Duration::from_secs(6), at(5_010)).len(), 0);
        assert_eq!(slots.take_back(Duration::from_secs(5), at(5_010)).len(), 59);
        slots.ran(a);
        assert!(slots.wanted(std::slice::from_ref(a), at(5_010))[0].count <= 3);
    }

    #[test]
    fn few_of_those_under_which_a_worker_died_wait_at_once() {
        let (slots, a) = (Slots::new(16, 12), &partners("a")[0]);
        (0..12).for_each(|_| slots.add(a, true, (), Instant::now()));
        slots.lock().lines.get_mut(a).unwrap().ahead = 100;
        slots.lock().lines.get_mut(a).unwrap().ended = u32::MAX;
        let wanted = slots.wanted(std::slice::from_ref(a), Instant::now());
        assert_eq!((wanted[0].count, wanted[0].stolen), (AHEAD_MAX - 12, 0));
    }

    #[test]
    fn nothing_more_is_claimed_while_too_much_is_unwritten() {
        let (slots, a) = (Slots::new(16, 12), &partners("a")[0]);
        for _ in 0..UNWRITTEN_MAX {
            slots.add(a, false, (), Instant::now());
            assert_eq!(slots.begin().len(), 1);
            slots.ran(a);
        }
        assert_eq!(slots.full(Instant::now()), std::slice::from_ref(a));
        slots.written(a);
        assert!(slots.full(Instant::now()).is_empty());
    }
}

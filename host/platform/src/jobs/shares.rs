//! Fair shares of a process's slots: how many more executions each partner may begin.
//!
//! Running executions are never stopped, so slots for later partners must be reserved in advance. A partner may begin another
//! execution while it runs fewer than `worker.executions_per_partner` and fewer than three times the free slots, not counting
//! one that is reserved for a partner that runs none. So one partner alone gets twelve of sixteen slots, two get seven and
//! six, and five get three each. The next partner finds a slot until there are as many partners as slots.

use std::collections::HashMap;

use larder_model::ids::PartnerId;

/// A partner may have this many times the free slots.
const TIMES_FREE: u32 = 3;

pub struct Shares {
    free: u32,
    per_partner: u32,
    running: HashMap<PartnerId, u32>,
}

impl Shares {
    /// From the number of free slots and of each partner's running executions.
    pub fn new(free: u32, per_partner: u32, running: HashMap<PartnerId, u32>) -> Shares {
        Shares { free, per_partner, running }
    }

    fn running(&self, partner: &PartnerId) -> u32 {
        self.running.get(partner).copied().unwrap_or_default()
    }

    fn may_begin(&self, partner: &PartnerId) -> bool {
        let running = self.running(partner);
        let fair = running == 0 || running < TIMES_FREE * self.free.saturating_sub(1);
        self.free > 0 && running < self.per_partner && fair
    }

    /// The partners that may begin no execution now.
    pub fn full(&self) -> Vec<PartnerId> {
        self.running.keys().filter(|partner| !self.may_begin(partner)).cloned().collect()
    }

    /// Distributes the free slots among these partners, one by one to the partner with the fewest; the first one on a tie.
    pub fn share_out(mut self, partners: &[PartnerId]) -> Vec<(PartnerId, u32)> {
        let before = self.running.clone();
        while let Some(next) =
            partners.iter().filter(|partner| self.may_begin(partner)).min_by_key(|partner| self.running(partner))
        {
            *self.running.entry(next.clone()).or_default() += 1;
            self.free -= 1;
        }
        let more = |partner: &PartnerId| self.running(partner) - before.get(partner).copied().unwrap_or_default();
        partners.iter().map(|partner| (partner.clone(), more(partner))).filter(|(_, more)| *more > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partners(names: &str) -> Vec<PartnerId> {
        names.chars().map(|name| name.to_string().parse().unwrap()).collect()
    }

    /// The shares of these partners if each takes all that it may have, and the slots that stay free.
    fn shares(slots: u32, names: &str) -> (Vec<u32>, u32) {
        let shared = Shares::new(slots, 12, HashMap::new()).share_out(&partners(names));
        let counts: Vec<u32> = shared.into_iter().map(|(_, count)| count).collect();
        let taken: u32 = counts.iter().sum();
        (counts, slots - taken)
    }

    #[test]
    fn slots_are_shared_equally_with_one_reserved_for_the_next_partner() {
        for (slots, names, expected, free) in [
            (16, "a", vec![12], 4),
            (16, "ab", vec![7, 6], 3),
            (16, "abc", vec![5, 5, 4], 2),
            (16, "abcde", vec![3, 3, 3, 3, 3], 1),
            (4, "a", vec![3], 1),
            (4, "ab", vec![2, 1], 1),
            (1, "ab", vec![1], 0),
            (2, "ab", vec![1, 1], 0),
            (64, "ab", vec![12, 12], 40),
        ] {
            assert_eq!(shares(slots, names), (expected, free), "{slots} slots for {names}");
        }
    }

    #[test]
    fn partners_without_executions_are_served_first() {
        let running: HashMap<PartnerId, u32> = [("a".parse().unwrap(), 3)].into();
        let share = |free: u32, names: &str| {
            let shares = Shares::new(free, 12, running.clone());
            let full = shares.full().len();
            (shares.share_out(&partners(names)), full)
        };
        assert_eq!(share(1, "ab"), (vec![("b".parse().unwrap(), 1)], 1));
        assert_eq!(share(1, "a"), (vec![], 1));
        assert_eq!(share(3, "a"), (vec![("a".parse().unwrap(), 1)], 0));
        assert_eq!(share(0, "b"), (vec![], 1));
    }
}

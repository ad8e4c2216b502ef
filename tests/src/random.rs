//! Numbers for tests.

/// xorshift64 (Marsaglia 2003): the same seed, the same numbers.
pub struct Random(u64);

impl Random {
    /// Differs from run to run.
    #[expect(clippy::new_without_default, reason = "it is no default that differs each time")]
    pub fn new() -> Random {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the system has random numbers");
        Random::seeded(u64::from_le_bytes(seed))
    }

    pub fn seeded(seed: u64) -> Random {
        let mut random = Random(seed | 1);
        // Small seeds begin with small numbers.
        for _ in 0..8 {
            random.below(1);
        }
        random
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    pub fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

//! Whose turn it is: work of the tenant that has used the least CPU time, and of this tenant's classes the one that has used
//! the least.
//!
//! The rule: **time is charged after it was used**, so what a piece of work costs need not be known before. A tenant or class
//! that had nothing to do for a while is at most [`CREDIT`] ahead of the others when it returns.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::Class;

/// How much less than the others a tenant or class may have used.
const CREDIT: Duration = Duration::from_secs(1);

/// Work that is ready to be run. `T` is one piece of it.
pub struct Turns<T> {
    tenants: HashMap<u64, Tenant<T>>,
    /// The tenants with work, by what they have used.
    ready: BTreeSet<(Duration, u64)>,
    /// What the tenant had used whose turn was last.
    floor: Duration,
}

struct Tenant<T> {
    used: Duration,
    /// By [`Class`].
    classes: [Queue<T>; 2],
}

struct Queue<T> {
    used: Duration,
    work: VecDeque<T>,
}

impl<T> Turns<T> {
    pub fn new() -> Turns<T> {
        Turns { tenants: HashMap::new(), ready: BTreeSet::new(), floor: Duration::ZERO }
    }

    /// Adds work behind the other work of this tenant and class.
    pub fn push(&mut self, tenant: u64, class: Class, work: T) {
        let used = self.used(tenant);
        let own = self.tenant(tenant);
        if !own.has_work() {
            own.used = used;
            self.ready.insert((used, tenant));
        }
        let own = self.tenant(tenant);
        let other = own.classes[1 - class as usize].used;
        let queue = &mut own.classes[class as usize];
        if queue.work.is_empty() {
            queue.used = queue.used.max(other.saturating_sub(CREDIT));
        }
        queue.work.push_back(work);
    }

    /// The work whose turn it is.
    pub fn take(&mut self) -> Option<T> {
        let (used, tenant) = *self.ready.first()?;
        self.floor = self.floor.max(used);
        let own = self.tenant(tenant);
        let next = own.classes.iter_mut().filter(|queue| !queue.work.is_empty()).min_by_key(|queue| queue.used);
        let work = next.and_then(|queue| queue.work.pop_front());
        if !own.has_work() {
            self.ready.remove(&(used, tenant));
        }
        work
    }

    /// Charges CPU time to a tenant and one of its classes.
    pub fn charge(&mut self, tenant: u64, class: Class, cpu: Duration) {
        let used = self.used(tenant) + cpu;
        let own = self.tenant(tenant);
        let before = std::mem::replace(&mut own.used, used);
        own.classes[class as usize].used += cpu;
        if own.has_work() {
            self.ready.remove(&(before, tenant));
            self.ready.insert((used, tenant));
        }
    }

    /// The CPU time by which the turn of this tenant is decided. A new one is neither ahead nor behind.
    pub fn used(&self, tenant: u64) -> Duration {
        self.tenants.get(&tenant).map_or(self.floor, |own| own.used.max(self.floor.saturating_sub(CREDIT)))
    }

    fn tenant(&mut self, tenant: u64) -> &mut Tenant<T> {
        // Before it grows, tenants are forgotten that had nothing to do for so long that their credit is all they have.
        if self.tenants.len() == self.tenants.capacity() {
            let least = self.floor.saturating_sub(CREDIT);
            self.tenants.retain(|id, own| *id == tenant || own.has_work() || own.used > least);
        }
        self.tenants.entry(tenant).or_insert_with(|| Tenant {
            used: Duration::ZERO,
            classes: std::array::from_fn(|_| Queue { used: Duration::ZERO, work: VecDeque::new() }),
        })
    }
}

impl<T> Tenant<T> {
    fn has_work(&self) -> bool {
        self.classes.iter().any(|queue| !queue.work.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Tenants whose work costs this much each and never ends; `threads` take it in turns. Gives what each has used after
    /// `total` of CPU time.
    fn simulate(costs: &[(u64, Class, Duration)], threads: usize, total: Duration) -> Vec<Duration> {
        let mut turns = Turns::new();
        for (at, (tenant, class, _)) in costs.iter().enumerate() {
            for _ in 0..12 {
                turns.push(*tenant, *class, at);
            }
        }
        let mut used = vec![Duration::ZERO; costs.len()];
        // When each thread is free again, and what it is doing.
        let mut running: Vec<(Duration, Option<usize>)> = vec![(Duration::ZERO, None); threads];
        loop {
            running.sort();
            let (now, done) = running[0];
            if now >= total {
                return used;
            }
            if let Some(at) = done {
                let (tenant, class, cost) = costs[at];
                used[at] += cost;
                turns.charge(tenant, class, cost);
                turns.push(tenant, class, at);
            }
            let next = turns.take().unwrap();
            running[0] = (now + costs[next].2, Some(next));
        }
    }

    #[test]
    fn two_tenants_get_half_each_whatever_their_work_costs() {
        for (cheap, dear) in [(MS / 10, MS), (MS / 50, 10 * MS), (MS, MS)] {
            for threads in [1, 2, 8] {
                let costs = [(1, Class::FanOut, cheap), (2, Class::FanOut, dear)];
                let used = simulate(&costs, threads, Duration::from_secs(3));
                let share = used[0].as_secs_f64() / (used[0] + used[1]).as_secs_f64();
                assert!((0.49..0.51).contains(&share), "{cheap:?} beside {dear:?} on {threads} threads: {share}");
            }
        }
    }

    #[test]
    fn classes_of_a_tenant_share_its_half() {
        let costs = [(1, Class::Queued, MS / 2), (1, Class::FanOut, 3 * MS), (2, Class::FanOut, MS)];
        let used = simulate(&costs, 2, Duration::from_secs(20));
        let whole: Duration = used.iter().sum();
        let shares: Vec<f64> = used.iter().map(|used| used.as_secs_f64() / whole.as_secs_f64()).collect();
        for (share, expected) in shares.iter().zip([0.25, 0.25, 0.5]) {
            assert!((share - expected).abs() < 0.01, "{shares:?}");
        }
    }

    #[test]
    fn who_returns_after_a_pause_is_at_most_the_credit_ahead() {
        let mut turns = Turns::new();
        turns.charge(2, Class::Queued, MS);
        turns.push(1, Class::FanOut, ());
        for _ in 0..10_000 {
            turns.take().unwrap();
            turns.charge(1, Class::FanOut, MS);
            turns.push(1, Class::FanOut, ());
        }
        turns.push(2, Class::Queued, ());
        let mut ahead = Duration::ZERO;
        while turns.ready.first().unwrap().1 == 2 {
            turns.take().unwrap();
            turns.charge(2, Class::Queued, MS);
            turns.push(2, Class::Queued, ());
            ahead += MS;
        }
        assert!(ahead >= CREDIT && ahead <= CREDIT + 2 * MS, "{ahead:?}");
        assert_eq!(turns.used(3), turns.floor, "a new one has no credit");
    }

    #[test]
    fn tenants_that_are_gone_are_forgotten() {
        let mut turns = Turns::new();
        for tenant in 0..10_000 {
            turns.push(tenant, Class::Queued, ());
            turns.take().unwrap();
            turns.charge(tenant, Class::Queued, 100 * MS);
            turns.floor += 100 * MS;
        }
        assert!(turns.tenants.len() < 100, "{} are known", turns.tenants.len());
    }
}

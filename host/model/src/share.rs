//! How a budget is shared between tenants that take from it without asking each other.
//!
//! The rule: **seven eighths are for whoever comes, the last eighth is for those who have little**: of that, a tenant may
//! take only while it has no more than it leaves. So however many tenants take all they can, another one still finds
//! something, and a tenant that is alone is held up by nothing but the last eighth.

/// May a tenant that has `own` of the budget take `amount` more, while all together have `taken`?
pub fn fits(max: u64, taken: u64, own: u64, amount: u64) -> bool {
    let Some(left) = max.checked_sub(taken.saturating_add(amount)) else { return false };
    left >= max / 8 || own.saturating_add(amount) <= left.saturating_add(amount)
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn whoever_has_little_always_finds_something() {
        // Two take all they can, one at a time; then others come, each of which also takes all it can.
        let mut tenants = [0; 6];
        let take = |tenants: &mut [u64; 6], who: usize| {
            let fits = fits(128, tenants.iter().sum(), tenants[who], 1);
            tenants[who] += u64::from(fits);
            fits
        };
        while take(&mut tenants, 0) | take(&mut tenants, 1) {}
        for who in 2..6 {
            while take(&mut tenants, who) {}
        }
        assert_eq!(tenants, [56, 56, 8, 4, 2, 1]);
    }

    #[test]
    fn small_budgets_have_no_reserve_and_none_is_exceeded() {
        assert!(fits(1, 0, 0, 1) && fits(2, 1, 1, 1) && fits(7, 6, 6, 1));
        assert!(!fits(1, 1, 0, 1) && !fits(10, 9, 0, 2) && !fits(10, u64::MAX, 0, 1));
    }

    #[test]
    fn the_last_eighth_is_for_those_who_have_no_more_than_is_left() {
        // Of 80 the last 10 are kept back: whoever has 11 may leave 10 and no fewer.
        assert!(fits(80, 69, 11, 1) && !fits(80, 70, 11, 1));
        // Whoever has as much as is left may take of it, and whoever has more may not.
        assert!(fits(80, 72, 4, 4) && !fits(80, 72, 5, 4));
        assert!(fits(80, 79, 0, 1) && !fits(80, 79, 1, 1) && !fits(80, 80, 0, 1));
    }
}

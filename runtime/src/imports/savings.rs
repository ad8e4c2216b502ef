//! `larder:function/savings`: creating transactions.

use async_trait::async_trait;

/// What the host knows of money and of whom a function may save for.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Decimals of a currency's amounts (ISO 4217), `None` for one that does not exist or is not money.
    fn exponent(&self, currency: &str) -> Option<u32>;
    /// May a run that is not for an enrolment save for this end user? An error text is given to the guest.
    async fn may_save_for(&self, end_user: &str) -> Result<(), String>;
}

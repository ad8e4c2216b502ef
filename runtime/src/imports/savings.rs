//! `larder:function/savings`: creating transactions.

use async_trait::async_trait;
use larder_model::amount::parse_amount;
use larder_model::outcome::Effect;
use larder_model::text;

use super::state::BackendError;
use super::{Host, HostFault};
use crate::bindings::larder::function::savings;

const MEMO_CHARS_MAX: usize = 200;

/// What the host knows of money and of whom a function may save for.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Decimals of a currency's amounts (ISO 4217). The text of a no is given to the guest: there is no such currency, or
    /// not any more.
    fn exponent(&self, currency: &str) -> Result<u32, String>;
    /// May a run that is not for an enrolment save for this end user? The text of a no is given to the guest.
    async fn may_save_for(&self, end_user: &str) -> Result<Result<(), String>, BackendError>;
}

impl savings::Host for Host {
    async fn create_transaction(&mut self, wanted: savings::Transaction) -> wasmtime::Result<Result<String, String>> {
        let (amount, amount_minor) = match self.check_transaction(&wanted) {
            Ok(amount) => amount,
            Err(wrong) => return Ok(Err(wrong)),
        };
        if let Some(end_user) = &wanted.end_user {
            self.admit_question()?;
            match self.savings.may_save_for(end_user).await {
                Ok(Ok(())) => {}
                Ok(Err(no)) => return Ok(Err(no)),
                // Not the guest's fault, so it must not get to take it for a no.
                Err(err) => return Err(HostFault(format!("savings: {err}")).into()),
            }
        }
        let savings::Transaction { end_user, currency, memo, .. } = wanted;
        self.admit_effect(end_user.as_ref().map_or(0, String::len) + memo.as_ref().map_or(0, String::len))?;
        let id = self.next_id();
        self.effects.push(Effect::Transaction { id: id.clone(), end_user, amount, amount_minor, currency, memo });
        Ok(Ok(id))
    }
}

impl Host {
    /// Gives the amount with all the currency's decimals, and in minor units.
    fn check_transaction(&self, wanted: &savings::Transaction) -> Result<(String, i64), String> {
        let exponent = self.savings.exponent(&wanted.currency)?;
        let amount = parse_amount(&wanted.amount, exponent, &wanted.currency)?;
        self.grants.allow_transaction(&wanted.currency, exponent, amount.1)?;
        if let Some(memo) = &wanted.memo {
            check_memo(memo)?;
        }
        match (&self.enrolment, &wanted.end_user) {
            (Some(_), None) => {}
            (Some(_), Some(_)) => {
                return Err(
                    "this run is for an enrolment and saves for its own end user only: leave end-user out".into()
                );
            }
            (None, None) => return Err("end-user is missing: this run is not for an enrolment".into()),
            (None, Some(end_user)) => {
                super::check_length("end-user", end_user, 1)?;
                text::check(end_user).map_err(|why| format!("end-user {why}"))?;
            }
        }
        Ok(amount)
    }
}

fn check_memo(memo: &str) -> Result<(), String> {
    let length = memo.chars().count();
    if length > MEMO_CHARS_MAX {
        return Err(format!("memo has {length} characters, up to {MEMO_CHARS_MAX} are allowed"));
    }
    text::check(memo).map_err(|why| format!("memo {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memos() {
        assert_eq!(check_memo(&"å".repeat(200)), Ok(()));
        assert!(check_memo(&"å".repeat(201)).unwrap_err().contains("201 characters"));
        for odd in ["a\u{7}b", "a\u{202e}b", "a\nb"] {
            assert!(check_memo(odd).unwrap_err().contains("control"), "{odd:?}");
        }
    }
}

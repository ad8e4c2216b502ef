//! `larder:function/savings`: creating transactions.

use larder_model::amount::Amount;
use larder_model::outcome::Effect;
use larder_model::text;

use super::Host;
use crate::bindings::larder::function::savings;
use crate::fault::HostFault;

const MEMO_CHARS_MAX: usize = 200;

impl savings::Host for Host {
    async fn create_transaction(&mut self, wanted: savings::Transaction) -> wasmtime::Result<Result<String, String>> {
        let amount = match self.check_transaction(&wanted) {
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
        let savings::Transaction { end_user, memo, .. } = wanted;
        self.admit_effect(end_user.as_ref().map_or(0, String::len) + memo.as_ref().map_or(0, String::len))?;
        let id = self.next_id();
        self.effects.push(Effect::Transaction { id: id.clone(), end_user, amount, memo });
        Ok(Ok(id))
    }
}

impl Host {
    /// Gives the amount that would be saved.
    fn check_transaction(&self, wanted: &savings::Transaction) -> Result<Amount, String> {
        let amount = Amount::parse(&wanted.amount, self.savings.currency(&wanted.currency)?)?;
        self.grants.allow_transaction(amount)?;
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
    fn memo_is_short_and_has_no_control_characters() {
        assert_eq!(check_memo(&"å".repeat(200)), Ok(()));
        assert!(check_memo(&"å".repeat(201)).unwrap_err().contains("201 characters"));
        for odd in ["a\u{7}b", "a\u{202e}b", "a\nb"] {
            assert!(check_memo(odd).unwrap_err().contains("control"), "{odd:?}");
        }
    }
}

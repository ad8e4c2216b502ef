//! A host that has nothing.

use async_trait::async_trait;
use larder_model::Currency;
use larder_model::state::Version;

use super::{Error, Savings, State};

/// State without a value in it; no currencies, and nobody to save for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

#[async_trait]
impl State for Nothing {
    async fn get(&self, _key: &str) -> Result<Option<(Vec<u8>, Version)>, Error> {
        Ok(None)
    }

    async fn list(
        &self,
        _prefix: &str,
        _after: Option<&str>,
        _limit: u32,
    ) -> Result<Vec<(String, Vec<u8>, Version)>, Error> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Savings for Nothing {
    fn currency(&self, code: &str) -> Result<Currency, String> {
        Err(format!("{code} is not a currency here"))
    }

    async fn may_save_for(&self, end_user: &str) -> Result<Result<(), String>, Error> {
        Ok(Err(format!("{end_user} is not enrolled here")))
    }
}

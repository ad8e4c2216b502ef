//! Variables of a function.

use crate::ids::{FunctionId, PartnerId, VariableId};
use crate::time::Millis;

#[derive(Clone, Debug)]
pub struct Variable {
    pub partner: PartnerId,
    pub id: VariableId,
    pub function: FunctionId,
    pub name: String,
    /// See `secrets`.
    pub sealed: Vec<u8>,
    pub secret: bool,
    /// Another one for each key and value that it was given.
    pub revision: String,
    pub created_at_ms: Millis,
    pub updated_at_ms: Millis,
}

impl Variable {
    /// What its value is sealed for.
    pub fn place(&self) -> [&str; 3] {
        [self.partner.as_str(), self.function.as_str(), &self.name]
    }
}

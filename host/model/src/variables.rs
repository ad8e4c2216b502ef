//! Variables of a function, or of all functions of a partner.

use crate::ids::{FunctionId, PartnerId, VariableId};
use crate::time::Millis;

#[derive(Clone, Debug)]
pub struct Variable {
    pub partner: PartnerId,
    pub id: VariableId,
    /// `None`: it is one of the project, which every function of the partner has that has none of this name itself.
    pub function: Option<FunctionId>,
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
        [self.partner.as_str(), self.function.as_ref().map_or("", FunctionId::as_str), &self.name]
    }
}

/// What a function has: its own variables, and those of the project whose names it does not use itself.
pub fn effective(own: Vec<Variable>, of_project: &[Variable]) -> Vec<Variable> {
    let inherited = of_project.iter().filter(|variable| !own.iter().any(|own| own.name == variable.name));
    let inherited: Vec<Variable> = inherited.cloned().collect();
    [own, inherited].concat()
}

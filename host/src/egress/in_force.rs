//! What a function may reach at this moment, which can be less than when its run began.

use std::sync::Arc;

use larder_model::Grants;
use larder_model::ids::{FunctionId, PartnerId};

use crate::partners::Directory;

/// Asked at each call out, from memory: what was taken away is gone for the next call of every run, in this process at once, in
/// others when they hear of it.
#[derive(Clone)]
pub struct InForce {
    directory: Directory,
    pub partner: PartnerId,
    function: FunctionId,
}

impl InForce {
    pub fn new(directory: &Directory, partner: &PartnerId, function: &FunctionId) -> InForce {
        InForce { directory: directory.clone(), partner: partner.clone(), function: function.clone() }
    }

    /// What is granted, or why nothing is.
    pub fn grants(&self) -> Result<Arc<Grants>, String> {
        match self.directory.function(&self.partner, &self.function) {
            Some(view) if view.function.enabled => Ok(view.grants.clone()),
            Some(_) => Err("the function is disabled: it reaches nothing".into()),
            None => Err("the function was deleted: it reaches nothing".into()),
        }
    }
}

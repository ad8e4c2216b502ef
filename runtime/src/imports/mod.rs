//! One file per capability: its backend trait, what a guest may do with it, its host functions.

pub mod savings;
pub mod state;
